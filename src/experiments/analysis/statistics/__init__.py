"""Numbers in, intervals, tests and words out: pure functions, no tables and no files.

`intervals` (a mean, a share, a paired difference), `resampling` (bootstrap over items),
`comparing` (better, worse, tied or undecided against a margin; Holm across a family), `power`
(what n seeds can show, and how many would decide), `noise` (what repeats of one cell differ by)
and `ties` (who is tied with whom, in words).

Over seeds, intervals are Student's: at 5 seeds a BCa bootstrap of the mean covers 84 %, not 95 %.
Over items, of which there are hundreds, the bootstrap needs no normal distribution.
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
    Chances,
    chances,
    detectable_effect,
    seeds_to_decide,
    smallest_margin,
)
from experiments.analysis.statistics.resampling import bootstrap_interval, paired_bootstrap
from experiments.analysis.statistics.ties import tie_words, tied_groups

__all__ = [
    "MOST_SEEDS",
    "ROUNDING",
    "Bounds",
    "Chances",
    "Comparison",
    "Direction",
    "Finding",
    "Interval",
    "NoiseFloor",
    "Over",
    "bootstrap_interval",
    "chances",
    "compare",
    "detectable_effect",
    "holm",
    "in_family",
    "items_interval",
    "mcnemar_exact",
    "mean_interval",
    "noise_floor",
    "paired_bootstrap",
    "paired_difference",
    "proportion_interval",
    "ratio_values",
    "seeds_to_decide",
    "smallest_margin",
    "tie_words",
    "tied_groups",
    "verdict_words",
]
