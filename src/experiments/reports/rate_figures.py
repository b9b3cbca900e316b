"""Draw the loss and the excess loss of a tuned sweep's arms over the learning rate.

Both axes are logarithmic. A line ends at the last learning rate at which no run diverged; crosses
at the upper edge mark those at which a run did.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis import arms
from experiments.analysis.arms import Tuned
from experiments.analysis.arms.grouping import TUNED_ON
from experiments.reports import drawing
from experiments.reports.arm_report import Report
from experiments.reports.drawing import BASE_COLOUR

_MOST_ARMS = 10  # distinguishable colours in matplotlib's tab10
_LINEAR_PERCENT = 1.0
"""Excess losses below this percentage are on a linear scale, as a log axis has no zero."""


def draw(report: Report) -> Iterator[tuple[str, Any]]:
    """Yield names and figures: each arm's validation loss, and its excess loss off the optimum."""
    tuned = [one for one in report.tuning.arms if one.curve] if report.tuning else []
    drawn = [one for one in tuned if any(math.isfinite(p.mean) for p in one.curve)]
    if not drawn or len(drawn) > _MOST_ARMS:
        return
    yield "learning_rates", _losses(drawn)
    if any(one.best is not None for one in drawn):
        yield "excess_loss", _excess_losses(drawn)


def _losses(tuned: Sequence[Tuned]) -> Any:
    """Draw mean validation loss over learning rate, with faint dots for seeds, and the base's."""
    figure, axes = drawing.axes(7, 4.4, "both")
    for at, one in enumerate(tuned):
        points = [p for p in one.curve if math.isfinite(p.mean)]
        for point in points:
            seeds = list(point.losses.values())
            if len(seeds) > 1:
                axes.plot([point.rate] * len(seeds), seeds, ".", color=f"C{at}", alpha=0.4, ms=4)
        means = [point.mean for point in points]
        axes.plot(
            [p.rate for p in points], means, "o-", color=f"C{at}", ms=3.5, label=one.arm.label
        )
        _mark_best(axes, one, {p.rate: p.mean for p in points}, f"C{at}")
    bases = {one.arm.base[TUNED_ON] for one in tuned if TUNED_ON in one.arm.base}
    for at, loss in enumerate(sorted(bases)):
        label = "base (untuned)" if at == 0 else None
        axes.axhline(loss, color=BASE_COLOUR, linestyle="--", linewidth=1, label=label)
    axes.set_yscale("log")
    drawing.plain_ticks(axes.yaxis, axes.get_ylim())
    _finish(figure, axes, tuned, "validation NLL, nats per token (log)")
    return figure


def _excess_losses(tuned: Sequence[Tuned]) -> Any:
    """Draw the excess loss over the arm's best learning rate, paired by seed, in per cent."""
    figure, axes = drawing.axes(7, 4.4, "both")
    for at, one in enumerate(tuned):
        found = {p.rate: arms.excess_loss(one, p.rate).relative for p in one.curve}
        shown = {
            rate: 100 * share
            for rate, share in found.items()
            if share is not None and math.isfinite(share)
        }
        axes.plot(list(shown), list(shown.values()), "o-", color=f"C{at}", ms=3.5,
                  label=one.arm.label)  # fmt: skip
        _mark_best(axes, one, shown, f"C{at}")
    axes.set_yscale("symlog", linthresh=_LINEAR_PERCENT)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=min(-0.1, axes.get_ylim()[0]))
    said = f"excess loss over the best LR, %\n(log; linear below {_LINEAR_PERCENT:g} %)"
    _finish(figure, axes, tuned, said)
    return figure


def _mark_best(axes: Any, one: Tuned, at: dict[float, float], colour: str) -> None:
    if one.best in at:
        axes.plot([one.best], [at[one.best]], "*", color=colour, ms=14, mec="black", mew=0.6,
                  zorder=3)  # fmt: skip


def _finish(figure: Any, axes: Any, tuned: Sequence[Tuned], said: str) -> None:
    axes.set_xscale("log")
    for at, one in enumerate(tuned):
        rates = [p.rate for p in one.curve if not math.isfinite(p.mean)]
        heights = [1 - 0.025 * at] * len(rates)
        axes.plot(rates, heights, "x", color=f"C{at}", transform=axes.get_xaxis_transform(),
                  clip_on=False)  # fmt: skip
    axes.set_xlabel("learning rate (log); star: best of the arm, cross: a run diverged")
    axes.set_ylabel(said)
    drawing.legend(figure, axes)
