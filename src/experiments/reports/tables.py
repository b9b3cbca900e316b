"""Build the tables of a report, as aligned text for a terminal or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.analysis import statistics
from experiments.analysis.arms import table
from experiments.analysis.claims import units
from experiments.analysis.statistics import Interval
from experiments.reports import answering
from experiments.reports.arm_report import ArmRow, Report
from experiments.reports.scores import (
    COLUMNS,
    Kind,
    Run,
    benchmark_scores,
    by_category,
    direction,
)
from experiments.toolcalls.token_classes import CLASSES

TRAINED = "trained parameters (of all, of linear layers)"


@dataclass
class Grid:
    """A table of text; the first column contains the row names."""

    header: list[str]
    rows: list[list[str]]


def main_scores(rows: Sequence[ArmRow]) -> dict[str, str]:
    """Return the headings of the main scores that any row has.

    The validation loss is included only if there is no test loss. `stopped` is included only if a
    record of an older version lacks its complement, the share of answers that were cut off; neither
    is if only losses are scored (`eval=loss`), as answers then have one token.
    """
    there = {key for row in rows for key in row.scores}
    answered = [row for row in rows if "generation/stopped" in row.scores]
    if answered and all("generation/cut_off" in row.scores for row in answered):
        there.discard("generation/stopped")
    records = [run.record for row in rows for run in row.runs]
    if records and not any(answering.are_scored(record) for record in records):
        there -= {"generation/stopped", "generation/cut_off"}
    if "loss/nll" in there:
        there.discard("validation/loss/nll")
    return {key: heading(key) for key in COLUMNS if key in there}


def heading(key: str) -> str:
    """Return the name of a score, with a remark if lower is better."""
    return COLUMNS[key] + (" (lower is better)" if direction(key) == "minimize" else "")


def cell_text(interval: Interval | None, sign: str = "") -> str:
    """Return a text like `0.852 [0.81, 0.89]`; three decimals if two would hide the interval."""
    if interval is None:
        return "-"
    text = f"{interval.estimate:{sign}.3f}"
    if interval.low is None or interval.high is None or is_flat(interval):
        return text
    ends = (interval.low, interval.high)
    near_zero = any(0 < abs(end) < 0.005 for end in ends)
    digits = 3 if near_zero or ends[1] - ends[0] < 0.02 else 2
    return f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def is_flat(interval: Interval) -> bool:
    """Return whether all values were the same, so that the interval has no width."""
    low, high = interval.low, interval.high
    return low is not None and high is not None and high - low < statistics.ROUNDING


def verdict(difference: Interval | None, key: str) -> str:
    """Return the verdict on a difference, or `-` if it has no data that can be judged."""
    if difference is None or difference.n == 0:
        return "-"
    return statistics.verdict_words(difference, direction(key))


def finding(row: ArmRow, key: str) -> str:
    """Return the verdict on a row: the finding of a tuned sweep, else that of its interval."""
    if row.contrast is not None:
        return table.verdict_text(row.contrast)
    return verdict(row.difference, key)


def grids(report: Report) -> list[Grid]:
    """Return the tables of a report; none if no run has a score to show."""
    if not main_scores(report.rows):
        return []
    if report.single is not None:
        run = report.single
        more = (*_category_grids(run), *_benchmark_grids(run), *_token_class_grids(run))
        return [_single_grid(report.rows, run), *more]
    if report.tuning is None:
        return [_sweep_grid(report)]
    return [_tuned_grid(report), *_arm_class_grids(report)]


def _single_grid(rows: Sequence[ArmRow], run: Run) -> Grid:
    columns = main_scores(rows)
    lines = [[row.label, *(cell_text(row.scores.get(key)) for key in columns)] for row in rows]
    if len(rows) > 1:
        gains = {key: run.gain(key) for key in columns}
        lines.append(["tuned - base", *(cell_text(gain, "+") for gain in gains.values())])
        lines.append(["verdict", *(verdict(gain, key) for key, gain in gains.items())])
    counts = [rows[-1].scores.get(key) for key in columns]
    lines.append(["test rows", *(str(i.n) if i and i.n else "-" for i in counts)])
    return Grid(["model", *columns.values()], lines)


def _category_grids(run: Run) -> list[Grid]:
    """Return the table of the test split by category; none if rows have no category."""
    lines = []
    for (category, key), cells in by_category(run).items():
        n = max(cell.n for cell in cells.values())
        line = [category, COLUMNS[key], str(n)]
        lines.append(line + [cell_text(cells.get(kind)) for kind in ("base", "tuned")])
    return [Grid(["category", "score", "test rows", "base", "tuned"], lines)] if lines else []


def _benchmark_grids(run: Run) -> list[Grid]:
    """Return the table of the named benchmarks; none if no benchmark was scored."""
    keys = benchmark_scores(run)
    lines = [[key.replace("/", " ", 1), *_compared_models(run, key)] for key in keys]
    return [Grid(["benchmark", *_COMPARED], lines)] if lines else []


def _token_class_grids(run: Run) -> list[Grid]:
    """Return the table of the NLL by token class; none if it was not measured."""
    lines = []
    for name in CLASSES:
        key = f"loss/nll_{name}"
        if run.score("tuned", key) is not None or run.score("base", key) is not None:
            lines.append([name.replace("_", " "), *_compared_models(run, key)])
    return [Grid(["NLL by token class", *_COMPARED], lines)] if lines else []


_COMPARED = ("n", "base", "tuned", "tuned - base", "verdict")


def _compared_models(run: Run, key: str) -> list[str]:
    """Return n, both models' scores, their difference paired by test row, and the verdict."""
    kinds: tuple[Kind, ...] = ("base", "tuned")
    counts = [run.record.counts.get(kind, {}).get(key) for kind in kinds]
    gain = run.gain(key)
    return [
        str(next((n for n in counts if n is not None), "-")),
        *(cell_text(run.over_items(kind, key)) for kind in kinds),
        cell_text(gain, "+"),
        verdict(gain, key),
    ]


def _sweep_grid(report: Report) -> Grid:
    """Return the table of arms: first the score they are compared by, then the others."""
    columns, key = main_scores(report.rows), report.headline
    first = {key: columns.pop(key)} if key else {}
    tuned = [row for row in report.rows if row.kind == "tuned"]
    compared = first if len(tuned) > 1 else {}
    header = ["arm", "seeds", *first.values(), *("difference from first arm" for _ in compared)]
    header += [TRAINED, "train seconds", *columns.values()]
    lines = []
    for row in report.rows:
        line = [row.label, _seeds(row)]
        line += [cell_text(row.scores.get(one)) for one in first]
        line += ["reference" if row is tuned[0] else _compared(row, one) for one in compared]
        seconds = row.seconds()
        line += [row.trained().text, "-" if seconds is None else f"{seconds:.0f}"]
        lines.append(line + [cell_text(row.scores.get(one)) for one in columns])
    return Grid(header, lines)


def _tuned_grid(report: Report) -> Grid:
    """Return the table of arms at their best learning rates: their tuning, then their scores."""
    columns, key = main_scores(report.rows), str(report.headline)
    columns.pop(key, None)
    assert report.tuning is not None, "the caller asks"
    first = {one.arm.arm.key for one in report.tuning.references}
    whose = "first arm" if len(first) == 1 else "reference above"
    header = ["arm", "best LR", "optimum", "LRs (within 2 steps of the best)", "seeds"]
    header += [_with_unit(key), f"difference from {whose}, relative"]
    header += ["verdict", TRAINED, "train seconds"]
    header += columns.values()
    lines = []
    for row in report.rows:
        is_first = row.tuned is not None and row.tuned.arm.key in first
        gap = ("reference", "-") if is_first else _contrast_cells(row)
        seconds = row.seconds()
        line = [row.label, *_rates(row), _seeds(row), _digits(row.scores.get(key)), *gap]
        line += [row.trained().text, "-" if seconds is None else f"{seconds:.1f}"]
        lines.append(line + [cell_text(row.scores.get(one)) for one in columns])
    return Grid(header, lines)


def _with_unit(key: str) -> str:
    """Return the name of a score with its unit, and a remark if lower is better."""
    lower = " (lower is better)" if direction(key) == "minimize" else ""
    return f"{COLUMNS[key].removesuffix(' per token')}, {units.of_score(key)}{lower}"


def _contrast_cells(row: ArmRow) -> tuple[str, str]:
    if row.contrast is None:
        return "-", "-"
    return table.difference_text(row.contrast), table.verdict_text(row.contrast)


def _arm_class_grids(report: Report) -> list[Grid]:
    """Return each arm's loss by token class, as one class may carry the whole difference."""
    keys = [f"{report.headline}_{name}" for name in CLASSES]
    keys = [key for key in keys if any(key in row.scores for row in report.rows)]
    if not str(report.headline).endswith("loss/nll") or not keys:
        return []
    header = ["NLL by token class, nats per token"]
    for key in keys:
        share = _share(report, key)
        words = "" if share is None else f" ({share:.1%} of the tokens)"
        header.append(f"{key.partition('nll_')[2].replace('_', ' ')}{words}")
    rows = [[row.label, *(_short(row.scores.get(key)) for key in keys)] for row in report.rows]
    return [Grid(header, rows)]


def _short(interval: Interval | None) -> str:
    """Return three digits, as the losses of the classes are decades apart."""
    if interval is None:
        return "-"
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.3g}"
    return f"{interval.estimate:.3g} [{interval.low:.2g}, {interval.high:.2g}]"


def _share(report: Report, key: str) -> float | None:
    """Return the share of the scored tokens that are of a class; None if it is not the same."""
    whole = str(report.headline)
    counts = [run.record.counts.get(row.kind, {}) for row in report.rows for run in row.runs[:1]]
    shares = {c[key] / c[whole] for c in counts if c.get(key) and c.get(whole)}
    return shares.pop() if len(shares) == 1 else None


def _rates(row: ArmRow) -> list[str]:
    """Return the best learning rate, the optimum between grid points, and how many were tried."""
    if row.tuned is None:
        return ["-"] * 3
    best, found = row.tuned.best, row.tuned.optimum
    ends = (
        ["?" if end is None else f"{end:.3g}" for end in (found.low, found.high)] if found else []
    )
    return [
        "-" if best is None else f"{best:.3g}",
        f"{found.estimate:.3g} [{', '.join(ends)}]" if found else "-",
        f"{len(row.tuned.curve)} ({len(row.tuned.near)})",
    ]


def _digits(interval: Interval | None, sign: str = "") -> str:
    """Return four decimals, as arms at their best learning rates differ only a little."""
    if interval is None:
        return "-"
    text = f"{interval.estimate:{sign}.4f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:.4f}, {interval.high:.4f}]"


def _seeds(row: ArmRow) -> str:
    """Return the number of seeds, such as `2 of 3` if runs remain."""
    if row.kind != "tuned":
        return "-"
    return f"{len(row.runs)} of {len(row.runs) + row.left}" if row.left else str(len(row.runs))


def _compared(row: ArmRow, key: str) -> str:
    if row.difference is None:
        if row.apart is None:
            return "-"
        return "other mode" if row.apart.code == "mixed_thinking" else "other rows"
    return f"{cell_text(row.difference, '+')} {verdict(row.difference, key)}"


def aligned(grid: Grid, width: int) -> str:
    """Align the columns; those that do not fit follow below, with the first column repeated."""
    cells = [_split_header(grid.header), *([[c, ""] for c in row] for row in grid.rows)]
    sizes = [
        max(len(line) for cell in column for line in cell) for column in zip(*cells, strict=True)
    ]
    blocks: list[list[int]] = []
    for at in range(1, len(sizes)):
        if blocks and sizes[0] + sum(sizes[i] + 2 for i in [*blocks[-1], at]) <= width:
            blocks[-1].append(at)
        else:
            blocks.append([at])
    return "\n\n".join(_block(grid, [0, *block], sizes) for block in blocks)


def _block(grid: Grid, columns: Sequence[int], sizes: Sequence[int]) -> str:
    split = _split_header(grid.header)
    above = [[cell[0] for cell in split], [cell[1] for cell in split]]
    rule = ["-" * size for size in sizes]
    lines = []
    for row in [*(line for line in above if any(line[i] for i in columns)), rule, *grid.rows]:
        cells = [row[i].ljust(sizes[i]) if i == 0 else row[i].rjust(sizes[i]) for i in columns]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _split_header(header: Sequence[str]) -> list[list[str]]:
    """Split "NLL per token (lower is better)" into two lines, before the parenthesis."""
    parts = [name.partition(" (") for name in header]
    return [[name, f"({rest}"] if rest else ["", name] for name, _, rest in parts]


def markdown(grid: Grid) -> str:
    """Return the table as Markdown, numbers right-aligned."""
    lines = [grid.header, [":---"] + ["---:"] * (len(grid.header) - 1), *grid.rows]
    return "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in lines)


def escaped(text: str) -> str:
    """Return text escaped for Markdown, including inside tables."""
    return text.replace("|", "\\|").replace("<", "&lt;")
