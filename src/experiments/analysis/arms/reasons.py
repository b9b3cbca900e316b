"""Reasons why a result has no verdict or needs a remark: a code and a sentence each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Code = Literal[
    "missing_cells",
    "unequal_seeds",
    "one_seed",
    "few_seeds",
    "all_diverged",
    "edge_optimum",
    "coarse_grid",
    "unequal_tuning",
    "mixed_data",
    "other_rows",
    "mixed_code",
    "mixed_base",
    "mixed_environment",
    "mixed_thinking",
    "dirty_tree",
    "no_score",
    "flat_curve",
    "outside_grid",
    "same_numbers",
    "noise_floor",
    "no_arm",
    "lower_bound",
    "gate",
    "few_rows",
    "mixed_machine",
    "one_arm",
    "no_margin",
    "no_source",
    "wrong_unit",
    "late_rule",
    "one_class",
    "few_bases",
    "unequal_steps",
    "flat_reference",
]


@dataclass(frozen=True)
class Reason:
    """Something that a result lacks, or a problem with its records."""

    code: Code
    text: str
    blocks: bool = True
    """Whether the reason rules out a verdict; a remark does not."""


def blocking(reasons: Iterable[Reason]) -> list[Reason]:
    """Return the reasons that rule out a verdict, without duplicates."""
    return list(dict.fromkeys(reason for reason in reasons if reason.blocks))
