"""Text of an assistant turn -> the calls in it, the prose around them, and what is broken.

One grammar a model for training text and for what it writes: the form of its own chat template
(`CallForm`), found by rendering calls; Qwen's and Hermes' is

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

A broken call is never read as prose: it would be counted as a polite refusal. `parse` is strict;
`parse_tolerant` also reads what a forgiving program would, and names each thing it forgave, so
that "learned the format" and "learned the meaning" are two scores.
"""

from collections.abc import Collection, Sequence
from typing import Any

from experiments.toolcalls.parser import reading, tolerant
from experiments.toolcalls.parser.forms import HERMES_TAGS, CallForm, from_facts
from experiments.toolcalls.parser.reading import Answer
from experiments.toolcalls.parser.values import load_json, load_literal, same_value

__all__ = [
    "HERMES_TAGS",
    "Answer",
    "CallForm",
    "from_facts",
    "gold_calls",
    "load_json",
    "load_literal",
    "offered",
    "parse",
    "parse_tolerant",
    "same_value",
    "tool_names",
]


def parse(
    text: str, form: CallForm = HERMES_TAGS, tools: Sequence[dict[str, Any]] | None = None
) -> Answer:
    """Read an assistant turn strictly; never raises, in time linear in the text's length.

    >>> parse('<tool_call>{"name": "f", "arguments": {}}</tool_call>').calls
    [{'name': 'f', 'arguments': {}}]
    >>> parse('<tool_call>{"name": ').defects
    ('unclosed tag',)

    Args:
        text: the assistant turn, without its end token.
        form: how the model's template writes calls.
        tools: what the turn may call: the types of arguments that the form writes as text. Where
            nothing but its shape tells a call from an answer in JSON, an empty list means that
            there is no call; None: not known.
    """
    return reading.read(text, form, tools)


def parse_tolerant(
    text: str,
    tool_names: Collection[str] = (),
    form: CallForm = HERMES_TAGS,
    tools: Sequence[dict[str, Any]] | None = None,
) -> Answer:
    """Read an assistant turn as a forgiving program would; `defects` says what was forgiven.

    Forgiven are: a last call without its closing tag, Python's literals for JSON, a code fence
    around a call, arguments as JSON text, `parameters` for `arguments`, a list of calls in one
    tag; and calls without any tag, or in the form of another model, if all of them name a tool
    that is offered.

    >>> parse_tolerant("<tool_call>{'name': 'f', 'arguments': {'x': True}}").calls
    [{'name': 'f', 'arguments': {'x': True}}]
    >>> parse_tolerant('{"name": "f", "parameters": {}}', ["f"]).defects
    ('no tag', 'parameters for arguments')

    Args:
        text: the assistant turn.
        tool_names: what the turn may call; empty: only the tags of the form and of Hermes are read.
        form: how the model's template writes calls.
        tools: as for `parse`.
    """
    return tolerant.read(text, tool_names, form, tools)


def gold_calls(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a row's last turn in the form `parse` gives them."""
    return [call["function"] for call in row["messages"][-1].get("tool_calls") or []]


def tool_names(row: dict[str, Any]) -> list[str]:
    """Return the names of the tools a row offers, in their order."""
    functions = [tool.get("function", tool) for tool in row.get("tools") or []]
    return [str(function.get("name", "")) for function in functions]


def offered(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the tools of a row for `parse`: none, or None where the row may show them as text."""
    tools = list(row.get("tools") or [])
    wants_calls = bool(row.get("expects")) or bool(gold_calls(row))
    return tools or (None if wants_calls else [])
