"""Build the tables of a sweep over base models: each untuned and tuned, and published scores.

The tables are shown if every arm has a different base model. Each base is evaluated at its best
learning rate, which `experiments.analysis.arms` determines on the validation split.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Tuned
from experiments.analysis.statistics import Interval
from experiments.reports.arm_report import Report
from experiments.reports.scores import (
    CATEGORY_SCORES,
    COLUMNS,
    Kind,
    Run,
    bounds,
    by_category,
    dump,
    mean,
)
from experiments.reports.tables import Grid, cell_text, heading

SHOWN = (
    *("loss/bits_per_byte", "loss/nll", "calls/exact", "unseen_values/calls/exact"),
    *("restraint/correct", "json_output/valid", "json_output/values", "forgetting/increase"),
)
NOT_OURS = "published, not measured here"
_CAPTION = (
    "Base models, untuned and tuned at the learning rate with the lowest validation loss. Bits per "
    "byte is comparable between all bases, NLL per token only between bases with the same "
    "tokenizer. 95 % intervals are over test rows for untuned models and over seeds for tuned ones "
    "(over test rows with a single seed). Remarks list reasons for caution."
)
_KINDS: tuple[Kind, ...] = ("base", "tuned")
_GB = 10**9


@dataclass(frozen=True)
class _Base:
    """A base model at its best learning rate."""

    label: str
    tuned: Tuned
    runs: list[Run]
    """The runs at the best learning rate, one per seed."""
    untuned: Run | None
    """A run that scored the base before training; None if there is none."""

    def of(self, kind: Kind) -> list[Run]:
        """Return the runs with the scores of the untuned or of the tuned model."""
        if kind == "tuned":
            return self.runs
        return [self.untuned] if self.untuned is not None else []


def sections(report: Report) -> list[tuple[str, Grid]]:
    """Return captioned tables: scores and cost, scores by category, and published scores.

    The list is empty if two arms share a base, or fewer than two bases have a run that counts.
    """
    bases = _bases(report)
    if len(bases) < 2:
        return []
    shown = [run.record for base in bases for kind in _KINDS for run in base.of(kind)]
    reason = arms.other_mode(shown)
    apart = f" The rows are not comparable: {reason.text}." if reason else ""
    found = [(_CAPTION + apart, _main(bases))]
    if (categories := _categories(bases)) is not None:
        found.append(("Base models by category of the test split:", categories))
    return [*found, _published()]


def _bases(report: Report) -> list[_Base]:
    runs = {run.record.run_id: run for run in report.runs}
    read = [arm for arm in arms.read(run.record for run in report.runs) if arm.runs]
    models = [dump(arm.config.get("model")) for arm in read]
    if len(set(models)) < len(models):
        return []
    found = []
    for arm in read:
        tuned = arms.tune(arm)
        best = [runs[made.record.run_id] for made in tuned.runs.values()]
        own = [runs[made.record.run_id] for made in arm.runs]
        untuned = next((run for run in own if run.record.scores.get("base")), None)
        label = str((arm.config.get("model") or {}).get("label") or arm.label)
        found.append(_Base(label, tuned, best, untuned))
    return found


def _main(bases: Sequence[_Base]) -> Grid:
    there = {k for b in bases for kind in _KINDS for run in b.of(kind) for k in _scores(run, kind)}
    keys = [key for key in SHOWN if key in there]
    header = ["base model", "parameters", "trained", "best LR", "seeds"]
    says = any(_thinking(base, kind) for base in bases for kind in _KINDS)
    header += [
        *(["thinking"] if says else []),
        *map(heading, keys),
        "train seconds",
        "peak memory (GB)",
        "remarks",
    ]
    lines = []
    for base in bases:
        for kind in (kind for kind in _KINDS if base.of(kind)):
            shown = [cell_text(_interval(base.of(kind), kind, key)) for key in keys]
            named = [*_named(base, kind), *([_thinking(base, kind) or "-"] if says else [])]
            lines.append([*named, *shown, *_cost(base, kind), _remarks(base, kind, bases)])
    return Grid(header, lines)


def _scores(run: Run, kind: Kind) -> Mapping[str, float]:
    return run.record.scores.get(kind, {})


def _named(base: _Base, kind: Kind) -> list[str]:
    record = base.of(kind)[0].record
    parameters = _count(record.model.get("parameters"))
    if kind == "base":
        return [f"{base.label}, untuned", parameters, "-", "-", "-"]
    trained = _count(record.adapter.get("trainable_parameters"))
    best = base.tuned.best
    rate = "-" if best is None else f"{best:.3g}"
    return [f"{base.label}, tuned", parameters, trained, rate, str(len(base.runs))]


def _thinking(base: _Base, kind: Kind) -> str | None:
    """Return the thinking mode of a model's evaluation; None if its record does not contain it."""
    facts = base.of(kind)[0].record.evaluation.get(kind) if base.of(kind) else None
    how = (facts or {}).get("asked")
    return None if how is None else str(how["thinking"])


def _cost(base: _Base, kind: Kind) -> list[str]:
    """Return the mean seconds and largest memory peak of training; `-` for the untuned base."""
    if kind == "base":
        return ["-", "-"]
    made = [run.record for run in base.runs]
    seconds = [s for record in made if (s := record.timing.get("train_seconds")) is not None]
    peaks = [p for record in made if (p := record.memory.get("train_peak_bytes")) is not None]
    return [
        f"{mean(seconds):.0f}" if seconds else "-",
        f"{max(peaks) / _GB:.2f}" if peaks else "-",
    ]


def _remarks(base: _Base, kind: Kind, bases: Sequence[_Base]) -> str:
    """Return reasons for caution about a row, and the number of test rows that did not fit."""
    codes = [] if kind == "base" else [reason.code for reason in base.tuned.reasons]
    said = [code.replace("_", " ") for code in dict.fromkeys(codes)]
    both = [one.of(way)[0].record for one in (bases[0], base) for way in _KINDS if one.of(way)]
    if arms.other_rows(both, "calls/exact") is not None:
        said.append(f"different test rows from {bases[0].label}")
    lost = base.of(kind)[0].record.evaluation.get(kind, {}).get("unanswered") or {}
    said += [f"{n} rows of {split} are too long and count as wrong" for split, n in lost.items()]
    return ", ".join(said) or "-"


def _count(parameters: Any) -> str:
    """Return a number of parameters in millions.

    >>> _count(1_049_984), _count(None)
    ('1.05 M', '-')
    """
    return "-" if parameters is None else f"{parameters / 10**6:,.2f} M"


def _interval(runs: Sequence[Run], kind: Kind, key: str) -> Interval | None:
    if len(runs) == 1:
        return runs[0].over_items(kind, key)
    return _over_seeds([run.score(kind, key) for run in runs], key)


def _over_seeds(values: Sequence[float | None], key: str) -> Interval | None:
    known = [value for value in values if value is not None]
    if not known or not all(map(math.isfinite, known)):
        return None
    return statistics.mean_interval(known, bounds=bounds(key))


def _categories(bases: Sequence[_Base]) -> Grid | None:
    """Return a row per category and a column per base and kind; None without categories."""
    columns = [(base, kind) for base in bases for kind in _KINDS if base.of(kind)]
    names = {"base": "untuned", "tuned": "tuned"}
    lines = []
    for key in CATEGORY_SCORES:
        start = f"{key}/"
        every = {k for b, kind in columns for run in b.of(kind) for k in _scores(run, kind)}
        for category in sorted(k.removeprefix(start) for k in every if k.startswith(start)):
            cells = [
                cell_text(_of_category(b.of(kind), kind, key, category)) for b, kind in columns
            ]
            lines.append([f"{category}: {COLUMNS[key]}", *cells])
    header = ["category", *(f"{base.label}, {names[kind]}" for base, kind in columns)]
    return Grid(header, lines) if lines else None


def _of_category(runs: Sequence[Run], kind: Kind, key: str, category: str) -> Interval | None:
    if len(runs) == 1 and (found := by_category(runs[0]).get((category, key), {}).get(kind)):
        return found
    return _over_seeds([run.score(kind, f"{key}/{category}") for run in runs], key)


@dataclass(frozen=True)
class Published:
    """Scores from the paper or model card of a model on the hub."""

    model: str
    """Hub id `owner/name`, as in conf/model/."""
    checkpoint: str
    """The name in the source, with the differences to the model here."""
    scores: dict[str, float]
    """Percent by benchmark; empty if no score was found."""
    source: str


@functools.cache
def published() -> tuple[Published, ...]:
    """Return the published scores of the models in conf/model/."""
    file = resources.files("experiments.reports") / "published_scores.json"
    return tuple(Published(**entry) for entry in json.loads(file.read_text(encoding="utf-8")))


def _published() -> tuple[str, Grid]:
    header = ["model", "checkpoint", "score", f"% ({NOT_OURS})", "source"]
    lines = []
    for one in published():
        model = one.model.split("/")[-1]
        shown = [(name, f"{score:.2f}") for name, score in one.scores.items()] or [("-", "-")]
        lines += [[model, one.checkpoint, *pair, one.source] for pair in shown]
    return (
        f"Scores of models on the hub, {NOT_OURS}: test sets and prompts differ and there are no "
        "intervals, so they are not comparable with the tables above.",
        Grid(header, lines),
    )
