"""A key and its value -> a sentence about what is wrong with it, if anything is."""

from collections.abc import Iterator

from experiments.errors import did_you_mean


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence if a value is none of those allowed."""
    if value not in allowed:
        yield f"{key}={value}: {did_you_mean(str(value), allowed)}"


def at_least(key: str, value: float | None, low: float) -> Iterator[str]:
    """Yield a sentence if a value is given and below a limit."""
    if value is not None and not value >= low:
        yield f"{key}={value}: must be at least {low}"


def share(key: str, value: float | None) -> Iterator[str]:
    """Yield a sentence if a value is given and no share."""
    if value is not None and not 0 <= value <= 1:
        yield f"{key}={value}: must be from 0 to 1"
