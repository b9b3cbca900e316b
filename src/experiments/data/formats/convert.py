"""Convert a row of a public tool-calling data set or of a user's file to a canonical row.

A canonical row has `id`, `source`, `messages` and `tools`, and `category`, `schema` and `expects`
if the original row has them. Messages have a role (system, user, assistant, tool) and a content
that is always text. An assistant message may have `reasoning_content` and `tool_calls`, each
`{"type": "function", "function": {"name", "arguments"}}` with arguments as an object. A tool
message has the `name` of the call it answers. An assistant message that is not to be trained has
`"train": False`. Calls keep the `id` from their file, and tool messages the `tool_call_id`. Tools
are `{"type": "function", "function": {"name", "description", "parameters"}}`; they are shared
between rows and must not be modified in place.

All functions are pure. A row is either converted or `Rejected`, never repaired. Argument values are
labels: they are kept unchanged, whatever the schema requires.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from experiments.data.formats import (
    api_bank,
    flags,
    glaive,
    gsm8k,
    hermes,
    mcp_agent,
    messages,
    seal_tools,
    sgd,
    sharegpt,
    toolace,
    turns,
    when2call,
    xlam,
)
from experiments.data.formats.messages import NULLS
from experiments.data.formats.rejection import Rejected, Row
from experiments.data.formats.tools import Toolset

ASKED = "user or system turns flagged to be trained (only assistant turns are)"
CLOSING = "turns after the last trained answer"

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
    "seal_tools": seal_tools.convert,
    "api_bank": api_bank.convert,
    "sgd": sgd.convert,
    "gsm8k": gsm8k.convert,
    "sharegpt": sharegpt.convert,
    "messages": messages.convert,
    "prompt_completion": messages.prompt_completion,
}
_WITH_SCHEMA_IN_TEXT = ("hermes", "mcp_agent")

FORMATS = tuple(_CONVERTERS)


def convert(name: str, raw: Row, row_id: str, left_out: Counter[str] | None = None) -> Row:
    """Convert one row.

    Args:
        name: one of `FORMATS`.
        raw: the row with its original columns; not modified.
        row_id: fallback id, used if the row has no column `id` or `dialogue_id`.
        left_out: counts content of the row that is not used in training, by reason.

    Raises:
        Rejected: the row cannot be used; its `reason` is one of `REASONS`.
        KeyError: there is no such format.
    """
    converter = _CONVERTERS[name]
    try:
        if not flags.row_trained(raw):
            raise Rejected("not_trained", "the row is flagged as not to be trained")
        converted, toolset = converter(raw)
        nulls = sum([message.pop(NULLS) for message in converted if NULLS in message])
        conversation = turns.finished(converted, toolset)
    except RecursionError:
        raise Rejected("too_deep", "a value is nested too deeply to be read") from None
    counts = _count_left_out(converted)
    if nulls:
        counts[NULLS] = nulls
    if left_out is not None and counts:
        left_out.update(counts)
    own_id, source = _own_id(raw), raw.get("source")
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


def _own_id(raw: Row) -> Any:
    """Return the id of a row: its column `id`, with the `file` of a dialogue, or `dialogue_id`."""
    own_id = raw.get("id", raw.get("dialogue_id"))
    file = raw.get("file")
    return f"{file}:{own_id}" if isinstance(file, str) and own_id is not None else own_id


def _count_left_out(converted: list[Row]) -> dict[str, int]:
    """Count the turns of a conversation that are not trained although they could be."""
    counts: dict[str, int] = {}
    if flagged := [message for message in converted if message.get("train")]:
        counts[ASKED] = len(flagged)
        for message in flagged:
            message.pop("train")
    for distance, message in enumerate(reversed(converted)):
        if message["role"] == "assistant" and message.get("train", True):
            if distance:
                counts[CLOSING] = distance
            break
    return counts
