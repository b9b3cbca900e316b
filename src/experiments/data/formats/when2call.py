"""Convert rows of nvidia/When2Call: train_sft, train_pref and the test.

Columns: `tools` (objects or their text; types in Python syntax, `required` outside of the
parameters) and `messages`. Calls are `<TOOLCALL>[{...}, ...]</TOOLCALL>` in an assistant's text,
each element an object or its text. A preference row has no answer in `messages`: its
`chosen_response` is the answer, and the rejected one is not used. Source: NVIDIA/When2Call README.
"""

from experiments.data.formats import call_syntaxes, messages, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

# `expects` of rows whose correct answer is prose.
_EXPECTED = {"direct": "answer", "request_for_info": "question", "cannot_answer": "refusal"}
_CHOICES = ("tool_call", *_EXPECTED)


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `tools`, `messages` and, if present, `chosen_response`."""
    toolset = tools.read(turns.column(raw, "tools"), flat=True)
    turn_list = messages.listed(raw)
    chosen = raw.get("chosen_response")
    if chosen is not None:
        if not isinstance(chosen, dict):
            raise Rejected("malformed_turns", f"chosen_response is {excerpt(chosen)}")
        turn_list = [*turn_list, chosen]
    conversation = messages.conversation(turn_list)
    for message in conversation:
        if message["role"] == "assistant" and "<TOOLCALL>" in message["content"]:
            content, calls = call_syntaxes.tagged(message["content"], "TOOLCALL")
            message |= {"content": content, "tool_calls": calls}
    return conversation, toolset


def question(raw: Row, row_id: str) -> Row:
    """Convert one question of the test (test/when2call_test_mcq.jsonl) to a canonical row.

    Columns: `uuid`, `question`, `tools` (each the text of a BFCL document), `correct_answer`, which
    is tool_call, direct, request_for_info or cannot_answer, and `answers`, with a text for each of
    them. The text of the correct answer is the gold turn, and its name the category of the row.
    Source: NVIDIA/When2Call README; layout not verified against the Hub.

    Raises:
        Rejected: the row does not follow the layout.
    """
    toolset = tools.read(turns.column(raw, "tools"))
    correct, answers = turns.column(raw, "correct_answer"), turns.column(raw, "answers")
    if correct not in _CHOICES or not isinstance(answers, dict):
        raise Rejected("unknown_layout", f"correct_answer is {excerpt(correct)}")
    answer_text = turns.text(answers.get(correct), f"the answer {correct}")
    answer = turns.assistant(answer_text)
    if correct == "tool_call":
        content, calls = call_syntaxes.tagged(answer_text, "TOOLCALL")
        answer = turns.assistant("", calls or call_syntaxes.literal(content))
    question_text = turns.text(turns.column(raw, "question"), "question")
    row: Row = {
        "id": str(raw.get("uuid") or row_id),
        "category": correct,
        "messages": turns.finished([{"role": "user", "content": question_text}, answer], toolset),
        "tools": list(toolset.tools),
    }
    return row | ({"expects": _EXPECTED[correct]} if correct in _EXPECTED else {})
