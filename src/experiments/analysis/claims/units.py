"""The unit of each claim's margin, and what is wrong with a margin or a delta."""

from collections.abc import Iterator

from experiments.analysis.arms import Reason
from experiments.analysis.claims.claim import Claim

LOWEST_LOSS = "share of the lowest loss"
INITIAL_DROP = "share of the initial drop"


def of_score(score: str) -> str:
    """Return the unit of a score.

    >>> of_score("validation/loss/nll_prose")
    'nats per token'
    """
    if "loss/nll" in score or score.startswith("forgetting/"):
        return "bits per byte" if score.endswith("bits_per_byte") else "nats per token"
    return "bits per byte" if score.endswith("bits_per_byte") else "share of the rows"


def of(claim: Claim) -> str:
    """Return the unit in which a claim's margin and delta must be given."""
    own = {"rule_excess_loss": LOWEST_LOSS, "same_start": INITIAL_DROP}
    return own.get(claim.kind, of_score(claim.score))


def problems(claim: Claim) -> Iterator[Reason]:
    """Yield why a margin or a delta cannot decide: the unit, the source, or the size."""
    for name in ("margin", "delta"):
        value, source = getattr(claim, name), getattr(claim, f"{name}_source")
        if value is None:
            continue
        if claim.unit != of(claim):
            given = "no unit" if claim.unit is None else f"the unit '{claim.unit}'"
            text = (
                f"the {name} of {value:g} has {given}, but {claim.score if claim.score else ''} "
                f"is compared in {of(claim)}: give it there, with unit: {of(claim)}"
            )
            yield Reason("wrong_unit", text)
        if not source:
            text = f"the {name} of {value:g} has no {name}_source: say who fixed it, and why"
            yield Reason("no_source", text)
        if not value > 0:
            yield Reason("no_margin", f"the {name} of {value:g} is not above 0")
