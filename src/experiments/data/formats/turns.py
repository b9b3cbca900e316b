"""Merge, name and check the messages of a row, with the same rules for every format.

Consecutive assistant turns become one turn, each tool result gets the name of the call it answers,
and a row that breaks a rule of `audit` is rejected, never repaired. The text of user, system and
tool messages is always plain text, whatever it looks like.
"""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from experiments.data.formats import flags, literals
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Signature, Toolset

_MARKERS = re.compile(
    r"</?(?:functioncall|tool_call|tool_response|TOOLCALL|think)>|<\|im_(?:start|end)\|>"
    # End-of-turn markers; inside a sentence they are quoted.
    r"|(?:\A\s*+|[.!?][\"')]?[ \t]*+)<\|endoftext\|>|<\|endoftext\|>(?=[ \t\r]*+(?:\n|\Z))"
)
_RESPONSE_MARKER = "FUNCTION RESPONSE:"


def text(value: Any, what: str) -> str:
    """Return a value that must be text, or reject the row.

    Raises:
        Rejected: not_text.
    """
    if not isinstance(value, str):
        raise Rejected("not_text", f"{what} is {excerpt(value)}")
    return value


def ended(content: str, end_marker: str) -> str:
    """Return the text of a turn without its end markers."""
    content = content.strip()
    while content.endswith(end_marker):
        content = content.removesuffix(end_marker).rstrip()
    return content


def column(raw: Row, *names: str) -> Any:
    """Return the first of the named columns that has a value.

    Raises:
        Rejected: missing_column.
    """
    for name in names:
        if raw.get(name) is not None:
            return raw[name]
    column_names = "' or '".join(names)
    columns_present = excerpt(", ".join(map(str, raw)), limit=120)
    raise Rejected(
        "missing_column",
        f"no column '{column_names}', or it is empty; the row has {columns_present}",
    )


def spoken(raw: Row, *names: str) -> Iterable[tuple[str, str, bool | None]]:
    """Yield (role, text, trained) for each turn; trained is None if the turn has no flag.

    A turn has `from`/`value` or `role`/`content`, and optionally a flag of `flags`.

    Args:
        raw: the row.
        *names: columns that may contain the turns.

    Raises:
        Rejected: missing_column, malformed_turns, not_text, malformed_flag.
    """
    turns = column(raw, *names)
    if not isinstance(turns, list):
        raise Rejected("malformed_turns", f"not a list: {excerpt(turns)}")
    for turn in turns:
        if not isinstance(turn, dict):
            raise Rejected("malformed_turns", f"not an object: {excerpt(turn)}")
        speaker = turn.get("role") if turn.get("from") is None else turn["from"]
        content = turn.get("content") if turn.get("value") is None else turn["value"]
        yield str(speaker), text(content, f"a turn by {speaker!r}"), flags.trained(turn)


def assistant(content: str, tool_calls: list[Row] | None = None) -> Row:
    """Return an assistant message; a leading `<think>...</think>` becomes its reasoning."""
    message: Row = {"role": "assistant", "content": content}
    if content.lstrip().startswith("<think>"):
        thought, closing_tag, answer = (
            content.lstrip().removeprefix("<think>").partition("</think>")
        )
        if closing_tag:
            message["content"] = answer.strip()
            if thought.strip():
                message["reasoning_content"] = thought.strip()
    if tool_calls:
        message["tool_calls"] = tool_calls
    return message


def marked(message: Row, trained: bool | None) -> Row:
    """Return an assistant message, with `"train": False` if it is not to be trained."""
    return message | {"train": False} if trained is False else message


def asked(message: Row, trained: bool | None) -> Row:
    """Return a user or system message; `"train": True` records a flag, for the counts."""
    return message | {"train": True} if trained else message


def result(content: str, name: str = "") -> Row:
    """Return a tool message; without a name, `finished` sets that of the call it answers."""
    return {"role": "tool", "name": name, "content": content}


def merged(messages: Iterable[Row]) -> list[Row]:
    """Join consecutive assistant turns; their texts are separated by a line break.

    A trained turn is never joined with one that is not trained.
    """
    message_list, previous_role = list(messages), None
    for message in message_list:
        if message["role"] == previous_role == "assistant":
            break
        previous_role = message["role"]
    else:
        return message_list
    joined: list[Row] = []
    for (role, _), group in itertools.groupby(message_list, key=_merge_key):
        first, *more = group
        joined += [_merged_turn(first, more)] if more and role == "assistant" else [first, *more]
    return joined


def _merge_key(message: Row) -> tuple[str, bool]:
    return message["role"], message.get("train", True)


def _merged_turn(first: Row, others: list[Row]) -> Row:
    """Return one message for several assistant turns."""
    turn = dict(first)
    for key in ("content", "reasoning_content"):
        contents = [message[key] for message in (first, *others) if message.get(key)]
        if contents:
            turn[key] = "\n".join(contents)
    calls = [call for message in (first, *others) for call in message.get("tool_calls") or []]
    return turn | ({"tool_calls": calls} if calls else {})


def with_system(raw: Row, messages: list[Row]) -> list[Row]:
    """Put the column `system` before the messages.

    Raises:
        Rejected: not_text; malformed_turns if the messages begin with a different system text.
    """
    system = raw.get("system")
    if system is None or not text(system, "column system").strip():
        return messages
    if messages and messages[0]["role"] == "system":
        if messages[0]["content"].strip() == system.strip():
            return messages
        raise Rejected("malformed_turns", "another system prompt in the column system; keep one")
    return [{"role": "system", "content": system}, *messages]


def finished(messages: Iterable[Row], toolset: Toolset) -> list[Row]:
    """Merge, name and check messages, and drop what follows the last trained turn.

    Raises:
        Rejected: the row breaks a rule of the audit, or none of its turns is trained.
    """
    conversation = merged(messages)
    audit(conversation, toolset)
    if [message for message in conversation if "tool_call_id" in message]:
        conversation = _in_call_order(conversation)
    dropped_answer = False
    while conversation and not (
        conversation[-1]["role"] == "assistant" and conversation[-1].get("train", True)
    ):
        dropped_answer |= conversation.pop()["role"] == "assistant"
    if dropped_answer and not conversation:
        raise Rejected("not_trained", "every answer is flagged as not to be trained")
    if not conversation:
        raise Rejected("no_assistant_turn", "no assistant turn")
    return conversation


def _in_call_order(messages: list[Row]) -> list[Row]:
    """Sort tool results with call ids into the order of the calls."""
    ordered: list[Row] = []
    positions: dict[str, int] = {}
    for role, group in itertools.groupby(messages, key=lambda message: message["role"]):
        group_messages = list(group)
        if role == "assistant":
            calls = group_messages[-1].get("tool_calls") or []
            positions = {call["id"]: index for index, call in enumerate(calls) if "id" in call}
        elif role == "tool" and all(
            result.get("tool_call_id") in positions for result in group_messages
        ):
            group_messages.sort(key=lambda result: positions[result["tool_call_id"]])
        ordered += group_messages
    return ordered


def audit(messages: list[Row], toolset: Toolset) -> None:
    """Reject the row if a turn breaks a rule; set the names of tool results to their call's.

    Raises:
        Rejected: empty_turn, leftover_marker, call_before_user, tool_result_without_call, the
            reasons of calls, and those of texts that cannot be tokenised.
    """
    user_spoke = False
    open_calls: list[Row] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if reason := literals.text_fault(content):
            raise Rejected(reason, f"in a turn with the role {role}")
        if role == "tool":
            message["name"] = _answered(message, open_calls)
            continue
        open_calls = []
        if role == "user":
            user_spoke = True
            if not content.strip():
                raise Rejected("empty_turn", "a user turn without text")
        elif role == "assistant":
            calls = message.get("tool_calls") or []
            _check_content(message)
            if calls and not user_spoke:
                raise Rejected("call_before_user", excerpt(calls[0]["function"]["name"]))
            for call in calls:
                _check_call(call["function"], toolset.signatures)
            open_calls = list(calls)
            if len(calls) > 1:
                _check_ids(calls)


def _check_ids(calls: list[Row]) -> None:
    ids = [call["id"] for call in calls if "id" in call]
    if len(set(ids)) < len(ids):
        raise Rejected("malformed_call", f"two calls in a turn have the same id: {excerpt(ids)}")


def _answered(message: Row, unanswered: list[Row]) -> str:
    """Return the name of the call that a tool result answers, and remove it from the open calls.

    The call is found by the result's id, otherwise by its name, otherwise by its position.
    """
    call_id, name = message.get("tool_call_id"), message.get("name")
    for call in unanswered:
        call_name: str = call["function"]["name"]
        if (call_id is None or call.get("id") == call_id) and (not name or name == call_name):
            unanswered.remove(call)
            return call_name
    open_calls = [(call["function"]["name"], call.get("id")) for call in unanswered]
    raise Rejected(
        "tool_result_without_call",
        f"open calls: {open_calls[:4]}; the result's name: {name!r}, its id: {call_id!r}",
    )


def _check_content(message: Row) -> None:
    content = message["content"]
    if not content.strip() and not message.get("tool_calls"):
        raise Rejected("empty_turn", "an assistant turn without text and calls")
    marker = _MARKERS.search(content) if "<" in content else None
    if marker or _RESPONSE_MARKER in content:
        start = marker.start() if marker else content.find(_RESPONSE_MARKER)
        raise Rejected("leftover_marker", excerpt(content[start:]))
    if reason := literals.text_fault(message.get("reasoning_content", "")):
        raise Rejected(reason, "in an assistant's thinking")


def _check_call(function: Row, signatures: dict[str, Signature]) -> None:
    name, arguments = function["name"], function["arguments"]
    signature = signatures.get(name)
    if signature is None:
        raise Rejected("unknown_function", f"{name!r} is not one of {list(signatures)[:8]}")
    for required in signature.required:
        if required not in arguments:
            raise Rejected("missing_required_argument", f"{name} is called without {required!r}")
    if signature.known is not None and not signature.known.issuperset(arguments):
        unknown = sorted(set(arguments) - signature.known)
        raise Rejected("unknown_argument", f"{name} has no argument {unknown[0]!r}")
    if signature.of_names is not None and (problem := signature.of_names.fault([*arguments])):
        raise Rejected(problem[0], f"{name}: {problem[1]}")
    if reason := literals.fault(arguments):
        raise Rejected(reason, f"in the arguments of {name}")
