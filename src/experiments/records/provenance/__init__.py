"""Identify the code, libraries, hardware and command that produced a run."""

from experiments.records.provenance.environment import (
    command,
    cpu,
    differences,
    is_committed,
    libraries,
    of_run,
)
from experiments.records.provenance.parts import KEYS, SOURCE, code_identity, of_metrics

__all__ = [
    "KEYS",
    "SOURCE",
    "code_identity",
    "command",
    "cpu",
    "differences",
    "is_committed",
    "libraries",
    "of_metrics",
    "of_run",
]
