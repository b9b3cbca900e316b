"""The verdict on one answer, and the error of an item that cannot be scored."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Upstream's verdict, with our own remark on broken calls beside it."""

    valid: bool
    error_type: str | None = None
    """Of the first check that fails; None where the answer is valid."""
    malformed: bool = False
    """The answer holds a broken call, which upstream calls correct in irrelevance rows."""
    error: str = ""
    """What failed, in words; no values of the answer, which may be long."""


VALID = Verdict(True)


class NotScorable(Exception):
    """Upstream would stop here with a Python error; the text is our error type."""


def invalid(error_type: str, error: str = "") -> Verdict:
    """Return a verdict that is not valid."""
    return Verdict(False, error_type, error=error)
