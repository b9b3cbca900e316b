"""Convert rows of NousResearch's Hermes sets, including those with thinking.

hermes-function-calling-v1: columns `conversations` of {from, value} by system, human, gpt and tool,
`tools` (text or None), `category`. The system text contains `<tools> [...] </tools>`, an
assistant's text `<tool_call> {...} </tool_call>`, repeated for parallel calls, and a tool turn
`<tool_response> ... </tool_response>`; objects are JSON or Python dicts. The configs json_mode_*
have a `<schema>` in the system text instead, which is kept. Hermes-Function-Calling-Thinking-V1:
{role, content} by human and model, `<think>...</think>` before a call. Source: one row of
func_calling_singleturn and one with thinking; layout of the other four configs not verified against
the Hub.
"""

import re
from typing import Any

from experiments.data.formats import call_syntaxes, literals, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

# The introduction mentions an empty pair of tags before the real one.
_TOOLS = re.compile(r"<tools>\s*+(?=[\[{])")
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "model", "assistant"), "assistant"),
    "system": "system",
    "tool": "tool",
}
_END = "<|endoftext|>"


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `conversations` and, if not empty, `tools`."""
    toolset = tools.read(raw.get("tools"))
    messages: list[Row] = []
    for speaker, content, trained in turns.spoken(raw, "conversations"):
        role = _ROLES.get(speaker)
        text = turns.ended(content, _END) if role == "assistant" else content
        if role is None:
            raise Rejected("unknown_role", f"{speaker!r} is not one of {', '.join(_ROLES)}")
        if role == "system":
            remains, system_tools = system(text)
            toolset = toolset if toolset.tools else system_tools
            messages += [{"role": role, "content": text.strip()}] if remains else []
        elif role == "assistant":
            messages.append(turns.marked(assistant(text), trained))
        elif role == "tool":
            messages += results(text)
        else:
            messages.append({"role": role, "content": text.strip()})
    return messages, toolset


@tools.remembered
def system(text: str) -> tuple[bool, Toolset]:
    """Return whether a system text remains as a message, and the tools in it.

    Raises:
        Rejected: malformed_tools, also for tags that are not closed.
    """
    opening = _TOOLS.search(text)
    if opening is None:
        return "<schema>" in text or "<tool_call>" not in text, tools.NONE
    tools_text, closed, _ = text[opening.end() :].partition("</tools>")
    if not closed:
        raise Rejected("malformed_tools", "<tools> is not closed")
    return False, tools.read(tools_text)


def assistant(text: str) -> Row:
    """Return an assistant message: thinking, the text before the first call, and the calls."""
    message = turns.assistant(text.strip())
    if "<tool_call>" in message["content"]:
        content, calls = call_syntaxes.tagged(message["content"], "tool_call")
        message |= {"content": content, "tool_calls": calls}
    return message


def results(text: str) -> list[Row]:
    """Return one tool message per `<tool_response>`, or one for a text without the tag.

    Raises:
        Rejected: malformed_result.
    """
    before, *parts = text.split("<tool_response>")
    if not parts:
        return [turns.result(before.strip())]
    messages, outside = [], before
    for part in parts:
        content, closed, text_after = part.partition("</tool_response>")
        if not closed:
            raise Rejected("malformed_result", f"<tool_response> is not closed: {excerpt(part)}")
        outside += text_after
        messages.append(turns.result(content.strip()))
    if outside.strip():
        raise Rejected("malformed_result", f"text outside <tool_response>: {excerpt(outside)}")
    return messages


def schema(messages: list[Row]) -> Any:
    """Return the JSON schema in a JSON-mode system message, or None."""
    if not messages or messages[0]["role"] != "system":
        return None
    _, _, text_after = messages[0]["content"].partition("<schema>")
    try:
        value = literals.parse(text_after.partition("</schema>")[0].strip())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
