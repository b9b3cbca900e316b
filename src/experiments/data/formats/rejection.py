"""Rejection of rows that cannot be used, with a reason from a fixed list."""

from typing import Any

Row = dict[str, Any]

MEANINGS = {
    "missing_column": "a column that the format needs is not in the row",
    "not_text": "a value that must be text is something else, or holds half a surrogate pair",
    "control_character": "a text holds a NUL character",
    "unknown_layout": "the row follows none of the layouts of its format",
    "unknown_role": "a turn is by nobody the format knows",
    "unknown_part": "a content in parts holds something that is no text, call or result",
    "malformed_flag": "a mark on what is trained is neither 0 nor 1, or has no one meaning",
    "not_trained": "the file marks the row, or each of its answers, as not to be trained",
    "malformed_turns": "the turns are no list of objects with a role and a text",
    "malformed_tools": "the tools are no list of named functions with parameters",
    "duplicate_tool_name": "two different tools have one name",
    "malformed_call": "a call is neither JSON nor a Python literal, unclosed, or no object",
    "malformed_result": "the tags around tool results do not pair up",
    "unknown_function": "a call names a function that is not offered",
    "missing_required_argument": "a call leaves out an argument its function requires",
    "unknown_argument": "a call brings an argument its function does not have",
    "call_before_user": "a call stands before any user turn",
    "text_after_call": "text follows a call inside one turn, where no template can put it",
    "tool_result_without_call": "a tool result answers no call of the turn before it",
    "empty_turn": "a user turn without text, or an assistant turn without text and calls",
    "leftover_marker": "a marker of the source's own call syntax is left in an assistant's text",
    "no_assistant_turn": "nobody answers, so nothing could be trained",
    "no_gold_answer": "the answers of a test set hold none for the question, or none that fits it",
    "duplicate_id": "a test set holds another question of the same id",
    "too_deep": "a value is nested too deeply to be read",
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
