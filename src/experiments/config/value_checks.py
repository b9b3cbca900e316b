"""Range checks that yield a sentence about the problem if a value is illegal."""

from collections.abc import Iterator

from experiments.errors import did_you_mean


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence if a value is not among the allowed ones."""
    if value not in allowed:
        yield f"{key}={value}: {did_you_mean(str(value), allowed)}"


def at_least(key: str, value: float | None, low: float) -> Iterator[str]:
    """Yield a sentence if a value is set and below a limit."""
    if value is not None and not value >= low:
        yield f"{key}={value}: must be at least {low}"


def share(key: str, value: float | None) -> Iterator[str]:
    """Yield a sentence if a value is set and not between 0 and 1."""
    if value is not None and not 0 <= value <= 1:
        yield f"{key}={value}: must be from 0 to 1"
