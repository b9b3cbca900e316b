"""Parse an assistant turn: calls, the prose around them, and defects.

The same grammar applies to a model's training text and to its output: the call format of its chat
template (`CallForm`), which is detected by rendering calls. For Qwen and Hermes it is

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

A broken call is never parsed as prose, because it would then count as a polite refusal. `parse` is
strict. `parse_tolerant` also accepts what a lenient program would, and names each defect it
accepted, so that "learned the format" and "learned the meaning" are two scores.
"""

from collections.abc import Collection, Sequence
from typing import Any

from experiments.toolcalls.parser import tolerant, turn
from experiments.toolcalls.parser.answer import Answer
from experiments.toolcalls.parser.forms import HERMES_TAGS, CallForm


def parse(
    text: str, form: CallForm = HERMES_TAGS, tools: Sequence[dict[str, Any]] | None = None
) -> Answer:
    """Parse an assistant turn strictly; never raises, in time linear in the length of the text.

    >>> parse('<tool_call>{"name": "f", "arguments": {}}</tool_call>').calls
    [{'name': 'f', 'arguments': {}}]
    >>> parse('<tool_call>{"name": ').defects
    ('unclosed tag',)

    Args:
        text: the assistant turn, without its end token.
        form: format in which the model's chat template writes calls.
        tools: the offered tools; they provide the types of arguments that the format writes as
            text. If only its shape distinguishes a call from a JSON answer, an empty list means
            that there is no call. None means that the tools are unknown.
    """
    return turn.read(text, form, tools)


def parse_tolerant(
    text: str,
    tool_names: Collection[str] = (),
    form: CallForm = HERMES_TAGS,
    tools: Sequence[dict[str, Any]] | None = None,
) -> Answer:
    """Parse an assistant turn leniently; `defects` names what was accepted.

    Accepted are: a last call without its closing tag, Python literals instead of JSON, a code fence
    around a call, arguments as JSON text, `parameters` instead of `arguments`, and a list of calls
    in one tag. Calls without any tag, or in the format of another model, are accepted if all of
    them name an offered tool.

    >>> parse_tolerant("<tool_call>{'name': 'f', 'arguments': {'x': True}}").calls
    [{'name': 'f', 'arguments': {'x': True}}]
    >>> parse_tolerant('{"name": "f", "parameters": {}}', ["f"]).defects
    ('no tag', 'parameters for arguments')

    Args:
        text: the assistant turn.
        tool_names: names of the offered tools; if empty, only the tags of the format and of Hermes
            are parsed.
        form: format in which the model's chat template writes calls.
        tools: as in `parse`.
    """
    return tolerant.read(text, tool_names, form, tools)


def gold_calls(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a row's last turn in the format of `parse`."""
    return [call["function"] for call in row["messages"][-1].get("tool_calls") or []]


def tool_names(row: dict[str, Any]) -> list[str]:
    """Return the names of the tools offered in a row, in order."""
    functions = [tool.get("function", tool) for tool in row.get("tools") or []]
    return [str(function.get("name", "")) for function in functions]


def offered(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return a row's tools for `parse`; None if they may only be described in its text."""
    tools = list(row.get("tools") or [])
    expects_calls = bool(row.get("expects")) or bool(gold_calls(row))
    return tools or (None if expects_calls else [])
