"""Shared parts of all figures: colours, axes, error bars, and output as SVG or PNG."""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

from experiments.analysis.statistics import Interval

Grid = Literal["x", "y", "both"]
_COLOURS = 128  # in a PNG; lines in ten colours with antialiased edges need fewer
_PLACE = re.compile(r' (?:d|x|y|transform)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")
BASE_COLOUR, TUNED_COLOUR = "#8a8a8a", "#1f5fa8"


def svg(figure: Any) -> bytes:
    """Return a figure as SVG with text as text, without dates and random ids: reproducible."""
    return _few_digits(_saved(figure, "svg", {"Date": None}))


def png(figure: Any) -> bytes:
    """Return a figure as PNG with few colours, which takes less than half of the space."""
    return _few_colours(_saved(figure, "png", {"Software": None}))


def _saved(figure: Any, ending: str, metadata: dict[str, None]) -> bytes:
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "experiments", "svg.fonttype": "none"}):
        figure.savefig(content, format=ending, dpi=150, metadata=metadata)
    return content.getvalue()


def _few_colours(png: bytes) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    drawn = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS)
    drawn.save(content, "PNG", optimize=True)
    return content.getvalue()


def _few_digits(svg: bytes) -> bytes:
    """Round coordinates to a hundredth of a point and remove the indentation of lines."""
    text = _PLACE.sub(lambda found: _DIGITS.sub(r"\1", found[0]), svg.decode())
    return re.sub(r"\n +<", "\n<", text).encode()


def axes(width: float, height: float, grid: Grid) -> tuple[Any, Any]:
    """Return a figure and its axes; width and height are in inches."""
    figure, [only] = panels(width, height, grid, 1)
    return figure, only


def panels(width: float, height: float, grid: Grid, columns: int) -> tuple[Any, list[Any]]:
    """Return a figure with adjacent axes that share their y axis; sizes are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    found = list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
    for one in found:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis=grid, color="#dddddd", linewidth=0.8)
        one.set_axisbelow(True)
    return figure, found


def errors(intervals: Sequence[Interval]) -> list[list[float]]:
    """Return the distances to both ends, shape (2, n), as matplotlib expects them."""
    ends = [(i.estimate, i.estimate if i.low is None else i.low, i.high) for i in intervals]
    below = [estimate - low for estimate, low, _ in ends]
    return [below, [(estimate if high is None else high) - estimate for estimate, _, high in ends]]


def plain_ticks(axis: Any, limits: tuple[float, float]) -> None:
    """Label ticks as 0.05 and 300 instead of powers; within one decade, label minor ticks too."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(plain if limits[1] < 10 * limits[0] else NullFormatter())
    axis.set_tick_params(which="minor", labelsize=7)


def legend(figure: Any, axes: Any) -> None:
    """Draw a legend above the axes if there are several labels."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles, labels, loc="outside upper left", ncols=min(len(labels), 2), frameon=False,
            fontsize=8,
        )  # fmt: skip
