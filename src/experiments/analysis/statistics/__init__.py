"""Intervals, tests and power calculations for scores: pure functions without tables or files.

- `intervals`: intervals of a mean, a proportion and a paired difference.
- `comparing`: better, worse, tied or undecided against a margin, with Holm's correction.
- `power`: what n seeds can detect, and how many seeds would decide.
- `noise`: how much repeated runs of one config and seed differ.
- `ties`: groups of mutually tied arms, and a sentence that describes them.

Intervals over seeds are Student t intervals: with 5 seeds, a BCa bootstrap of the mean covers 84 %
instead of 95 %.
"""

from experiments.analysis.statistics.comparing import Comparison, Finding, compare, holm, in_family
from experiments.analysis.statistics.intervals import (
    ROUNDING,
    Bounds,
    Direction,
    Interval,
    Over,
    items_interval,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    proportion_interval,
    ratio_values,
    verdict_words,
)
from experiments.analysis.statistics.noise import NoiseFloor, noise_floor
from experiments.analysis.statistics.power import (
    MOST_SEEDS,
    detectable_effect,
    seeds_to_decide,
)
from experiments.analysis.statistics.ties import tie_words, tied_groups

__all__ = [
    "MOST_SEEDS",
    "ROUNDING",
    "Bounds",
    "Comparison",
    "Direction",
    "Finding",
    "Interval",
    "NoiseFloor",
    "Over",
    "compare",
    "detectable_effect",
    "holm",
    "in_family",
    "items_interval",
    "mcnemar_exact",
    "mean_interval",
    "noise_floor",
    "paired_difference",
    "proportion_interval",
    "ratio_values",
    "seeds_to_decide",
    "tie_words",
    "tied_groups",
    "verdict_words",
]
