"""Schema of `data`: the sources of rows, how they are rendered and how sources are mixed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import OmegaConf

from experiments.config.categories import CATEGORIES
from experiments.config.value_checks import at_least, one_of, share

SOURCES = ("toolworld", "file", "hub", "mixture")
FORMATS = (
    "messages",
    "sharegpt",
    "prompt_completion",
    "glaive_v2",
    "glaive_v1",
    "glaive_v2_formatted",
    "glaive_v2_sharegpt",
    "xlam",
    "hermes",
    "mcp_agent",
    "toolace",
    "when2call",
    "apigen_mt",
    "seal_tools",
    "api_bank",
    "sgd",
    "gsm8k",
)
BENCHMARK_FORMATS = ("bfcl", "nestful")
"""Formats that only `eval.benchmarks` reads, because answers or tools are in a second file."""
WEIGHT_UNITS = ("rows", "tokens", "trained_tokens")
THINKING = ("keep", "drop")
SYSTEM_PROMPTS = ("keep", "unify", "drop")
TOOLS_FORMS = ("openai", "bfcl_raw", "mcp")
TOOLS_SHOWN = ("all", "gold_plus_k")
_GENERATED = ("train_rows", "unseen_values_rows", "unseen_tools_rows")
_HELD_OUT = ("validation_rows", "test_rows")
_READ = (
    *("format", "hub_id", "revision", "subset", "files", "path", "limit", "fraction"),
    *("test_files", "validation_files"),
)


def _if_generated(*counts: int | None, _parent_: Any) -> int | None:
    """Return the first count that is set, or None if the rows are read from files.

    `${if_generated:16}` in a file of another config group sets `data.train_rows` for any generated
    data set, and has no effect (and raises no error) when the data come from files.
    """
    set_counts = [count for count in counts if count is not None]
    return set_counts[0] if set_counts and _parent_.source == "toolworld" else None


OmegaConf.register_new_resolver("if_generated", _if_generated, replace=True)


@dataclass
class ColumnsConfig:
    """Column names in a user's file; null = the usual name, if the file has that column."""

    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None
    tools: str | None = None
    id: str | None = None


RUN_SEED = "seed"
"""Value of `data.train_seed` with which the run's seed draws the training rows."""


@dataclass
class SourceConfig:
    """One source of rows: generated (`toolworld`), your files, or a dataset on the hub."""

    label: str = "data"
    """Name shown in tables."""
    source: str = "toolworld"
    """`toolworld` (generated), `file`, `hub` or, for `data` itself, `mixture`."""
    path: str | None = None
    """A file, or a folder with the layout of the hub repository; with `hub`, read instead of the
    hub."""
    hub_id: str | None = None
    """`owner/name` of a dataset on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub, default `main`; resolved to a commit and recorded."""
    subset: str | None = None
    """One of `subsets`; the hub calls this a config."""
    subsets: dict[str, str] = field(default_factory=dict)
    """Maps the name of a subset to the pattern of its files."""
    files: str | None = None
    """Pattern of the files to read in a folder, such as `train*.jsonl`, or several separated by
    `|`; null = every readable file."""
    test_files: str | None = None
    """Pattern of the files with the published test split, in the same folder. None of its rows is
    trained on; `test_rows` limits how many are evaluated."""
    validation_files: str | None = None
    """Pattern of the files with the published validation split, as in `test_files`."""
    format: str | None = None
    """Row format; null = detected by the columns: messages, conversations or prompt/completion."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    weight: float | None = None
    """Mixture only: relative share of this source in the training rows, counted in
    `data.weight_by`. 0 trains on none of its rows but still evaluates on its held-out rows."""
    weights: dict[str, float] = field(default_factory=dict)
    """Relative share of each toolworld category in the training rows. All other splits contain the
    categories named here in equal shares, whatever their weights, and no other category."""
    train_rows: int | None = None
    """Rows generated for training (toolworld)."""
    validation_rows: int | None = None
    """Rows generated for validation (toolworld); for rows in files, the number held out, chosen by
    a hash of the row, instead of `data.validation_share`."""
    test_rows: int | None = None
    """Rows generated for the test split (toolworld); for rows in files, the number held out or
    evaluated of `test_files`, chosen by a hash of the row, instead of `data.test_share`."""
    unseen_values_rows: int | None = None
    """Rows generated with values that do not occur in training (toolworld)."""
    unseen_tools_rows: int | None = None
    """Rows generated with tools that do not occur in training (toolworld)."""
    limit: int | None = None
    """Train on at most this many rows, drawn with `seed`; a smaller limit gives a subset of a
    larger one. Held-out rows do not change. For an entry of `data.test_sources`: evaluate at most
    this many."""
    fraction: float | None = None
    """Train on this share of the rows, 0-1, drawn with `seed`; 0.1 gives a subset of 0.3. Held-out
    rows do not change. For an entry of `data.test_sources`: evaluate this share."""
    max_reject_share: float = 0.2
    """Stop if more than this share of the rows cannot be parsed as conversations."""
    seed: int = 0
    """Seed for generating, sampling and splitting rows. It is separate from the run's seed, so that
    all seeds of a run see the same data; `data.train_seed` lets the training rows differ."""

    def source_problems(self, name: str) -> Iterator[str]:
        """Yield a sentence for each illegal value; `name` is the config key of this source."""
        allowed = SOURCES if name == "data" else SOURCES[:3]
        yield from one_of(f"{name}.source", self.source, allowed)
        if self.format is not None:
            yield from one_of(f"{name}.format", self.format, FORMATS)
        yield from at_least(f"{name}.limit", self.limit, 1)
        yield from share(f"{name}.fraction", self.fraction)
        if self.fraction == 0:
            yield f"{name}.fraction=0: must be above 0"
        yield from share(f"{name}.max_reject_share", self.max_reject_share)
        if self.source == "toolworld":
            yield from self._generated_problems(name)
        elif self.source in ("file", "hub"):
            yield from self._read_problems(name)

    def _generated_problems(self, name: str) -> Iterator[str]:
        yield from self._unused(name, _READ, "source: toolworld generates its rows")
        if self.columns != ColumnsConfig():
            yield f"{name}.columns would not be used: source: toolworld generates its rows"
        for key, value in self.weights.items():
            yield from one_of(f"{name}.weights", key, CATEGORIES)
            yield from at_least(f"{name}.weights.{key}", value, 0)
        if sum(self.weights.values()) <= 0:
            yield f"{name}.weights are all 0: give at least one category a weight above 0"
        if not self.train_rows or self.train_rows < 1:
            yield f"{name}.train_rows={self.train_rows}: at least 1 row is needed to train on"
        for key in (*_HELD_OUT, *_GENERATED[1:]):
            yield from at_least(f"{name}.{key}", getattr(self, key), 0)

    def _read_problems(self, name: str) -> Iterator[str]:
        yield from self._unused(name, _GENERATED, "rows of a file are not generated")
        for key in _HELD_OUT:
            yield from at_least(f"{name}.{key}", getattr(self, key), 0)
        if self.weights:
            yield f"{name}.weights is only used with source: toolworld: remove it"
        if self.source == "file":
            yield from self._unused(name, ("hub_id", "revision"), "source: file reads data.path")
            if self.path is None:
                yield f"{name}.path is not set: give the file or folder, {name}.path=FILE.jsonl"
        elif self.hub_id is None:
            yield f"{name}.hub_id is not set: give the dataset, {name}.hub_id=OWNER/NAME"
        for key in ("test_files", "validation_files"):
            if getattr(self, key) and not (self.files or self.subset):
                yield f"{name}.{key} needs {name}.files: name the files that are trained on too"
        if self.subset is not None:
            yield from one_of(f"{name}.subset", self.subset, tuple(self.subsets))

    def _unused(self, name: str, keys: tuple[str, ...], reason: str) -> Iterator[str]:
        for key in keys:
            if getattr(self, key) is not None:
                yield f"{name}.{key}={getattr(self, key)} would not be used ({reason}): remove it"


@dataclass
class DataConfig(SourceConfig):
    """Which rows are used for training and testing, and how a row is rendered for the model."""

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """The sources of `source: mixture`, by name; a near-duplicate is kept in the earlier source
    only."""
    named: list[str] | None = None
    """The names of the `sources` to mix; the others are left out completely. null = all."""
    weight_by: str = "rows"
    """Unit of the weights: `rows`, `tokens` or `trained_tokens` of the training rows."""
    total: int | None = None
    """Size of the mixture's training split, in the unit of `weight_by`; smaller sources are
    repeated to fill their share. null = no row is repeated and the mixture ends when the first
    source is used up, so weights 1 and 2 on 20 and 822 rows train on 20 and 40."""
    train_seed: Any = None
    """Seed that draws the training rows: a number, or `seed` for the run's own `seed`, so that
    every seed of a run trains on other rows, unless all rows of a file are trained on; null =
    `data.seed`. Validation and test rows are always drawn with `data.seed`."""
    test_sources: dict[str, SourceConfig] = field(default_factory=dict)
    """Sources for evaluation only; training rows that also occur in them are rejected."""
    validation_share: float | None = None
    """Share of the rows in files that becomes the validation split, 0-1."""
    test_share: float | None = None
    """Share of the rows in files that becomes the test split, 0-1."""
    thinking: str = "drop"
    """`drop` the thinking in a row or `keep` it; none is added to rows without thinking."""
    system_prompt: str = "keep"
    """`keep` the system prompt of each row, `unify` to `unified_system_prompt`, or `drop` it."""
    unified_system_prompt: str | None = None
    """The system prompt that `system_prompt: unify` puts into every row."""
    tools_form: str = "openai"
    """Format of the tools in the prompt: `openai`, `bfcl_raw` or `mcp`."""
    tools_shown: str = "all"
    """`all`, or `gold_plus_k`: the tools that a row calls plus `distractors` other tools of that
    row."""
    distractors: int | None = None
    """The k of `tools_shown: gold_plus_k`."""
    cache: str | None = "outputs/cache"
    """Folder that caches converted and tokenised rows between runs; null = no cache."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from self.source_problems("data")
        if self.weight is not None:
            yield f"data.weight={self.weight} is only used for sources of a mixture: remove it"
        yield from one_of("data.weight_by", self.weight_by, WEIGHT_UNITS)
        yield from one_of("data.thinking", self.thinking, THINKING)
        yield from one_of("data.system_prompt", self.system_prompt, SYSTEM_PROMPTS)
        yield from one_of("data.tools_form", self.tools_form, TOOLS_FORMS)
        yield from one_of("data.tools_shown", self.tools_shown, TOOLS_SHOWN)
        yield from at_least("data.total", self.total, 1)
        yield from at_least("data.distractors", self.distractors, 0)
        yield from self._train_seed_problems()
        yield from self._paired_problems()
        yield from self._share_problems()
        yield from self._mixture_problems()
        for name, spec in self.test_sources.items():
            if spec.format in BENCHMARK_FORMATS:
                yield (
                    f"data.test_sources.{name}.format={spec.format} is a published test set: "
                    "evaluate on it with eval.benchmarks, such as "
                    "eval.benchmarks=[bfcl_simple_python] eval.path=FOLDER"
                )
            else:
                key = f"data.test_sources.{name}"
                yield from spec.source_problems(key)
                if spec.source != "toolworld":
                    keys = ("test_files", "validation_files", *_HELD_OUT)
                    yield from spec._unused(key, keys, "all its rows are evaluated; see limit")

    @property
    def mixed(self) -> dict[str, SourceConfig]:
        """The sources of a mixture that `named` names, by name; all of them if it is null."""
        names = self.sources if self.named is None else self.named
        return {name: source for name, source in self.sources.items() if name in names}

    def with_train_seed(self, run_seed: int) -> "DataConfig":
        """Return the config for a run's seed, with the number that draws its training rows."""
        follows = self.train_seed == RUN_SEED
        return replace(self, train_seed=run_seed) if follows else self

    def _train_seed_problems(self) -> Iterator[str]:
        seed = self.train_seed
        if seed is None:
            return
        is_number = isinstance(seed, int) and not isinstance(seed, bool)
        if seed != RUN_SEED and not (is_number and 0 <= seed < 2**32):
            yield (
                f"data.train_seed={seed}: must be a number from 0 to {2**32 - 1}, `seed` for the "
                "run's own seed, or null for data.seed"
            )
        all_rows = self.source in ("file", "hub") and self.limit is None and self.fraction is None
        if is_number and all_rows:
            yield (
                f"data.train_seed={seed} would not be used: all rows of the files are trained on; "
                "set data.limit or data.fraction, or remove it"
            )

    def _paired_problems(self) -> Iterator[str]:
        """Check the fields that only apply together with another one."""
        pairs: tuple[tuple[str, Any, bool], ...] = (
            ("unified_system_prompt", self.unified_system_prompt, self.system_prompt == "unify"),
            ("distractors", self.distractors, self.tools_shown == "gold_plus_k"),
        )
        needs = {
            "unified_system_prompt": "system_prompt=unify",
            "distractors": "tools_shown=gold_plus_k",
        }
        for key, value, required in pairs:
            if required and value is None:
                yield f"data.{key} is not set, but data.{needs[key]} needs it: set it"
            if value is not None and not required:
                yield f"data.{key}={value} is only used with data.{needs[key]}: remove it"

    def _share_problems(self) -> Iterator[str]:
        if self.source == "toolworld":
            reason = "source: toolworld generates its rows"
            yield from self._unused("data", ("validation_share", "test_share"), reason)
        for split in ("validation", "test"):
            rows, share = getattr(self, f"{split}_rows"), getattr(self, f"{split}_share")
            if share and (rows is not None or getattr(self, f"{split}_files")):
                key = f"{split}_files" if rows is None else f"{split}_rows"
                yield f"data.{split}_share={share} with data.{key}: set only one of them"
        shares = (self.validation_share or 0, self.test_share or 0)
        if min(shares) < 0 or sum(shares) >= 1:
            yield (
                f"data.validation_share={self.validation_share} data.test_share="
                f"{self.test_share}: each must be at least 0, and their sum below 1"
            )

    def _mixture_problems(self) -> Iterator[str]:
        if self.source != "mixture":
            yield from self._unmixed_problems()
            return
        keys = (*_GENERATED, *_HELD_OUT, *_READ)
        yield from self._unused("data", keys, "set it on a source of the mixture")
        if self.weights:
            yield "data.weights is only used with source: toolworld: use data.sources.NAME.weight"
        if not self.sources:
            yield "data.sources is empty: add one, +data@data.sources.NAME=jsonl; see data=mixture"
        for name in self.named or ():
            yield from one_of("data.named", name, tuple(self.sources))
        weights = {name: spec.weight for name, spec in self.mixed.items()}
        for name, weight in weights.items():
            if weight is None or not math.isfinite(weight) or weight < 0:
                yield f"data.sources.{name}.weight={weight}: must be a number of at least 0"
            yield from self.sources[name].source_problems(f"data.sources.{name}")
        if self.sources and not sum(weight or 0 for weight in weights.values()):
            yield "all weights of data.sources are 0: give at least one a weight above 0"

    def _unmixed_problems(self) -> Iterator[str]:
        if self.sources:
            yield "data.sources is only used with data.source=mixture: set that or remove it"
        if self.total is not None:
            yield f"data.total={self.total} needs a mixture: use data.limit or data.train_rows"
        if self.named is not None:
            yield f"data.named={self.named} needs a mixture, such as data=mixed_real: remove it"
