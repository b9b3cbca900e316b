"""Print the differences between two runs as tables in the terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments import reports
from experiments.reports import answering
from experiments.reports.explain.outcome import Curve, Score
from experiments.reports.explain.run_comparison import ComparedRun, Explained
from experiments.reports.explain.trees import ABSENT, DifferingLeaf, Part
from experiments.reports.scores import COLUMNS
from experiments.reports.sentences import counted
from experiments.reports.tables import cell_text

_GIVEN = "set by you"
_LONGEST = 120  # characters per value; a system prompt or a list of files has thousands


def show(found: Explained, console: Console | None = None) -> None:
    """Print the differences part by part, then the outcome and possible causes."""
    to = console or Console(width=reports.line_width(), highlight=False, markup=False, emoji=False)
    for name, side in (("A", found.a), ("B", found.b)):
        to.print(f"{name}: {_describe(side)}")
        if how := answering.of_run(side.run.record, side.kind):
            to.print(f"{name}: {how}")
    for part in found.parts:
        _show_part(part, to)
    _show_scores(found, to)
    _show_curves(found.curves, to)
    _show_costs(found, to)
    to.print()
    for sentence in conclusions(found):
        to.print(sentence)


def _describe(side: ComparedRun) -> str:
    record = side.run.record
    words = " ".join(record.overrides)
    return f"{side.path} (run {record.run_id}, {record.status}{'; ' + words if words else ''})"


def _show_part(part: Part, to: Console) -> None:
    total = part.same + len(part.rows)
    to.print()
    if not total:
        to.print(f"Neither record describes its {part.name}.")
    elif not part.rows:
        to.print(f"No differences in {part.name} ({counted(total, 'value')}).")
    else:
        to.print(f"{len(part.rows)} of {counted(total, 'value')} in {part.name} differ:")
        rows = [[row.key, *_values(row)] for row in part.rows]
        to.print(table(["", "A", "B"], rows, numbers=False))


def _values(row: DifferingLeaf) -> tuple[str, str]:
    return _value(row.a, row.origin_a), _value(row.b, row.origin_b)


def _value(value: Any, origin: str | None) -> str:
    if value is ABSENT:
        return "(absent)"
    if isinstance(value, list):
        text = ", ".join(sorted(map(str, value))) or "(empty)"
    else:
        text = "null" if value is None else str(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    return f"{text} ({origin})" if origin and origin != _GIVEN else text


def _show_scores(found: Explained, to: Console) -> None:
    differ = [score for score in found.scores if not score.same]
    to.print()
    if not found.scores:
        to.print("The runs have no score in common.")
        return
    same = len(found.scores) - len(differ)
    if not differ:
        rows = ", row by row" if all(s.changed is not None for s in found.scores) else ""
        to.print(f"No differences in the scores ({counted(same, 'score')}{rows}).")
        return
    kinds = {side.kind for side in (found.a, found.b)}
    which = f"{found.a.kind} model" if len(kinds) == 1 else "tuned model of one, base of the other"
    to.print(f"{len(differ)} of {counted(len(found.scores), 'score')} differ ({which}):")
    header = ["score", "A", "B", "B - A", "verdict", "rows", "rows changed", "McNemar's p"]
    to.print(table(header, [_score_line(score) for score in differ]))


def _score_line(score: Score) -> list[str]:
    return [
        COLUMNS.get(score.key, score.key),
        f"{score.a:.4g}",
        f"{score.b:.4g}",
        cell_text(score.difference, "+"),
        score.verdict,
        str(score.difference.n or "-"),
        "-" if score.changed is None else str(score.changed),
        "-" if score.mcnemar_p is None else f"{score.mcnemar_p:.3g}",
    ]


def _show_curves(curves: Sequence[Curve], to: Console) -> None:
    to.print()
    if not curves:
        to.print("Neither run has a learning curve.")
        return
    header = ["learning curve", "last of A", "last of B", "B - A", "first difference"]
    to.print(table(header, [_curve_line(curve) for curve in curves]))


def _curve_line(curve: Curve) -> list[str]:
    ends = (curve.last_a, curve.last_b)
    cells = ["-" if end is None else f"{end[1]:.4f} at step {end[0]}" for end in ends]
    apart = "-"
    if curve.last_a and curve.last_b and curve.last_a[0] == curve.last_b[0]:
        apart = f"{curve.last_b[1] - curve.last_a[1]:+.4f}"
    until = f"step {curve.parts_at}"
    if curve.parts_at is None:
        until = f"none in {curve.common} points" if curve.common else "no common step"
    return [curve.name, *cells, apart, until]


def _show_costs(found: Explained, to: Console) -> None:
    one, other = (s.run.record for s in (found.a, found.b))
    rows = []
    for a, b, unit, scale in (
        (one.timing, other.timing, "s", 1.0),
        (one.memory, other.memory, "MB", 1e6),
    ):
        for key in a:
            if key in b:
                ratio = f"{b[key] / a[key]:.2f}" if a[key] else "-"
                name = key.removesuffix("_seconds").removesuffix("_bytes").replace("_", " ")
                cells = [f"{value / scale:,.1f} {unit}" for value in (a[key], b[key])]
                rows.append([name, *cells, ratio])
    if rows:
        to.print()
        to.print(table(["time and memory", "A", "B", "B / A"], rows))


def conclusions(found: Explained) -> Iterator[str]:
    """Yield sentences on how the differences explain each other."""
    one, other = found.a.run.record, found.b.run.record
    differ = any(not score.same for score in found.scores)
    if (one.run_id, one.started_at) == (other.run_id, other.started_at):
        yield "A and B are records of the same run."
    elif found.identity:
        yield (
            f"Besides the config, {', '.join(found.identity)} differ, which may explain "
            "differences in the scores."
        )
    if found.same_inputs and differ:
        yield (
            "Config and identity are the same, so the scores should be too: the differences are "
            "those of a repeated run on these machines (threads, kernels)."
        )
    if "data_fingerprint" in found.identity and any(s.changed is not None for s in found.scores):
        yield "Rows are paired by id: make sure that ids refer to the same rows in both."
    if any(not score.same for score in found.base_scores) and not found.same_inputs:
        yield "The scores of the untuned base differ too: not all differences come from training."
    if differ and all(score.changed is None for score in found.scores if not score.same):
        yield (
            "No intervals: the scores per test row (items.jsonl.gz) are missing, or the runs were "
            "scored on different rows."
        )
    elif differ:
        yield (
            "95 % intervals are over test rows, for this pair of runs: they do not include "
            "variation between seeds and are not adjusted for the number of scores."
        )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> Table:
    """Return a table without lines, numbers right-aligned; long cells wrap to another line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, name in enumerate(header):
        right = numbers and at > 0
        table.add_column(
            Text(name, style="bold"), justify="right" if right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
