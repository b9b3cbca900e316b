"""Convert Hydra's sweep grammar (choice, range, interval and their tags) to a search space."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from experiments.config import choices
from experiments.errors import ConfigError
from experiments.sweeps.study.space import Axis, Choice, Integers, Reals, Value, key


def parse(arguments: Sequence[str], loader: ConfigLoader) -> list[Override]:
    """Return the parsed overrides; of two for the same key, the later one is kept.

    Raises:
        ConfigError: an argument is not a valid override, or a range contains floats.
    """
    try:
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides(choices.quoted(arguments))
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    latest = {override.get_key_element(): override for override in parsed}
    for override in latest.values():
        _refuse_float_range(override)
    return list(latest.values())


def split(overrides: Sequence[Override]) -> tuple[dict[str, Axis], list[str]]:
    """Return the search space, and the overrides that have a single value.

    Raises:
        ConfigError: a sweep override cannot be used in a search.
    """
    space: dict[str, Axis] = {}
    fixed = []
    for override in overrides:
        if override.is_sweep_override():
            space[override.get_key_element()] = axis(override)
        else:
            fixed.append(f"{override.get_key_element()}={override.get_value_element_as_str()}")
    return space, fixed


def axis(override: Override) -> Axis:
    """Return the values that the key of an override may take.

    Raises:
        ConfigError: a tag, an interval, a range or a choice is invalid.
    """
    value = override.value()
    tags = set(getattr(value, "tags", ()))
    if tags - {"log"}:
        raise ConfigError(f"{_text(override)}: tag {sorted(tags - {'log'})[0]} is not supported")
    if isinstance(value, IntervalSweep):
        return _interval(override, value, log=bool(tags))
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(override, value, log=bool(tags))
    if tags:
        raise ConfigError(f"{_text(override)}: tag log is for interval(...) and range(...)")
    return _choice(override)


def _interval(override: Override, value: IntervalSweep, log: bool) -> Axis:
    low, high = value.start, value.end
    assert low is not None and high is not None
    if low > high or (log and low <= 0):
        need = "above 0 with tag log, and " if log else ""
        raise ConfigError(f"{_text(override)}: the lower end must be {need}at most the upper")
    if isinstance(low, int) and isinstance(high, int):
        return Integers(low, high, log=log)
    return Reals(float(low), float(high), log=log)


def _range(override: Override, value: RangeSweep, log: bool) -> Axis:
    numbers = list(value.range())
    if not numbers or (log and (value.step != 1 or numbers[0] < 1)):
        need = "step 1 and numbers from 1 on with tag log" if numbers else "at least one number"
        raise ConfigError(f"{_text(override)}: the range needs {need}")
    low, high = int(min(numbers)), int(max(numbers))
    return Integers(low, high, step=abs(int(value.step)), log=log)


def _choice(override: Override) -> Choice:
    texts = tuple(str(text) for text in override.sweep_string_iterator())
    elements = list(override.sweep_iterator(transformer=Transformer.identity))
    values = tuple(_native(e, t) for e, t in zip(elements, texts, strict=True))
    if len({key([value]) for value in values}) < len(values):
        raise ConfigError(f"{_text(override)}: a value is listed twice")
    return Choice(values, texts)


def _native(element: Any, text: str) -> Value:
    """Return a scalar unchanged, and a list or a dictionary as its text."""
    if isinstance(element, QuotedString):
        return element.text
    return element if isinstance(element, str | int | float | bool | None) else text


def _refuse_float_range(override: Override) -> None:
    value = override.value() if override.is_range_sweep() else None
    if not isinstance(value, RangeSweep):
        return
    if any(isinstance(number, float) for number in (value.start, value.stop, value.step)):
        raise ConfigError(
            f"{_text(override)}: range(...) is for whole numbers, because steps of a fraction do "
            "not add up exactly; list the values, for example "
            f"{override.get_key_element()}=0.1,0.2, or use interval(...) with "
            "hydra/sweeper=optuna."
        )


def _text(override: Override) -> str:
    return str(override.input_line or override.get_key_element())
