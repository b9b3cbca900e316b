"""Turn run records into arms with tuned learning rates, the units that an ablation compares.

An arm is a config with its learning rate tuned. Methods differ in their best learning rate, so a
comparison at one shared learning rate measures how well that value suits each method. Each arm's
learning rate is therefore chosen on the validation split, over a log grid, by the same procedure
for every arm, and its final scores are those of the test split at the chosen learning rate.

Modules in the order of use: `grouping` (records to arms), `rate_design` (which runs an arm still
needs), `rate_choice` (the chosen learning rate, and reasons not to trust it), `comparable` (whether
scores may be compared at all), `rate_optimum` (the optimum between grid points), `excess_loss` (the
cost of another learning rate or of a rule of thumb), `contrasts` (arm against arm), `table` (table
rows as text).

Every function is pure. What prevents a conclusion is returned as a `Reason`, not raised.
"""

from experiments.analysis.arms.comparable import apart, other_mode, thinking_mode
from experiments.analysis.arms.contrasts import (
    Contrast,
    contrast,
    difference_estimate,
    equal_tuning,
    intended_differences,
)
from experiments.analysis.arms.excess_loss import (
    ExcessLoss,
    excess_loss,
    hidden_size_rate,
    ten_times,
    ten_times_of,
)
from experiments.analysis.arms.grouping import (
    Arm,
    ArmRun,
    arm_key,
    diverged,
    draw,
    mixed,
    read,
    repeats,
    unchanged,
)
from experiments.analysis.arms.rate_choice import Point, Tuned, tune
from experiments.analysis.arms.rate_design import (
    Cell,
    Design,
    RunCount,
    first_grid,
    grid_rate,
    next_cells,
    rule_cells,
    run_count,
)
from experiments.analysis.arms.rate_optimum import (
    Optimum,
    RateFit,
    fit_rates,
    left_out_optima,
    log_rate_ratio,
    optimum,
    rate_ratio,
)
from experiments.analysis.arms.reasons import Reason, blocking
from experiments.analysis.arms.same_rows import other_rows

__all__ = [
    "Arm",
    "ArmRun",
    "Cell",
    "Contrast",
    "Design",
    "ExcessLoss",
    "Optimum",
    "Point",
    "RateFit",
    "Reason",
    "RunCount",
    "Tuned",
    "apart",
    "arm_key",
    "blocking",
    "contrast",
    "difference_estimate",
    "diverged",
    "draw",
    "equal_tuning",
    "excess_loss",
    "first_grid",
    "fit_rates",
    "grid_rate",
    "hidden_size_rate",
    "intended_differences",
    "left_out_optima",
    "log_rate_ratio",
    "mixed",
    "next_cells",
    "optimum",
    "other_mode",
    "other_rows",
    "rate_ratio",
    "read",
    "repeats",
    "rule_cells",
    "run_count",
    "ten_times",
    "ten_times_of",
    "thinking_mode",
    "tune",
    "unchanged",
]
