"""Put results of earlier calls into the arguments of a plan: `$1`, `${1}`, `$1.result`.

References point backwards only, so the calls of a plan are made in their order.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from experiments.agents.made_calls import MadeCall

_REFERENCE = re.compile(r"\$(?:(\d{1,4})(?!\d)|\{(\d{1,4})\})((?:\.\w+)*)")


class ReferenceProblem(ValueError):
    """A reference that cannot be replaced; the message says why."""


def resolved(value: Any, made: Sequence[MadeCall], total: int) -> Any:
    """Return arguments with each reference replaced.

    A text that is one reference becomes the result as JSON, if it is JSON; within a longer text it
    becomes text. Names after a reference select a part of a JSON object.

    Args:
        value: arguments of the call that comes next.
        made: the calls that were made so far, from call 1.
        total: number of calls of the plan.

    Raises:
        ReferenceProblem: a reference is to no earlier call, or to one that failed.
    """
    if isinstance(value, dict):
        return {key: resolved(item, made, total) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, made, total) for item in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        found, rest = _part(whole, made, total)
        return found if not rest else _text(found) + rest
    return _REFERENCE.sub(lambda match: _inserted(match, made, total), value)


def _inserted(match: re.Match[str], made: Sequence[MadeCall], total: int) -> str:
    found, rest = _part(match, made, total)
    return _text(found) + rest


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(match: re.Match[str], made: Sequence[MadeCall], total: int) -> tuple[Any, str]:
    """Return the value of a reference, and what follows it that is no name of a part."""
    number = int(match[1] or match[2])
    if (problem := _problem(number, made, total)) is not None:
        raise ReferenceProblem(problem)
    text = made[number - 1].text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    names = match[3].split(".")[1:]
    while names and isinstance(found, dict) and names[0] in found:
        found = found[names.pop(0)]
    return found, "".join(f".{name}" for name in names)


def _problem(number: int, made: Sequence[MadeCall], total: int) -> str | None:
    current = len(made) + 1
    if number < 1 or number > total:
        return f"${number} refers to no call: the plan has calls 1 to {total}"
    if number >= current:
        which = "itself" if number == current else "a later call"
        return f"${number} refers to {which}: only earlier calls have results"
    if made[number - 1].outcome != "ok":
        return f"call {number}, which ${number} refers to, failed"
    return None
