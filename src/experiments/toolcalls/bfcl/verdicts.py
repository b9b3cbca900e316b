"""Verdict on one answer, and the error for items that cannot be scored."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Upstream's verdict, with an additional flag for broken calls."""

    valid: bool
    error_type: str | None = None
    """Type of the first check that fails; None if the answer is valid."""
    malformed: bool = False
    """Whether the answer contains a broken call, which upstream accepts in irrelevance rows."""
    error: str = ""
    """Description of the failure, without values of the answer, which may be long."""


VALID = Verdict(True)


class NotScorable(Exception):
    """Upstream would stop here with a Python error; the message is the error type to report."""


def invalid(error_type: str, error: str = "") -> Verdict:
    """Return a verdict that the answer is not valid."""
    return Verdict(False, error_type, error=error)
