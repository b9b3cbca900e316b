"""The sizes of a check of a GPU, its folder, and the config of a run in it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from experiments import config
from experiments.config import RunConfig, folders
from experiments.config.geometry import Geometry

# Qwen3-0.6B's shape (conf/model/qwen3_0_6b.yaml), and a small one that proves the steps on a CPU.
_FULL = Geometry("qwen3", 1024, 3072, 28, 16, 8, 128, 151_936, True, False, False, positions=40_960)
_SMALL = Geometry("qwen3", 64, 192, 2, 4, 2, 16, 2048, True, False, False, positions=1024)


@dataclass(frozen=True)
class CheckSetting:
    """What a check measures, and where it keeps its files."""

    folder: Path
    """The work folder; not committed."""
    small: bool = False
    """Whether the base is tiny, so that every step also runs on a CPU in seconds."""

    @property
    def shape(self) -> Geometry:
        """The shape of the base."""
        return _SMALL if self.small else _FULL

    @property
    def base(self) -> Path:
        """The folder of the base with random weights."""
        return self.folder / ("base_small" if self.small else "base")

    @property
    def micro_batch(self) -> int:
        """Rows of a pass in the steps that measure training."""
        return 2 if self.small else 4

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return 64 if self.small else 512

    @property
    def prompts(self) -> list[list[int]]:
        """Prompts of several lengths; 250 to 600 tokens unless the check is small."""
        count, shortest, longest = (4, 20, 60) if self.small else (32, 250, 600)
        lengths = [shortest + i * (longest - shortest) // (count - 1) for i in range(count)]
        return [[3 + (7 * j + i) % 1000 for j in range(size)] for i, size in enumerate(lengths)]

    @property
    def new_tokens(self) -> int:
        """Tokens of each answer."""
        return 4 if self.small else 64

    def run(self, *overrides: str) -> RunConfig:
        """Return the config of a run on the base with random weights, on the device present."""
        from hydra import compose, initialize_config_dir

        rows = 2 * self.micro_batch
        own = [
            *("model=local", f"model.path={self.base}", "model.label=random", "tracker=none"),
            *("hardware=auto", f"trainer.batch_size={rows}"),
            *(f"trainer.micro_batch_size={self.micro_batch}", f"trainer.max_length={self.length}"),
            *("trainer.max_steps=4", f"plan.rows={4 * rows}"),
            *(f"plan.tokens_per_row={self.length}", f"plan.longest_row_tokens={self.length}"),
            *("plan.trained_share=0.3", *overrides),
            *([] if "lora=none" in overrides else ["lora.r=16"]),
        ]
        with initialize_config_dir(str(folders.conf()), version_base="1.3"):
            return config.load(compose("config", own))


def batch_tokens(run: RunConfig) -> int:
    """Return the tokens of an optimiser step with rows of maximal length."""
    return (run.trainer.batch_size or 1) * (run.plan.longest_row_tokens or 1)


def without(setting: CheckSetting, name: str) -> CheckSetting:
    """Return the setting with a subfolder as its folder."""
    return dataclasses.replace(setting, folder=setting.folder / name)
