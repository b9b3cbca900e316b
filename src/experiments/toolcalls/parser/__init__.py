"""Parse an assistant turn: calls, the prose around them, and defects."""

from experiments.toolcalls.parser.answer import Answer
from experiments.toolcalls.parser.argument_values import load_json, load_literal, same_value
from experiments.toolcalls.parser.forms import HERMES_TAGS, CallForm, from_facts
from experiments.toolcalls.parser.parse import (
    gold_calls,
    offered,
    parse,
    parse_tolerant,
    tool_names,
)

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
