"""A row of a public tool-calling dataset, or of a user's file -> the canonical row, or a reason.

Canonical row: `id`, `source`, `messages` and `tools`, and where the row had them `category`,
`schema` and `expects`. Messages have a role (system, user, assistant, tool) and a content that is
always text; an assistant's may have `tool_calls`, each `{"type": "function", "function": {"name",
"arguments"}}` with arguments as an object, and `reasoning_content`; a tool's has the `name` of the
call it answers. Tools are `{"type": "function", "function": {"name", "description",
"parameters"}}`; rows share them, so they must not be changed in place.

Pure functions; a row is converted or `Rejected`, never mended. Argument values are labels: they
are kept as they are, whatever the schema says.
"""

from collections.abc import Callable

from experiments.data.formats import (
    glaive,
    hermes,
    mcp_agent,
    messages,
    sharegpt,
    toolace,
    when2call,
    xlam,
)
from experiments.data.formats.rejection import MEANINGS, REASONS, Rejected, Row
from experiments.data.formats.tools import Toolset

__all__ = [
    "CONVERTER_VERSION",
    "FORMATS",
    "MEANINGS",
    "REASONS",
    "Rejected",
    "Row",
    "convert",
]

CONVERTER_VERSION = 1
"""Raised with every change that converts any row differently; part of the key of a cache."""

_CONVERTERS: dict[str, Callable[[Row], tuple[list[Row], Toolset]]] = {
    "glaive_v2": glaive.v2,
    "glaive_v1": glaive.v1,
    "glaive_v2_formatted": glaive.formatted,
    "glaive_v2_sharegpt": glaive.sharegpt,
    "xlam": xlam.convert,
    "hermes": hermes.convert,
    "mcp_agent": mcp_agent.convert,
    "toolace": toolace.convert,
    "when2call": when2call.convert,
    "apigen_mt": sharegpt.convert,
    "sharegpt": sharegpt.convert,
    "messages": messages.convert,
    "prompt_completion": messages.prompt_completion,
}
_WITH_SCHEMA_IN_TEXT = ("hermes", "mcp_agent")

FORMATS = tuple(_CONVERTERS)


def convert(name: str, raw: Row, row_id: str) -> Row:
    """Convert one row.

    Args:
        name: one of `FORMATS`.
        raw: the row in its own columns; not changed.
        row_id: the id where the row has no column `id`.

    Raises:
        Rejected: the row cannot be used; its `reason` is one of `REASONS`.
        KeyError: there is no such format.
    """
    converter = _CONVERTERS[name]
    try:
        conversation, toolset = converter(raw)
    except RecursionError:
        raise Rejected("too_deep", "a value is nested too deeply to be read") from None
    own_id, source = raw.get("id"), raw.get("source")
    row: Row = {
        "id": str(own_id) if isinstance(own_id, str | int) and own_id != "" else row_id,
        "source": source if isinstance(source, str) and source else name,
        "messages": conversation,
        "tools": list(toolset.tools),
    }
    for key in ("category", "schema", "expects"):
        if raw.get(key) is not None:
            row[key] = raw[key]
    if name in _WITH_SCHEMA_IN_TEXT and not toolset.tools and "schema" not in row:
        schema = hermes.schema(conversation)
        row |= {} if schema is None else {"schema": schema}
    return row
