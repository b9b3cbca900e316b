"""Group run records into arms: the runs that share everything but seed and learning rate."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms.comparable import other_mode
from experiments.analysis.arms.reasons import Code, Reason
from experiments.analysis.statistics import NoiseFloor
from experiments.config.data_config import RUN_SEED
from experiments.config.loading import EXECUTION_KEYS, without_nulls
from experiments.records import Record, provenance

TUNED_ON = "validation/loss/nll"
"""Score that learning rates are chosen by, in nats per trained token; never uses the test split."""
DIVERGED_ABOVE = 1.0
"""A run counts as diverged if its loss exceeds the base model's by this many nats."""

_IDENTITY: dict[Code, tuple[str, ...]] = {
    "mixed_data": ("data_fingerprint",),
    "mixed_code": ("code_sha256", *provenance.KEYS),
    "mixed_base": ("base_sha256", "adapter_sha256"),
    "mixed_environment": ("libraries", "precision", "device_class"),
}


@dataclass(frozen=True)
class ArmRun:
    """One completed or diverged run of an arm."""

    rate: float
    seed: int
    loss: float | None
    """Validation loss in nats per token; None if the run diverged."""
    scores: Mapping[str, float]
    """All scores of the tuned model; empty if the run diverged before it was scored."""
    record: Record = field(compare=False, repr=False)
    step: int | None = None
    """Step of the record's `test_curve` that the scores are of; None = the final scores."""


@dataclass(frozen=True)
class Arm:
    """The runs of one config at several learning rates and seeds."""

    key: str
    label: str
    config: Mapping[str, Any] = field(compare=False, repr=False)
    """The canonical config without seed and learning rate."""
    runs: tuple[ArmRun, ...]
    """One run per cell (learning rate and seed), sorted by learning rate, then seed."""
    base: Mapping[str, float] = field(compare=False, repr=False)
    """Scores of the untuned base model; empty if no run measured them."""
    reasons: tuple[Reason, ...] = ()
    """Problems with the records themselves."""

    @property
    def rates(self) -> list[float]:
        """All learning rates that were tried, in ascending order."""
        return sorted({run.rate for run in self.runs})

    def losses(self, rate: float) -> dict[int, float]:
        """Return the validation loss of each seed at a learning rate; infinite if diverged."""
        by_seed = {run.seed: run.loss for run in self.runs if run.rate == rate}
        return {seed: math.inf if loss is None else loss for seed, loss in by_seed.items()}

    def at(self, rate: float) -> dict[int, ArmRun]:
        """Return the run of each seed at a learning rate."""
        return {run.seed: run for run in self.runs if run.rate == rate}


def read(records: Iterable[Record]) -> list[Arm]:
    """Return the arms of some records, in the order of their first run.

    Finished runs count, as do runs whose loss stopped being finite: a learning rate at which
    training diverges has been tried. If a cell has several records, the newest finished one counts.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if (record.config.get("trainer") or {}).get("learning_rate") is not None:
            groups.setdefault(arm_key(record.config), []).append(record)
    labels = _labels({key: group[0] for key, group in groups.items()})
    bases = _bases([record for group in groups.values() for record in group])
    return [_arm(key, labels[key], group, bases) for key, group in groups.items()]


def arm_key(config: Mapping[str, Any]) -> str:
    """Return the key that runs of one arm share: the config without seed and learning rate.

    Null values are left out, so that a version which adds such a key does not create another arm.
    """
    return json.dumps(without_nulls(_without_rate(config)), sort_keys=True, default=str)


def repeats(records: Iterable[Record], score: str = TUNED_ON) -> NoiseFloor | None:
    """Return the noise floor of a score from repeated runs (`rerun=true`), or None without repeats.

    A cell is one run_id with the same code, the same data and the same kind of device. A record
    that occurs twice, in a sweep and in its report, counts as one run.
    """
    cells: dict[str, dict[str, float]] = {}
    for record in records:
        value = record.scores.get("tuned", {}).get(score)
        if record.status == "finished" and value is not None and math.isfinite(value):
            cell = json.dumps([record.run_id, record.identity], sort_keys=True, default=str)
            cells.setdefault(cell, {})[record.started_at] = value
    return statistics.noise_floor([list(scores.values()) for scores in cells.values()])


def diverged(record: Record) -> bool:
    """Return whether a run ended because its loss was not finite."""
    return record.status == "failed" and (record.error or {}).get("step") is not None


def mixed(records: Sequence[Record]) -> Iterator[Reason]:
    """Yield a reason for each part of the identity that differs between records."""
    nouns = {
        "mixed_data": "data sets",
        "mixed_code": "versions of the code",
        "mixed_base": "base weights",
        "mixed_environment": "libraries, precisions or device classes",
    }
    for code, keys in _IDENTITY.items():
        count = _most_versions(records, keys, by_draw=code == "mixed_data")
        if count > 1:
            yield Reason(
                code,
                f"the runs used {count} different {nouns[code]}: rerun the same command to "
                "repeat the older ones",
            )
    if (reason := other_mode(records)) is not None:
        yield reason


def _most_versions(records: Sequence[Record], keys: Sequence[str], *, by_draw: bool) -> int:
    """Return how many versions of an identity occur, among runs that should share it.

    With `data.train_seed=seed`, runs of different seeds have different training rows on purpose.
    """
    versions: dict[Any, set[str]] = {}
    for record in records:
        value = json.dumps([record.identity.get(key) for key in keys], sort_keys=True)
        versions.setdefault(draw(record) if by_draw else None, set()).add(value)
    return max(map(len, versions.values()), default=0)


def draw(record: Record) -> int | None:
    """Return the seed that drew a run's training rows; None if they are the same for all seeds."""
    data = record.config.get("data") or {}
    return record.config.get("seed") if data.get("train_seed") == RUN_SEED else None


def unchanged(records: Sequence[Record]) -> list[Record]:
    """Return the records of an arm that have the identity of its newest one.

    With `data.train_seed=seed` the data are those of the newest record of the same seed.
    """
    in_time = sorted(records, key=lambda record: record.started_at)
    data = {draw(record): record.identity.get("data_fingerprint") for record in in_time}
    return [
        record
        for record in records
        if not provenance.differences(
            record.identity, in_time[-1].identity | {"data_fingerprint": data[draw(record)]}
        )
    ]


def _without_rate(config: Mapping[str, Any]) -> dict[str, Any]:
    tree = {key: value for key, value in config.items() if key != "seed"}
    tree["trainer"] = {k: v for k, v in tree["trainer"].items() if k != "learning_rate"}
    return tree


def _arm(key: str, label: str, group: Sequence[Record], bases: Mapping[str, Any]) -> Arm:
    base = bases.get(_base_key(group[0]), {})
    cells: dict[tuple[float, int], ArmRun] = {}
    for record in sorted(group, key=lambda r: (r.status == "finished", r.started_at)):
        if (run := _arm_run(record, base)) is not None:
            cells[run.rate, run.seed] = run
    runs = tuple(cells[cell] for cell in sorted(cells))
    reasons = list(mixed([run.record for run in runs]))
    dirty = sum(bool(run.record.provenance.get("git_dirty")) for run in runs)
    if dirty:
        reasons.append(
            Reason(
                "dirty_tree",
                f"{dirty} of {len(runs)} runs used uncommitted code: commit it and repeat them",
            )
        )
    return Arm(key, label, _without_rate(group[0].config), runs, base, tuple(reasons))


def _arm_run(record: Record, base: Mapping[str, float]) -> ArmRun | None:
    rate = float(record.config["trainer"]["learning_rate"])
    seed = int(record.config.get("seed") or 0)
    if diverged(record):
        return ArmRun(rate, seed, None, {}, record)  # its loss was not finite
    scores = record.scores.get("tuned", {})
    loss = scores.get(TUNED_ON)
    if record.status != "finished" or loss is None:
        return None
    limit = base.get(TUNED_ON, math.inf) + DIVERGED_ABOVE
    return ArmRun(
        rate, seed, loss if math.isfinite(loss) and loss <= limit else None, scores, record
    )


def _base_key(record: Record) -> str:
    parts = [record.config.get(key) for key in ("model", "data", "eval")]
    return json.dumps(parts, sort_keys=True, default=str)


def _bases(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return the scores of the untuned base model by (model, data, evaluation), where known."""
    return {
        _base_key(r): r.scores["base"]
        for r in records
        if r.status == "finished" and r.scores.get("base")
    }


def _labels(first_records: Mapping[str, Record]) -> dict[str, str]:
    """Label each arm by the overrides that differ between arms."""
    overrides = {key: _overrides(record) for key, record in first_records.items()}
    names = dict.fromkeys(name for values in overrides.values() for name in values)
    varying = [n for n in names if len({values.get(n) for values in overrides.values()}) > 1]
    labels: dict[str, str] = {}
    for key, values in overrides.items():
        label = (
            " ".join(f"{name}={values[name]}" for name in varying if name in values) or "defaults"
        )
        duplicates = list(labels.values()).count(label)
        labels[key] = f"{label} ({duplicates + 1})" if duplicates else label
    return labels


def _overrides(record: Record) -> dict[str, str]:
    hidden = ("seed", "sweeps", "trainer.learning_rate", *EXECUTION_KEYS)
    pairs = (text.lstrip("+").partition("=")[::2] for text in record.overrides)
    return {k: v for k, v in pairs if not any(k == h or k.startswith(f"{h}.") for h in hidden)}
