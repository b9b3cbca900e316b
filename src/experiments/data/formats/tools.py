"""Normalise the tools of a data set to OpenAI's format, and derive their signatures.

The format is `{"type": "function", "function": ...}`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from experiments.data.formats import literals, names, parameter_schemas
from experiments.data.formats.rejection import Rejected, Row, excerpt

# Longer texts are parsed again each time, to limit the memory of the cache.
_MAX_CACHED_LENGTH = 20_000
# Keys of the schema in published formats: OpenAI, MCP, Anthropic, LangChain, Gemini.
_SCHEMAS = (
    *("parameters", "inputSchema", "input_schema", "args_schema"),
    *("parametersJsonSchema", "parameters_json_schema"),
)
_NAMES_OF_SCHEMAS = frozenset(_SCHEMAS)
_LOOKS_LIKE_SCHEMA = re.compile("param|schema|^arg|^input|propert", re.IGNORECASE)
_LOOKS_LIKE_RESULT = re.compile("output|result|response|return", re.IGNORECASE)
# Keywords that may allow arguments outside of `properties`; an empty schema allows any.
_OPEN_KEYWORDS = frozenset(
    (
        *("additionalProperties", "patternProperties", "unevaluatedProperties"),
        *("$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "if", "not", "dependentSchemas"),
        *("minProperties", "propertyNames", "enum", "const"),
    )
)
_OPEN_KEYWORDS_IF_CLOSED = frozenset(("patternProperties",))
Read = TypeVar("Read")
Rename = Callable[[str], str]


@dataclass(frozen=True)
class Signature:
    """The arguments that a call of one tool must and may have."""

    required: tuple[str, ...]
    known: frozenset[str] | None
    """Allowed arguments; None if the schema leaves them open."""
    of_names: names.Names | None = None
    """Constraints from keywords such as `anyOf`; None if the schema has none."""


@dataclass(frozen=True)
class Toolset:
    """The tools of a row; shared between rows, so never modify them in place."""

    tools: tuple[Row, ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    """Signature of each tool by name."""


NONE = Toolset()


def remembered(parse: Callable[[str], Read]) -> Callable[[str], Read]:
    """Cache a function of a text, since many rows share the text that describes their tools."""
    cached = lru_cache(maxsize=1024)(parse)

    def look_up(text: str) -> Read:
        return cached(text) if len(text) <= _MAX_CACHED_LENGTH else parse(text)

    return look_up


def read(value: Any, *, flat: bool = False) -> Toolset:
    """Read a `tools` column: a list or its text; None and empty text mean no tools.

    Args:
        value: the column.
        flat: convert parameters with xlam's rules, see `parameter_schemas.flat`.

    Raises:
        Rejected: malformed_tools, duplicate_tool_name, control_character, not_text.
    """
    if isinstance(value, str):
        return _flat_text(value) if flat else _plain_text(value)
    return of_list([] if value is None else value, flat=flat)


def offered(raw: Row) -> Toolset:
    """Read the tools of a row from its column `tools` or OpenAI's older `functions`.

    Raises:
        Rejected: as in `read`; malformed_tools if both columns have different tools.
    """
    toolset, functions = read(raw.get("tools")), raw.get("functions")
    if functions is None or not (function_tools := read(functions)).tools:
        return toolset
    if toolset.tools and toolset.tools != function_tools.tools:
        raise Rejected("malformed_tools", "the columns tools and functions differ; keep one")
    return function_tools


@remembered
def _plain_text(text: str) -> Toolset:
    return of_list(_parsed(text))


@remembered
def _flat_text(text: str) -> Toolset:
    return of_list(_parsed(text), flat=True)


def _parsed(text: str) -> Any:
    """Parse a list, or objects that follow each other."""
    if not text.strip():
        return []
    try:
        return literals.parse(text)
    except ValueError:
        pass
    try:
        objects = literals.objects(text)
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text)}") from None
    if not objects:
        raise Rejected("malformed_tools", f"no tools in {excerpt(text)}")
    return objects


def of_list(value: Any, *, flat: bool = False, rename: Rename | None = None) -> Toolset:
    """Normalise tools that are bare, wrapped or text.

    A tool that is repeated verbatim is kept once.

    Args:
        value: the list; a single tool counts as a list of one.
        flat: see `read`.
        rename: function applied to each tool's name.

    Raises:
        Rejected: as in `read`.
    """
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise Rejected("malformed_tools", f"not a list: {excerpt(value)}")
    tools_by_name: dict[str, Row] = {}
    for item in _flattened_declarations(value):
        tool = _tool(item, flat, rename)
        name = tool["function"]["name"]
        if name not in tools_by_name:
            tools_by_name[name] = tool
        elif json.dumps(tools_by_name[name]) != json.dumps(tool):
            raise Rejected("duplicate_tool_name", f"two different tools are named {name!r}")
    tools = tuple(tools_by_name.values())
    if reason := literals.fault(list(tools)):
        reason = "malformed_tools" if reason == "malformed_call" else reason
        raise Rejected(reason, "in the description of a tool")
    return Toolset(
        tools, {n: _signature(t["function"]["parameters"]) for n, t in tools_by_name.items()}
    )


def _flattened_declarations(items: list[Any]) -> Iterator[Any]:
    """Yield the tools of a list, including those in Gemini's `functionDeclarations`."""
    for item in items:
        declarations = None
        if isinstance(item, dict) and "name" not in item:
            declarations = item.get("functionDeclarations") or item.get("function_declarations")
        if isinstance(declarations, list):
            yield from declarations
        else:
            yield item


def _signature(parameters: Row) -> Signature:
    required_value = parameters.get("required")
    required = (
        [name for name in required_value if isinstance(name, str)]
        if isinstance(required_value, list)
        else []
    )
    properties = parameters["properties"]
    closed = parameters.get("additionalProperties") in (False, {"not": {}})
    open_keywords = _OPEN_KEYWORDS_IF_CLOSED if closed else _OPEN_KEYWORDS
    is_open = any(parameters.get(key) not in (None, False, []) for key in open_keywords)
    known = None if is_open else frozenset(properties if closed else [*properties, *required])
    constrains_names = (
        not names.KEYWORDS.isdisjoint(parameters) or {"not": {}} in properties.values()
    )
    return Signature(tuple(required), known, names.Names(parameters) if constrains_names else None)


def _tool(item: Any, flat: bool, rename: Rename | None) -> Row:
    if isinstance(item, str):
        try:
            item = literals.parse(item)
        except ValueError as error:
            raise Rejected("malformed_tools", f"{error}: {excerpt(item)}") from None
    function = _unwrapped(item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejected("malformed_tools", f"a tool without a name: {excerpt(item)}")
    name, description = function["name"], function.get("description")
    if not name.strip() or not (description is None or isinstance(description, str)):
        raise Rejected(
            "malformed_tools", f"name missing or description not a text: {excerpt(item)}"
        )
    parameters = _parameters(function, name)
    required = function.get("required")
    convert = parameter_schemas.flat if flat else parameter_schemas.plain
    normalised = {
        "name": rename(name) if rename else name,
        "description": description or "",
        "parameters": convert(parameters, required if isinstance(required, list) else None),
    }
    return {"type": "function", "function": normalised}


def _unwrapped(item: Row) -> Any:
    """Return the named function: OpenAI's `function`, Bedrock's `toolSpec`, or the item."""
    return item.get("function") or item.get("toolSpec") or item


def _parameters(function: Row, name: str) -> Row:
    """Return the schema of a tool's arguments from any of the published formats' keys."""
    schema_keys = _NAMES_OF_SCHEMAS.intersection(function)
    schemas = {key: function[key] for key in schema_keys if function[key] not in (None, "")}
    if len(schemas) > 1 and len({json.dumps(value) for value in schemas.values()}) > 1:
        raise Rejected("malformed_tools", f"{name!r} has different {' and '.join(sorted(schemas))}")
    for key, value in schemas.items():
        schema = value
        if isinstance(schema, str):
            schema = _parse_schema_text(schema, key, name)
        if key == "inputSchema" and isinstance(schema, dict) and set(schema) == {"json"}:
            schema = schema["json"]  # Bedrock's wrapper
        if not isinstance(schema, dict):
            raise Rejected("malformed_tools", f"the {key} of {name!r} are not an object")
        if isinstance(schema.get("properties"), list | str):
            raise Rejected("malformed_tools", f"the properties of {name!r} are not an object")
        return schema
    for key, value in function.items():
        looks_like_schema = _LOOKS_LIKE_SCHEMA.search(key) and not _LOOKS_LIKE_RESULT.search(key)
        if looks_like_schema and value and isinstance(value, dict | list):
            known_keys = ", ".join(_SCHEMAS)
            raise Rejected("malformed_tools", f"{key!r} of {name!r} is not one of {known_keys}")
    return {}


def _parse_schema_text(text: str, key: str, name: str) -> Any:
    try:
        return literals.parse(text)
    except ValueError:
        raise Rejected("malformed_tools", f"the {key} of {name!r} are not an object") from None
