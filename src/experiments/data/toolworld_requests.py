"""Phrase requests for the toolworld's tools, and draw the values of arguments and records."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from experiments.data.toolworld_vocabulary import JsonRecord, Tool, ValuePool

_COLORS = ("Red", "Blue", "Golden", "Old", "Little", "Happy", "Silent", "Green")
_JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean"}


class Request(NamedTuple):
    """A user's request for one tool, and the arguments that answer it."""

    tool: Tool
    text: str
    arguments: dict[str, Any]


def function_schema(tool: Tool) -> dict[str, Any]:
    """Return the OpenAI-style description of a tool, with its parameters as a JSON schema."""
    parameters = {
        "type": "object",
        "properties": {name: value_schema(kind) for name, kind in tool.parameters.items()},
        "required": required(tool),
    }
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def value_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of the values of a kind."""
    kind = kind.removesuffix("?")
    if "|" in kind:
        return {"type": "string", "enum": kind.split("|")}
    if kind == "date":
        return {"type": "string", "format": "date"}
    return {"type": _JSON_TYPES.get(kind, "string")}


def required(tool: Tool) -> list[str]:
    """Return the names of the parameters that a call must set."""
    return [name for name, kind in tool.parameters.items() if not kind.endswith("?")]


def draw_value(kind: str, pool: ValuePool, rng: random.Random) -> tuple[str, Any]:
    """Draw a value of a kind; return its wording in a request and the argument value.

    Dates, times and numbers are worded as they appear in the argument: the task is choosing and
    copying, not converting.
    """
    if "|" in kind:
        value = rng.choice(kind.split("|"))
    else:
        value = (_DRAW.get(kind) or _DRAW_TEXT[kind])(pool, rng)
    return str(value), value


def _number(low: int, high: int, pool: ValuePool, rng: random.Random) -> int:
    while (number := rng.randint(low, high)) % 4 not in pool.residues:
        pass
    return number


def _draw_int(pool: ValuePool, rng: random.Random) -> int:
    return _number(2, rng.choice((12, 90)), pool, rng)


def _draw_float(pool: ValuePool, rng: random.Random) -> float:
    return _number(15, 900, pool, rng) / 10


def _draw_date(pool: ValuePool, rng: random.Random) -> str:
    return f"2026-{rng.randint(1, 12):02d}-{_number(1, 28, pool, rng):02d}"


def _draw_time(pool: ValuePool, rng: random.Random) -> str:
    quarter_hours = _number(7 * 4, 23 * 4, pool, rng)
    return f"{quarter_hours // 4:02d}:{quarter_hours % 4 * 15:02d}"


_DRAW: dict[str, Callable[[ValuePool, random.Random], Any]] = {
    "int": _draw_int,
    "float": _draw_float,
    "date": _draw_date,
    "time": _draw_time,
}
_DRAW_TEXT: dict[str, Callable[[ValuePool, random.Random], str]] = {
    "city": lambda pool, rng: rng.choice(pool.cities),
    "person": lambda pool, rng: f"{rng.choice(pool.first_names)} {rng.choice(pool.last_names)}",
    "item": lambda pool, rng: rng.choice(pool.items),
    "text": lambda pool, rng: f"{rng.choice(pool.verbs)} the {rng.choice(pool.items)}",
    "title": lambda pool, rng: f"{rng.choice(_COLORS)} {rng.choice(pool.items).capitalize()}",
    "id": lambda pool, rng: f"{rng.choice(pool.letters)}{_number(100, 999, pool, rng)}",
    "phone": lambda pool, rng: f"555-{_number(1000, 9999, pool, rng)}",
}


def ask(
    tool: Tool,
    pool: ValuePool,
    rng: random.Random,
    *,
    omit: str | None = None,
    given: Mapping[str, tuple[str, Any]] | None = None,
) -> Request:
    """Phrase a request for a tool.

    `omit` names a parameter to leave out; `given` maps a parameter to its (wording, value).
    """
    text, arguments = rng.choice(tool.requests), {}
    for name, kind in tool.parameters.items():
        is_given = given is not None and name in given
        if name == omit or (kind.endswith("?") and not is_given and rng.random() < 0.5):
            continue
        clauses = tool.clauses[name].split("/")
        if kind.removesuffix("?") == "bool":
            arguments[name] = rng.random() < 0.5
            text += clauses[0 if arguments[name] else 1]
            continue
        wording, value = (
            given[name] if is_given and given else draw_value(kind.removesuffix("?"), pool, rng)
        )
        arguments[name] = value
        text += rng.choice(clauses).format(wording)
    return Request(tool, text, arguments)


def text_slots(tool: Tool) -> list[str]:
    """Return the names of the parameters that take text, so that a result can be passed to them."""
    kinds = {name: kind.removesuffix("?") for name, kind in tool.parameters.items()}
    return [name for name, kind in kinds.items() if kind in _DRAW_TEXT]


def fill(text: str, pool: ValuePool, rng: random.Random) -> str:
    """Draw a value for each slot of a text: `{person}`, `{city}`, `{item}` and `{number}`."""
    kinds = {"person": "person", "city": "city", "item": "item", "number": "int"}
    values = {slot: draw_value(kind, pool, rng)[1] for slot, kind in kinds.items()}
    return text.format(**values)


def state(record: JsonRecord, pool: ValuePool, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Draw the values of a record; return a sentence that states them and the record."""
    sentence, value = rng.choice(record.sentences), {}
    for name, kind in record.fields.items():
        if kind == "bool":
            value[name] = rng.random() < 0.5
            start = sentence.index("{" + name + ":")
            end = sentence.index("}", start)
            true_text, false_text = sentence[start + len(name) + 2 : end].split("/")
            sentence = (
                sentence[:start] + (true_text if value[name] else false_text) + sentence[end + 1 :]
            )
        else:
            wording, value[name] = draw_value(kind, pool, rng)
            sentence = sentence.replace("{" + name + "}", wording)
    return sentence, value
