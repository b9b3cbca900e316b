"""Judge published claims from records: holds here, does not hold here, unresolved, not tested."""

from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.claim_files import load
from experiments.analysis.claims.evidence import measured_for, runs_of
from experiments.analysis.claims.judging import ClaimVerdict, judge

__all__ = ["Claim", "ClaimVerdict", "judge", "load", "measured_for", "runs_of"]
