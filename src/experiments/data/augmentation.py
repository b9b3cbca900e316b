"""Canonical row -> the same row as a run shows it: its system prompt, its tools, their form.

Pure functions: no row that is given is changed, and nothing depends on the order of rows or on the
number of workers.
"""

import random
from typing import Any, Literal

from experiments.errors import DataError

Row = dict[str, Any]
Tool = dict[str, Any]
SystemPrompt = Literal["keep", "unify", "drop"]
ToolsForm = Literal["openai", "bfcl_raw", "mcp", "as_given"]

_NO_PARAMETERS = {"type": "object", "properties": {}}
# JSON schema -> the Python words of BFCL's function documents (gorilla, BFCL_v4_*.json); the rest
# have one name in both.
_BFCL_TYPES = {"object": "dict", "number": "float"}
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMAS = ("items", "additionalProperties", "not", "contains")


def up_to_the_last_trained_turn(row: Row) -> Row:
    """Return the row without what follows its last turn that is to be trained.

    The last turn is what a row is scored on, and one that is flagged as not to be trained is no
    gold answer. A row whose every turn is flagged is returned as it is.
    """
    trained = [
        i
        for i, message in enumerate(row["messages"])
        if message["role"] == "assistant" and message.get("train", True)
    ]
    if not trained or trained[-1] == len(row["messages"]) - 1:
        return row
    return {**row, "messages": row["messages"][: trained[-1] + 1]}


def with_system_prompt(row: Row, mode: SystemPrompt, text: str = "") -> Row:
    """Return the row with its own system messages, with one given text, or with none.

    A row with a `schema` keeps its own: there the system message states the JSON that the answer
    is held against, and a row without it would ask for nothing.

    Args:
        row: a canonical row.
        mode: `keep` the row's own; `unify`: `text` is the first message of every row; `drop`.
        text: the prompt of `unify`.

    Raises:
        DataError: `unify` without a text.
    """
    if mode == "unify" and not text.strip():
        raise DataError("data.system_prompt=unify needs the text that every row is to have.")
    if mode == "keep" or row.get("schema"):
        return row
    others = [message for message in row["messages"] if message["role"] != "system"]
    first = [{"role": "system", "content": text}] if mode == "unify" else []
    return {**row, "messages": first + others}


def with_tools_shown(row: Row, distractors: int, *, seed: int) -> Row:
    """Return the row with the tools it calls and some others of its own list, in its order.

    A row that calls nothing keeps one tool more, so that the number of tools does not tell whether
    a call is due. The draw depends on the row's id and the seed alone, and the tools of fewer
    distractors are among those of more.

    Args:
        row: a canonical row.
        distractors: how many tools that are not called stay; all, where the row has no more.
        seed: of the draw.
    """
    tools = row.get("tools") or []
    called = {name for message in row["messages"] for name in _called(message)}
    gold = [i for i, tool in enumerate(tools) if tool_name(tool) in called]
    others = [i for i in range(len(tools)) if i not in set(gold)]
    random.Random(f"tools {seed} {row['id']}").shuffle(others)
    kept = sorted(gold + others[: distractors if gold else distractors + 1])
    return row if len(kept) == len(tools) else {**row, "tools": [tools[i] for i in kept]}


def tools_in_form(tools: list[Tool], form: ToolsForm) -> list[Tool]:
    """Return tools as a template is to print them.

    Args:
        tools: wrapped as OpenAI's API wants them, or bare functions.
        form: `openai`: `{"type": "function", "function": {...}}`; `bfcl_raw`: the bare function
            with BFCL's type words (object is `dict`, number is `float`), as BFCL prints tools to
            Qwen; `mcp`: `{"name", "description", "inputSchema"}`, as in the Model Context Protocol;
            `as_given`: unchanged.
    """
    return [_in_form(tool, form) for tool in tools]


def tool_name(tool: Tool) -> str:
    """Return a tool's name, wrapped or bare."""
    return str(tool.get("function", tool).get("name", ""))


def _in_form(tool: Tool, form: ToolsForm) -> Tool:
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
    """Rename the types of a schema; a property that is called `type` is no type."""
    if not isinstance(schema, dict):
        return schema
    renamed = {}
    for key, value in schema.items():
        if key == "type":
            renamed[key] = _bfcl_type(value)
        elif key in _LISTS_OF_SCHEMAS and isinstance(value, list):
            renamed[key] = [_bfcl_schema(one) for one in value]
        elif key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            renamed[key] = {name: _bfcl_schema(one) for name, one in value.items()}
        else:
            renamed[key] = _bfcl_schema(value) if key in _SCHEMAS else value
    return renamed


def _bfcl_type(value: Any) -> Any:
    if isinstance(value, list):
        return [_bfcl_type(one) for one in value]
    return _BFCL_TYPES.get(value, value) if isinstance(value, str) else value


def _called(message: Row) -> list[str]:
    calls = message.get("tool_calls") or [] if message["role"] == "assistant" else []
    return [tool_name(call) for call in calls]
