"""Change how a canonical row is shown to the model: its system prompt, its tools and their format.

All functions are pure: they never modify the row they receive, and their results do not depend on
the order of rows or on the number of workers.
"""

import random
from typing import Any, Literal

from experiments.errors import DataError

Row = dict[str, Any]
Tool = dict[str, Any]
SystemPrompt = Literal["keep", "unify", "drop"]
ToolsForm = Literal["openai", "bfcl_raw", "mcp", "as_given"]

_NO_PARAMETERS = {"type": "object", "properties": {}}
# JSON schema types that have another name in BFCL's function documents (Python type names; gorilla,
# BFCL_v4_*.json). All other types have the same name in both.
_BFCL_TYPES = {"object": "dict", "number": "float"}
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMAS = ("items", "additionalProperties", "not", "contains")


def up_to_the_last_trained_turn(row: Row) -> Row:
    """Return the row without the messages that follow its last trained turn.

    A row is scored on its last turn, and a turn that is flagged as not to be trained is not a gold
    answer. A row in which every turn is flagged is returned unchanged.
    """
    trained_indices = [
        i
        for i, message in enumerate(row["messages"])
        if message["role"] == "assistant" and message.get("train", True)
    ]
    if not trained_indices or trained_indices[-1] == len(row["messages"]) - 1:
        return row
    return {**row, "messages": row["messages"][: trained_indices[-1] + 1]}


def with_system_prompt(row: Row, mode: SystemPrompt, text: str = "") -> Row:
    """Return the row with its original system messages, with a unified one, or with none.

    A row with a `schema` always keeps its system message: it states the JSON schema that the answer
    is checked against, so the request would be incomplete without it.

    Args:
        row: a canonical row.
        mode: `keep` leaves the row's system messages as they are; `unify` makes `text` the first
            message of every row; `drop` removes them.
        text: the system prompt for `unify`.

    Raises:
        DataError: `unify` without a text.
    """
    if mode == "unify" and not text.strip():
        raise DataError("data.system_prompt=unify needs a text: set data.unified_system_prompt.")
    if mode == "keep" or row.get("schema"):
        return row
    others = [message for message in row["messages"] if message["role"] != "system"]
    first = [{"role": "system", "content": text}] if mode == "unify" else []
    return {**row, "messages": first + others}


def with_tools_shown(row: Row, distractors: int, *, seed: int) -> Row:
    """Return the row with the tools it calls plus some distractors, in their original order.

    Distractors are tools of the row that it does not call. A row without calls keeps one more of
    them, so that the number of tools does not reveal whether a call is expected. The draw depends
    only on the row's id and the seed, and the tools kept with fewer distractors are a subset of
    those kept with more.

    Args:
        row: a canonical row.
        distractors: how many uncalled tools to keep; all of them if the row has no more.
        seed: seed of the draw.
    """
    tools = row.get("tools") or []
    called = {name for message in row["messages"] for name in _called_names(message)}
    gold_indices = [i for i, tool in enumerate(tools) if tool_name(tool) in called]
    other_indices = [i for i in range(len(tools)) if i not in set(gold_indices)]
    random.Random(f"tools {seed} {row['id']}").shuffle(other_indices)
    kept_indices = sorted(
        gold_indices + other_indices[: distractors if gold_indices else distractors + 1]
    )
    return (
        row
        if len(kept_indices) == len(tools)
        else {**row, "tools": [tools[i] for i in kept_indices]}
    )


def tools_in_form(tools: list[Tool], form: ToolsForm) -> list[Tool]:
    """Return tools in the format in which the chat template prints them.

    Args:
        tools: tools in OpenAI's wrapped format, or bare functions.
        form: `openai`: `{"type": "function", "function": {...}}`; `bfcl_raw`: the bare function
            with BFCL's type names (object is `dict`, number is `float`), as BFCL prints tools for
            Qwen; `mcp`: `{"name", "description", "inputSchema"}`, as in the Model Context Protocol;
            `as_given`: unchanged.
    """
    return [_tool_in_form(tool, form) for tool in tools]


def tool_name(tool: Tool) -> str:
    """Return the name of a tool in wrapped or bare format."""
    return str(tool.get("function", tool).get("name", ""))


def _tool_in_form(tool: Tool, form: ToolsForm) -> Tool:
    if form == "as_given":
        return tool
    if form == "openai":
        return tool if "function" in tool else {"type": "function", "function": tool}
    function = tool.get("function", tool)
    parameters = function.get("parameters") or _NO_PARAMETERS
    name, description = function.get("name", ""), function.get("description") or ""
    if form == "mcp":
        return {"name": name, "description": description, "inputSchema": parameters}
    return {"name": name, "description": description, "parameters": _bfcl_schema(parameters)}


def _bfcl_schema(schema: Any) -> Any:
    """Rename the types in a schema to BFCL's; a property named `type` is left alone."""
    if not isinstance(schema, dict):
        return schema
    renamed = {}
    for key, value in schema.items():
        if key == "type":
            renamed[key] = _bfcl_type(value)
        elif key in _LISTS_OF_SCHEMAS and isinstance(value, list):
            renamed[key] = [_bfcl_schema(subschema) for subschema in value]
        elif key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            renamed[key] = {name: _bfcl_schema(subschema) for name, subschema in value.items()}
        else:
            renamed[key] = _bfcl_schema(value) if key in _SCHEMAS else value
    return renamed


def _bfcl_type(value: Any) -> Any:
    if isinstance(value, list):
        return [_bfcl_type(item) for item in value]
    return _BFCL_TYPES.get(value, value) if isinstance(value, str) else value


def _called_names(message: Row) -> list[str]:
    calls = message.get("tool_calls") or [] if message["role"] == "assistant" else []
    return [tool_name(call) for call in calls]
