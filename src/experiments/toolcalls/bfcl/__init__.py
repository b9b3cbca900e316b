"""Score single-turn Python answers by the rules of BFCL v4."""

from experiments.toolcalls.bfcl.checking import gold_problem
from experiments.toolcalls.bfcl.decoding import FORMATS, check_format
from experiments.toolcalls.bfcl.grading import (
    IRRELEVANCE,
    LIVE,
    NON_LIVE,
    REFUSED,
    RELEVANCE,
    categories,
    check,
    check_category,
    needs_gold,
)
from experiments.toolcalls.bfcl.verdicts import Verdict

__all__ = [
    "FORMATS",
    "IRRELEVANCE",
    "LIVE",
    "NON_LIVE",
    "REFUSED",
    "RELEVANCE",
    "Verdict",
    "categories",
    "check",
    "check_category",
    "check_format",
    "gold_problem",
    "needs_gold",
]
