"""A dataset's list of tools -> tools as `{"type": "function", "function": ...}`, and signatures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from experiments.data.formats import literals, schemas
from experiments.data.formats.rejection import Rejected, Row, excerpt

# Longer texts are read again each time, so that the memory of it stays small.
_REMEMBERED_LENGTH = 20_000
Read = TypeVar("Read")
Rename = Callable[[str], str]


@dataclass(frozen=True)
class Signature:
    """What a call of one tool must and may bring."""

    required: tuple[str, ...]
    known: frozenset[str] | None
    """The arguments it may have; None where the schema leaves that open."""


@dataclass(frozen=True)
class Toolset:
    """The tools of a row; shared between rows, so never to be changed in place."""

    tools: tuple[Row, ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    """Name -> signature, for each of the tools."""


NONE = Toolset()


def remembered(reading: Callable[[str], Read]) -> Callable[[str], Read]:
    """Return the function with a memory: many rows share the text that describes their tools."""
    cached = lru_cache(maxsize=1024)(reading)

    def look_up(text: str) -> Read:
        return cached(text) if len(text) <= _REMEMBERED_LENGTH else reading(text)

    return look_up


def read(value: Any, *, flat: bool = False) -> Toolset:
    """Read a `tools` column: a list, or the text of one; None and empty text mean no tools.

    Args:
        value: the column.
        flat: read parameters by the rule of xlam, `schemas.flat`.

    Raises:
        Rejected: malformed_tools, duplicate_tool_name, control_character, not_text.
    """
    if isinstance(value, str):
        return _flat_text(value) if flat else _plain_text(value)
    return of_list([] if value is None else value, flat=flat)


@remembered
def _plain_text(text: str) -> Toolset:
    return of_list(_parsed(text))


@remembered
def _flat_text(text: str) -> Toolset:
    return of_list(_parsed(text), flat=True)


def _parsed(text: str) -> Any:
    """Read a list, or objects one after the other."""
    if not text.strip():
        return []
    try:
        return literals.parse(text)
    except ValueError:
        pass
    try:
        found = literals.objects(text)
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text)}") from None
    if not found:
        raise Rejected("malformed_tools", f"no tools in {excerpt(text)}")
    return found


def of_list(value: Any, *, flat: bool = False, rename: Rename | None = None) -> Toolset:
    """Bring tools, bare or wrapped or each as the text of one, to the one form.

    A tool repeated word for word is kept once.

    Args:
        value: the list; a single tool is a list of one.
        flat: see `read`.
        rename: applied to each tool's name.

    Raises:
        Rejected: see `read`.
    """
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise Rejected("malformed_tools", f"no list: {excerpt(value)}")
    kept: dict[str, Row] = {}
    for item in value:
        tool = _tool(item, flat, rename)
        name = tool["function"]["name"]
        if name not in kept:
            kept[name] = tool
        elif json.dumps(kept[name]) != json.dumps(tool):
            raise Rejected("duplicate_tool_name", f"two different tools are named {name!r}")
    tools = tuple(kept.values())
    if reason := literals.fault(list(tools)):
        reason = "malformed_tools" if reason == "malformed_call" else reason
        raise Rejected(reason, "in the description of a tool")
    return Toolset(tools, {n: _signature(t["function"]["parameters"]) for n, t in kept.items()})


def _signature(parameters: Row) -> Signature:
    required = parameters.get("required")
    names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
    open_ended = any(
        parameters.get(key)
        for key in ("additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf")
    )
    known = None if open_ended else frozenset([*parameters["properties"], *names])
    return Signature(tuple(names), known)


def _tool(item: Any, flat: bool, rename: Rename | None) -> Row:
    if isinstance(item, str):
        try:
            item = literals.parse(item)
        except ValueError as error:
            raise Rejected("malformed_tools", f"{error}: {excerpt(item)}") from None
    function = (item.get("function") or item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejected("malformed_tools", f"a tool without a name: {excerpt(item)}")
    name, description = function["name"], function.get("description")
    if not name.strip() or not (description is None or isinstance(description, str)):
        raise Rejected("malformed_tools", f"no name or no text as description: {excerpt(item)}")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Rejected("malformed_tools", f"the parameters of {name!r} are no object")
    beside = function.get("required")
    schema = schemas.flat if flat else schemas.plain
    described = {
        "name": rename(name) if rename else name,
        "description": description or "",
        "parameters": schema(parameters, beside if isinstance(beside, list) else None),
    }
    return {"type": "function", "function": described}
