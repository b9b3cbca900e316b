"""Draw the figures of a sweep: differences, learning curves, token classes and cost.

Each arm has the same colour in all of them. A figure is left out if its records have no data for
it: no seeds to pair, no curve, or no losses by class.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis.claims import limits, units
from experiments.analysis.statistics import Interval
from experiments.reports import drawing
from experiments.reports.arm_report import ArmRow, Report
from experiments.reports.drawing import BASE_COLOUR
from experiments.reports.scores import COLUMNS, mean
from experiments.reports.tables import finding, heading
from experiments.toolcalls.token_classes import CLASSES

_VERDICT_COLOURS = {"better": "#1b7f4d", "worse": "#b5382a", "tied": "#1f5fa8"}
_LOGGED = {"validation": "validation_nll", "training": "loss"}
_MOST_ARMS = 10  # distinguishable colours in matplotlib's tab10


def draw(report: Report) -> Iterator[tuple[str, Any]]:
    """Yield the names and figures of a sweep, other than those of its arms' means."""
    arms = [row for row in report.rows if row.kind == "tuned" and row.runs]
    key = report.headline
    if key is not None and (compared := [row for row in arms if _has_width(row.difference)]):
        references = report.tuning.references if report.tuning else []
        whose = arms[0].label if len(references) < 2 else "the first arm that differs only in lora"
        margin = references[0].margin if len(references) == 1 else None
        mean_score = arms[0].scores.get(key)
        if len(references) == 1 and mean_score is not None:
            whose += f" ({mean_score.estimate:.3g})"
        runs = [run.record for row in arms for run in row.runs]
        yield "differences", _differences(whose, compared, key, margin, limits.scope(runs))
    if len(arms) > _MOST_ARMS:
        return
    for what in ("validation", "training"):  # short runs are validated only at their end
        curves = {row.label: found for row in arms if (found := _curves(row, _LOGGED[what]))}
        if any(len(points) > 1 for found in curves.values() for points in found):
            yield "learning_curves", _learning_curves(arms, curves, what)
            break
    if classes := [name for name in CLASSES if any(_class_key(name) in r.scores for r in arms)]:
        yield "token_classes", _token_classes(arms, classes)
    if key is not None and len(arms) > 1 and (costs := _costs(arms, key)):
        yield "cost", _cost(arms, costs, key)


def _has_width(interval: Interval | None) -> bool:
    return interval is not None and interval.low is not None and interval.high is not None


def _colour(arms: Sequence[ArmRow], row: ArmRow) -> str:
    return f"C{arms.index(row)}"


def _differences(
    reference: str, rows: Sequence[ArmRow], key: str, margin: float | None, scope: str
) -> Any:
    """Draw each arm's difference to the first arm with its interval, coloured by the verdict.

    In a tuned sweep, the shaded band marks negligible differences.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = drawing.axes(7, 1.8 + 0.45 * len(rows), "x")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.axvline(0, color=BASE_COLOUR, linewidth=1)
    if margin is not None:
        axes.axvspan(-margin, margin, color=BASE_COLOUR, alpha=0.15, linewidth=0)
    for at, row in enumerate(rows):
        assert row.difference is not None
        words = _words(row, key)
        colour = _VERDICT_COLOURS.get(words.partition(",")[0], BASE_COLOUR)
        error = drawing.errors([row.difference])
        axes.errorbar([row.difference.estimate], [at], xerr=error, fmt="o", color=colour, capsize=3)
        axes.annotate(
            words,
            (row.difference.estimate, at),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
    axes.set_yticks(range(len(rows)), [textwrap.fill(row.label, 36) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    how = "paired by seed, 95 % intervals; percentages are relative to the reference's score"
    if margin is not None:
        how += f"; shaded: within the margin of {margin:.2g}"
    caption = (f"{heading(key)}, {units.of_score(key)}: difference from {reference}", how, scope)
    figure.supxlabel("\n".join(textwrap.fill(line, 96) for line in caption), fontsize=9)
    return figure


def _words(row: ArmRow, key: str) -> str:
    """Return the finding, the difference relative to the reference, and n."""
    contrast, difference = row.contrast, row.difference
    assert difference is not None, "only rows with an interval are drawn"
    if contrast is None or contrast.estimate is None:
        return f"{finding(row, key)}, n = {difference.n}"
    rows = "" if contrast.estimate.rows is None else f" x {contrast.estimate.rows} rows"
    size = "" if contrast.relative is None else f"{contrast.relative:+.1%}, "
    word = "" if contrast.finding is None else f"{contrast.finding}, "
    return f"{word}{size}n = {difference.n} seeds{rows}"


def _curves(row: ArmRow, key: str) -> list[dict[int, float]]:
    """Return the NLL by step for each seed; steps start at 1 because the axis is logarithmic."""
    found = []
    for run in row.runs:
        points = {
            int(p["step"]): p[key]
            for p in run.record.curve
            if p.get(key) is not None and p.get("step", 0) >= 1
        }
        if points and all(map(math.isfinite, points.values())):
            found.append(_by_tenths(points) if key == _LOGGED["training"] else points)
    return found


def _by_tenths(points: dict[int, float]) -> dict[int, float]:
    """Return mean losses over tenths of a decade; the loss of one batch depends on its rows."""
    groups: dict[int, list[int]] = {}
    for step in sorted(points):
        groups.setdefault(math.floor(10 * math.log10(step) + 1e-9), []).append(step)
    return {steps[-1]: mean([points[step] for step in steps]) for steps in groups.values()}


def _learning_curves(
    arms: Sequence[ArmRow], curves: dict[str, list[dict[int, float]]], what: str
) -> Any:
    """Draw each arm's mean loss over its seeds, and for validation a thin line for each seed."""
    few = what == "validation"
    figure, axes = drawing.axes(7, 4.2, "both")
    for row in arms:
        seeds, colour = curves.get(row.label, []), _colour(arms, row)
        if not seeds:
            continue
        for points in seeds if few and len(seeds) > 1 else ():
            axes.plot(*zip(*sorted(points.items()), strict=True), color=colour, alpha=0.3, lw=0.8)
        common = sorted(set.intersection(*(set(points) for points in seeds)))
        averages = [mean([points[step] for points in seeds]) for step in common]
        axes.plot(common, averages, color=colour, marker="o", ms=3.5, label=row.label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    drawing.plain_ticks(axes.xaxis, axes.get_xlim())
    drawing.plain_ticks(axes.yaxis, axes.get_ylim())
    axes.set_xlabel("optimiser step (log)")
    means = "" if few else "\nmeans over tenths of a decade of steps"
    axes.set_ylabel(f"{what} NLL, nats per token (log){means}")
    drawing.legend(figure, axes)
    return figure


def _class_key(name: str) -> str:
    return f"loss/nll_{name}"


def _token_classes(arms: Sequence[ArmRow], classes: Sequence[str]) -> Any:
    """Draw each arm's loss by token class, on a log axis as classes are decades apart."""
    figure, axes = drawing.axes(7, 1.2 + len(classes) * (0.3 + 0.12 * len(arms)), "x")
    for row in arms:
        shift = 0.7 * ((arms.index(row) + 0.5) / len(arms) - 0.5)
        there: list[tuple[float, Interval]] = []
        for at, name in enumerate(classes):
            cell = row.scores.get(_class_key(name))
            if cell is not None and cell.estimate > 0:
                there.append((at + shift, cell))
        bars = [_cut(cell) for _, cell in there]
        axes.errorbar(
            [cell.estimate for _, cell in there],
            [at for at, _ in there],
            xerr=[[low for low, _ in bars], [high for _, high in bars]],
            fmt="o",
            ms=4,
            capsize=2,
            color=_colour(arms, row),
            label=row.label,
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(classes)), [name.replace("_", " ") for name in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlabel(
        "NLL, nats per token (log), 95 % intervals as in the table\n"
        "(bars that reach 0 are cut at a tenth of the mean)"
    )
    drawing.legend(figure, axes)
    return figure


def _cut(cell: Interval) -> tuple[float, float]:
    """Return the distances to both ends; the lower end is cut, as a log axis has no zero."""
    if cell.low is None or cell.high is None:
        return 0.0, 0.0
    return cell.estimate - max(cell.low, cell.estimate / 10), cell.high - cell.estimate


def _costs(arms: Sequence[ArmRow], key: str) -> dict[str, list[float]]:
    """Return costs by name, one number per arm; a cost that an arm lacks is left out."""
    there = [row for row in arms if key in row.scores]
    found: dict[str, list[float | None]] = {
        "training seconds per run": [row.seconds() for row in there],
        "trained parameters": [row.parameters() for row in there],
    }
    return {
        name: [float(v) for v in values if v is not None]
        for name, values in found.items()
        if values and all(value is not None and value > 0 for value in values)
    }


def _cost(arms: Sequence[ArmRow], costs: dict[str, list[float]], key: str) -> Any:
    """Draw quality against cost; a line joins the arms on the Pareto front."""
    there = [row for row in arms if key in row.scores]
    figure, panels = drawing.panels(4.2 * len(costs) + 1, 4, "both", len(costs))
    sign = -1 if "lower is better" in heading(key) else 1
    for axes, (name, values) in zip(panels, costs.items(), strict=True):
        for row, cost in zip(there, values, strict=True):
            score, colour = row.scores[key], _colour(arms, row)
            error = drawing.errors([score]) if _has_width(score) else None
            axes.errorbar(
                [cost], [score.estimate], yerr=error, fmt="o", capsize=3, color=colour,
                label=row.label,
            )  # fmt: skip
        qualities = [sign * row.scores[key].estimate for row in there]
        front = pareto_front(values, qualities)
        axes.plot(
            [values[i] for i in front],
            [sign * qualities[i] for i in front],
            color=BASE_COLOUR,
            linewidth=0.9,
            linestyle="--",
            zorder=0,
        )
        if max(values) > 10 * min(values):
            axes.set_xscale("log")
        axes.set_xlabel(name)
    panels[0].set_ylabel(COLUMNS[key] + "\n95 % intervals as in the table")
    drawing.legend(figure, panels[0])
    return figure


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Return the indices on the Pareto front of cost and quality, cheapest first.

    >>> pareto_front([1, 2, 3, 4], [0.5, 0.4, 0.7, 0.7])
    [0, 2]

    Args:
        costs: shape (n,), lower is better.
        qualities: shape (n,), higher is better.
    """
    front: list[int] = []
    for at in sorted(range(len(costs)), key=lambda i: (costs[i], -qualities[i])):
        if not front or qualities[at] > qualities[front[-1]]:
            front.append(at)
    return front
