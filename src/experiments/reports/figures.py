"""Draw the figures of a report; the same report gives the same figures."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis.statistics import Interval
from experiments.reports import drawing, rate_figures, sweep_figures
from experiments.reports.arm_report import ArmRow, Report
from experiments.reports.drawing import BASE_COLOUR, TUNED_COLOUR
from experiments.reports.scores import COLUMNS, by_category
from experiments.reports.tables import heading

NAMES = (
    *("curve", "categories", "arms", "learning_rates", "excess_loss", "differences"),
    *("learning_curves", "token_classes", "cost"),
)


def draw(report: Report) -> Iterator[tuple[str, Any]]:
    """Yield name and matplotlib figure of each figure for which the report has data."""
    run = report.single
    if run is not None and (lines := _lines(run.record.curve)):
        yield "curve", _curve(lines)
    if run is not None and (groups := by_category(run)):
        yield "categories", _categories(groups)
    if run is None and report.headline is not None:
        # Arms at their best learning rates are close together, and all far from the base.
        rows = [row for row in report.rows if row.tuned is not None or report.tuning is None]
        if any(report.headline in row.scores for row in rows):
            yield "arms", _dots(rows, report.headline)
    if report.tuning is not None:
        yield from rate_figures.draw(report)
    if run is None:
        yield from sweep_figures.draw(report)


def _lines(curve: Sequence[dict[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each curve; empty if nothing was trained."""
    lines = {}
    for key in ("loss", "validation_nll"):
        points = [(p["step"], p[key]) for p in curve if p.get(key) is not None and "step" in p]
        if points:
            lines[key] = points
    return lines


def _curve(lines: dict[str, list[tuple[float, float]]]) -> Any:
    from matplotlib.ticker import MaxNLocator

    figure, axes = drawing.axes(7, 4, "y")
    looks: dict[str, dict[str, Any]] = {
        "loss": {"color": BASE_COLOUR, "label": "training"},
        "validation_nll": {"color": TUNED_COLOUR, "label": "validation", "marker": "o", "ms": 5},
    }
    for key, points in lines.items():
        # Markers show that a line has only a few points; a single point would draw no line at all.
        few: dict[str, Any] = {"marker": ".", "ms": 8} if len(points) <= 20 else {}
        axes.plot(*zip(*points, strict=True), **{**few, **looks[key]})
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("NLL, nats per token")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def _categories(groups: dict[tuple[str, str], dict[str, Interval]]) -> Any:
    """Draw base and tuned side by side, with intervals over the category's test rows.

    Points are used instead of bars, so that a share of 0 is visible.
    """
    figure, axes = drawing.axes(7, 1.2 + 0.5 * len(groups), "x")
    kinds = (("base", -0.16, BASE_COLOUR, "s"), ("tuned", 0.16, TUNED_COLOUR, "o"))
    for kind, offset, colour, marker in kinds:
        cells = [(at + offset, c[kind]) for at, c in enumerate(groups.values()) if kind in c]
        if cells:
            heights, shares = zip(*((at, cell.estimate) for at, cell in cells), strict=True)
            errors = drawing.errors([cell for _, cell in cells])
            look: dict[str, Any] = {
                "fmt": marker,
                "ms": 5,
                "color": colour,
                "capsize": 3,
                "clip_on": False,
            }
            look["zorder"] = 3  # above the axis, for shares of 0
            axes.errorbar(shares, heights, xerr=errors, label=kind, **look)
    rows = [max(cell.n for cell in cells.values()) for cells in groups.values()]
    names = [f"{c}\n{COLUMNS[key]}, n = {n}" for (c, key), n in zip(groups, rows, strict=True)]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for between in range(len(names) - 1):
        axes.axhline(between + 0.5, color="#eeeeee", linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of n test rows, 95 % interval over rows")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def _dots(rows: Sequence[ArmRow], key: str) -> Any:
    """Draw each arm's mean with its interval, and below it a dot for each seed."""
    shown = [row for row in rows if key in row.scores]
    names = [textwrap.fill(row.label, 36) for row in shown]
    lines = max(name.count("\n") + 1 for name in names)
    figure, axes = drawing.axes(7, 1.2 + max(0.45, 0.2 * lines) * len(shown), "x")
    for at, row in enumerate(shown):
        interval = row.scores[key]
        colour = TUNED_COLOUR if row.kind == "tuned" else BASE_COLOUR
        seeds = [run.score(row.kind, key) for run in row.runs]
        if len(seeds) > 1:
            axes.plot(seeds, [at + 0.2] * len(seeds), "o", color=colour, alpha=0.45, ms=4, mew=0)
        errors = drawing.errors([interval]) if interval.low is not None else None
        axes.errorbar([interval.estimate], [at], xerr=errors, fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(shown)), names, fontsize=8 if lines > 1 else None)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{heading(key)}\n95 % intervals as in the table, small dots are seeds")
    return figure
