"""Score saved BFCL outputs of any model, without loading a model or importing torch.

`score_bfcl` scores a result file of BFCL, `export_run` writes the answers of a finished run as
such files, and `aggregate` combines categories under names that list their contents. BFCL's
"overall" also covers Java, multi-turn and agentic categories, so that name is not used here.

Sources: E. B. Wilson, JASA 22 (1927) for a share; G. Y. Zou and A. Donner, "Construction of
confidence limits about effect measures", Statistics in Medicine 27 (2008), equation 5, for a mean
of shares, from the Wilson interval of each.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import records
from experiments.analysis import statistics
from experiments.analysis.statistics import Interval
from experiments.errors import DataError, RecordError
from experiments.toolcalls import bfcl
from experiments.toolcalls.bfcl import Verdict, export, files

SPLIT_PREFIX = "bfcl_"


@dataclass(frozen=True)
class BfclFiles:
    """The arguments of `score --benchmark bfcl`."""

    category: str
    questions: Path
    answers: Path | None
    """Ground truth; None for irrelevance and relevance, which have none."""
    predictions: Path
    format: str
    underscore_to_dot: bool = False


@dataclass(frozen=True)
class Aggregate:
    """Several categories combined under one name, with those that are missing."""

    name: str
    interval: Interval
    missing: tuple[str, ...]
    """Categories that were not scored; they are left out, not counted as 0."""

    def __str__(self) -> str:
        """Return a line with the share, its interval, n and the missing categories."""
        without = f", without {', '.join(self.missing)}" if self.missing else ""
        return f"{self.name}{without}: {_share(self.interval)}"


_AGGREGATES: dict[str, tuple[Sequence[str], bool]] = {
    "bfcl_ast_non_live_python": (bfcl.NON_LIVE, False),
    "bfcl_ast_live": (bfcl.LIVE, True),
    "bfcl_irrelevance": (bfcl.IRRELEVANCE, False),
    "bfcl_live_relevance": (bfcl.RELEVANCE, False),
}


def score_bfcl(arguments: BfclFiles, out: Path) -> list[str]:
    """Score a file of predictions and write `{"id", "valid", "error_type"}` for each question.

    Returns:
        Lines to print: the share with its interval, error types, and problems of the file.

    Raises:
        ConfigError: the category or format is not supported, or it takes no ground truth.
        DataError: questions or answers are broken or do not match, or a file cannot be read.
    """
    bfcl.check_format(arguments.format)
    tasks, unused = files.read_tasks(arguments.category, arguments.questions, arguments.answers)
    predictions = files.read_predictions(arguments.predictions, [task.id for task in tasks])
    verdicts = [
        predictions.verdicts.get(task.id)
        or bfcl.check(
            arguments.category,
            task.functions,
            task.ground_truth,
            predictions.results[task.id],
            arguments.format,
            arguments.underscore_to_dot,
        )
        for task in tasks
    ]
    export.write_lines(
        out,
        (
            {"id": task.id, "valid": verdict.valid, "error_type": verdict.error_type}
            for task, verdict in zip(tasks, verdicts, strict=True)
        ),
    )
    return [*_summary(arguments.category, verdicts), *unused, *predictions.remarks, f"wrote {out}"]


def _summary(category: str, verdicts: Sequence[Verdict]) -> list[str]:
    valid = sum(verdict.valid for verdict in verdicts)
    share = _share(statistics.proportion_interval(valid, len(verdicts)))
    malformed = sum(verdict.malformed for verdict in verdicts)
    accepted = sum(verdict.malformed and verdict.valid for verdict in verdicts)
    types = Counter(verdict.error_type for verdict in verdicts if verdict.error_type)
    lines = [f"bfcl {category}: {valid} of {len(verdicts)} valid, {share}"]
    lines += [f"{count:6,}  {error_type}" for error_type, count in types.most_common()]
    if malformed:
        lines.append(
            f"{malformed:6,}  answers have a malformed call; {accepted} still count as valid"
        )
    return lines


def _share(interval: Interval) -> str:
    low, high = interval.low, interval.high
    assert low is not None and high is not None  # n is at least 1
    return f"{interval.estimate:.4f} [{low:.4f}, {high:.4f}] (95 %, n = {interval.n:,})"


def aggregate(valid: Mapping[str, Sequence[bool]]) -> list[Aggregate]:
    """Combine the verdicts of categories; an aggregate without any scored category is left out.

    `bfcl_ast_live` is a mean over rows, as upstream; the others are means of category shares.

    >>> [part] = aggregate({"multiple": [True, False], "parallel": [True]})
    >>> part.name, part.interval.estimate, part.interval.n, part.missing
    ('bfcl_ast_non_live_python', 0.75, 3, ('simple_python', 'parallel_multiple'))

    Args:
        valid: verdicts by category, one per row and at least one each.

    Raises:
        ConfigError: a category is not supported.
    """
    for category in valid:
        bfcl.check_category(category)
    aggregates = []
    for name, (categories, by_rows) in _AGGREGATES.items():
        present = [category for category in categories if category in valid]
        shares = [
            statistics.proportion_interval(sum(valid[category]), len(valid[category]))
            for category in present
        ]
        if present:
            rows = [is_valid for category in present for is_valid in valid[category]]
            pooled = statistics.proportion_interval(sum(rows), len(rows))
            missing = tuple(category for category in categories if category not in valid)
            aggregates.append(Aggregate(name, pooled if by_rows else _mean(shares), missing))
    return aggregates


def _mean(shares: Sequence[Interval]) -> Interval:
    """Return the unweighted mean of shares; each end adds the squared distances of the parts."""
    k = len(shares)
    mean = math.fsum(share.estimate for share in shares) / k
    below = math.hypot(*(share.estimate - (share.low or 0.0) for share in shares)) / k
    above = math.hypot(*((share.high or 0.0) - share.estimate for share in shares)) / k
    n = sum(share.n for share in shares)
    method = shares[0].method if k == 1 else "wilson, combined"
    return Interval(mean, max(0.0, mean - below), min(1.0, mean + above), n, "items", method)


def export_run(run: Path, out: Path) -> list[str]:
    """Write a finished run's answers to BFCL rows in BFCL's layout, base and tuned separately.

    Returns:
        Lines to print: the aggregates of each model, and the files.

    Raises:
        ConfigError: a split of a category that is not supported.
        DataError: the run has no such answers, or `out` is not empty.
        RecordError: there is no readable record, or the run is not finished.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"--out {out} is not empty: name a new folder.")
    by_model = _answers_by_model(run)
    name = run.resolve().name
    lines = []
    for model, rows in by_model.items():
        valid: dict[str, list[bool]] = {}
        for row in rows:
            valid.setdefault(row.category, []).append(row.valid)
        lines += [f"{name}-{model} {part}" for part in aggregate(valid)]
        lines += [f"wrote {path}" for path in export.write(out, f"{name}-{model}", rows)]
    return lines


def _answers_by_model(run: Path) -> dict[str, list[export.Answered]]:
    if not (run / records.FILE_NAME).is_file():
        raise RecordError(
            f"there is no {records.FILE_NAME} in {run}: give a finished run's folder."
        )
    record = records.read(run / records.FILE_NAME)
    if record.status != "finished":
        raise RecordError(
            f"{record.path} is {record.status}, not finished: finish the run before exporting it."
        )
    by_model: dict[str, list[export.Answered]] = {}
    for item in records.items(record):
        if str(item["split"]).startswith(SPLIT_PREFIX):
            by_model.setdefault(item["model"], []).append(_answer(run, item))
    if not by_model:
        raise DataError(
            f"{run} has no answers to a split named {SPLIT_PREFIX}<category>, such as "
            f"{SPLIT_PREFIX}simple_python: export a run that was scored on BFCL."
        )
    return by_model


def _answer(run: Path, item: dict[str, Any]) -> export.Answered:
    score = item["scores"].get("bfcl_ast/valid")
    if score is None:
        raise DataError(
            f"{run}: the answer to '{item['id']}' has no score bfcl_ast/valid: evaluate the run "
            "with bfcl_ast among eval.metrics."
        )
    valid = score == 1.0
    return export.Answered(
        category=item["split"].removeprefix(SPLIT_PREFIX),
        id=item["id"],
        text=item["text"],
        valid=valid,
        error_type=None if valid else item.get("error_type", "bfcl_ast:type_not_recorded"),
        error="" if valid else "not valid by bfcl_ast; score the result file for the reason",
    )
