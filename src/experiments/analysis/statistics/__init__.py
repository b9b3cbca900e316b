"""Intervals, verdicts and power calculations for scores: pure functions without tables or files.

- `intervals`: intervals of a mean, a proportion and a paired difference.
- `estimates`: means over seeds, over seeds and test rows crossed, and by the jackknife.
- `decisions`: whether a claim holds here, does not hold here, or is unresolved.
- `multiplicity`: Holm's correction over a family, and looks that share alpha.
- `verdict_power`: how often each verdict is given, what can be detected, how many seeds decide.
- `noise`: how much repeated runs of one config and seed differ.
- `ties`: groups of mutually tied arms, and a sentence that describes them.

Intervals over seeds are Student t intervals: with 5 seeds, a BCa bootstrap of the mean covers 80 %
instead of 95 %.
"""

from experiments.analysis.statistics.decisions import (
    ALPHA,
    FAILS,
    HOLDS,
    UNRESOLVED,
    Decision,
    DifferenceRule,
    EqualityRule,
    RangeRule,
    Rule,
    Word,
    all_hold,
    combine_all,
    combine_any,
    decide,
    decide_by_interval,
    reaches_full,
)
from experiments.analysis.statistics.estimates import (
    MeanEstimate,
    crossed_estimate,
    crossed_interval,
    jackknife_estimate,
    seed_estimate,
)
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
from experiments.analysis.statistics.multiplicity import (
    LOOKS,
    Look,
    decide_at_looks,
    expected_false_verdicts,
    family_decisions,
    first_decision,
    holm,
)
from experiments.analysis.statistics.noise import NoiseFloor, noise_floor
from experiments.analysis.statistics.ties import tie_words, tied_groups
from experiments.analysis.statistics.verdict_power import (
    MOST_SEEDS,
    POWER,
    SeedsNeeded,
    Spread,
    WordChances,
    affordable_delta,
    affordable_margin,
    detectable_truth,
    seeds_needed,
    word_chances,
)

__all__ = [
    "ALPHA",
    "FAILS",
    "HOLDS",
    "LOOKS",
    "MOST_SEEDS",
    "POWER",
    "ROUNDING",
    "UNRESOLVED",
    "Bounds",
    "Decision",
    "DifferenceRule",
    "Direction",
    "EqualityRule",
    "Interval",
    "Look",
    "MeanEstimate",
    "NoiseFloor",
    "Over",
    "RangeRule",
    "Rule",
    "SeedsNeeded",
    "Spread",
    "Word",
    "WordChances",
    "affordable_delta",
    "affordable_margin",
    "all_hold",
    "combine_all",
    "combine_any",
    "crossed_estimate",
    "crossed_interval",
    "decide",
    "decide_at_looks",
    "decide_by_interval",
    "detectable_truth",
    "expected_false_verdicts",
    "family_decisions",
    "first_decision",
    "holm",
    "items_interval",
    "jackknife_estimate",
    "mcnemar_exact",
    "mean_interval",
    "noise_floor",
    "paired_difference",
    "proportion_interval",
    "ratio_values",
    "reaches_full",
    "seed_estimate",
    "seeds_needed",
    "tie_words",
    "tied_groups",
    "verdict_words",
    "word_chances",
]
