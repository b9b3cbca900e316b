"""Judge published claims from run records: supported, contradicted, undecided or not tested."""

from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.evidence import measured_for, runs_of
from experiments.analysis.claims.files import load
from experiments.analysis.claims.verdicts import Verdict, judge

__all__ = ["Claim", "Verdict", "judge", "load", "measured_for", "runs_of"]
