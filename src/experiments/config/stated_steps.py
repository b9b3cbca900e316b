"""Steps of a run that the config states: whole numbers, or shares of all its steps."""

from collections.abc import Iterable, Iterator, Sequence


def problems(key: str, values: Sequence[float] | None) -> Iterator[str]:
    """Yield a sentence for each value that is neither a step nor a share.

    >>> list(problems("eval.test_steps", [0.8, 128]))
    []
    """
    if values is not None and not values:
        yield f"{key}=[]: name at least one step, or set null"
    for value in values or ():
        if not (0 < value < 1 or (value >= 1 and value == int(value))):
            yield (
                f"{key}: {value:g} must be a whole number of steps from 1 on, or a share of all "
                "steps between 0 and 1"
            )


def resolved(values: Iterable[float] | None, steps: int) -> tuple[int, ...]:
    """Return the steps that some values state in a run of `steps` steps, in order.

    >>> resolved([128, 0.8, 102], steps=128)
    (102, 128)
    """
    numbers = (max(1, round(v * steps)) if v < 1 else int(v) for v in values or ())
    return tuple(sorted(set(numbers)))


def beyond(key: str, values: Iterable[float] | None, steps: int) -> Iterator[str]:
    """Yield a sentence if a value lies beyond the end of a run of `steps` steps."""
    late = [str(step) for step in resolved(values, steps) if step > steps]
    if late:
        yield (
            f"{key} names {', '.join(late)}, but the run ends at step {steps}: remove what lies "
            "beyond, or name shares of all steps such as 0.8"
        )
