"""Convert rows of Seal-Tools in its form for fine-tuning: a request, its tools and its calls.

Column: `conversations` of one `human` turn, with the tools (`api_list = [...]`) and the request
(`task_instruction = "..."`), and one `gpt` turn with the list of calls, both in Python syntax. The
instruction around them is left out, because it asks for a syntax of its own. A nested row refers to
the results of earlier calls as `API_call_N`. Source: `dataset_for_finetune` of
fairyshine/Seal-Tools. Rows without tools (`dev.jsonl` beside that folder) are rejected.
"""

import re
from typing import Any

from experiments.data.formats import call_syntaxes, literals, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_PROMPT = re.compile(
    r"\napi_list = (\[.*\])\ntask_instruction = \"(.*)\"\s*\nOutput:\s*\Z", re.DOTALL
)


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `conversations`."""
    if "calling" in raw and "conversations" not in raw:
        raise Rejected(
            "unknown_layout", "a row without its tools: read the files of dataset_for_finetune"
        )
    spoken = [(speaker, text) for speaker, text, _ in turns.spoken(raw, "conversations")]
    if [speaker for speaker, _ in spoken] != ["human", "gpt"]:
        raise Rejected("unknown_layout", f"turns by {[speaker for speaker, _ in spoken]}")
    (_, prompt), (_, answer) = spoken
    match = _PROMPT.search(prompt)
    if match is None:
        raise Rejected("unknown_layout", f"no api_list and task_instruction: {excerpt(prompt)}")
    toolset = tools.of_list([_tool(api) for api in _list(match[1], "malformed_tools")], flat=True)
    calls = [_call(call) for call in _list(answer, "malformed_call")]
    return [{"role": "user", "content": match[2]}, turns.assistant("", calls)], toolset


def _list(text: str, reason: str) -> list[Any]:
    try:
        value = literals.python(text)
    except ValueError as error:
        raise Rejected(reason, f"{error}: {excerpt(text)}") from None
    if not isinstance(value, list):
        raise Rejected(reason, f"not a list: {excerpt(text)}")
    return value


def _tool(api: Any) -> Row:
    if not isinstance(api, dict) or not isinstance(api.get("parameters"), dict):
        raise Rejected("malformed_tools", f"not an API with parameters: {excerpt(api)}")
    required = api.get("required")
    required = required if isinstance(required, list) else []
    return {
        "name": api.get("api_name"),
        "description": api.get("api_description"),
        "parameters": api["parameters"],
        "required": [name for name in required if name in api["parameters"]],
    }


def _call(call: Any) -> Row:
    if not isinstance(call, dict):
        raise Rejected("malformed_call", f"not an object: {excerpt(call)}")
    return call_syntaxes.of_value({"name": call.get("api"), "arguments": call.get("parameters")})
