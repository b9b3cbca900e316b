"""Rejection of rows that cannot be used, with a reason from a fixed list."""

from typing import Any

Row = dict[str, Any]

MEANINGS = {
    "missing_column": "the row lacks a column that the format needs",
    "not_text": "a value that must be text is not text, or contains an unpaired surrogate",
    "control_character": "a text contains a NUL character",
    "unknown_layout": "the row matches none of its format's layouts",
    "unknown_role": "a turn has a role that the format does not define",
    "unknown_part": "a content part is not text, a call or a result",
    "malformed_flag": "a training flag is not 0 or 1, or is ambiguous",
    "not_trained": "the file flags the row, or every answer in it, as not to be trained",
    "malformed_turns": "the turns are not a list of objects with a role and a text",
    "malformed_tools": "the tools are not a list of named functions with parameters",
    "duplicate_tool_name": "two different tools have the same name",
    "malformed_call": "a call is unclosed, not an object, or neither JSON nor a Python literal",
    "malformed_result": "the tags around tool results are unbalanced",
    "unknown_function": "a call names a function that is not offered",
    "missing_required_argument": "a call lacks a required argument of its function",
    "unknown_argument": "a call has an argument that its function does not define",
    "call_before_user": "a call occurs before the first user turn",
    "text_after_call": "text follows a call within a turn, which chat templates cannot represent",
    "tool_result_without_call": "a tool result matches no call of the preceding turn",
    "empty_turn": "a user turn without text, or an assistant turn without text and calls",
    "leftover_marker": "a marker of the source's call syntax remains in an assistant's text",
    "no_assistant_turn": "there is no assistant turn to train on",
    "no_gold_answer": "the answers of a test set contain none, or no valid one, for the question",
    "duplicate_id": "a test set contains two questions with the same id",
    "too_deep": "a value is nested too deeply to parse",
}
"""One-line meaning of each reason."""

REASONS = tuple(MEANINGS)


class Rejected(Exception):
    """A row that cannot be used as it is; rows are never repaired.

    Attributes:
        reason: one of `REASONS`.
        detail: description of the problem for a person inspecting the row, at most about 200
            characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in MEANINGS, reason
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def excerpt(value: object, limit: int = 80) -> str:
    """Return the beginning of a value, for the detail of a rejection.

    >>> excerpt("abcdef", limit=3)
    "'abc...'"
    """
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= limit else text[:limit] + "...")
