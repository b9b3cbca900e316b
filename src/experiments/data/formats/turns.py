"""Messages as a format read them -> the messages of a canonical row, merged, named and audited.

The same rules for every format: assistant turns in a row are one turn, each tool result is named
after the call it answers, and a row that breaks a rule of `audit` is rejected, never mended. Text
of a user, a system or a tool message is text, whatever it looks like.
"""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from experiments.data.formats import literals
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Signature, Toolset

_MARKERS = re.compile(
    r"</?(?:functioncall|tool_call|tool_response|TOOLCALL|think)>|<\|(?:endoftext|im_start|im_end)\|>"
)
_WORDS = "FUNCTION RESPONSE:"


def text(value: Any, what: str) -> str:
    """Return a text, or reject the row.

    Raises:
        Rejected: not_text.
    """
    if not isinstance(value, str):
        raise Rejected("not_text", f"{what} is {excerpt(value)}")
    return value


def column(raw: Row, *names: str) -> Any:
    """Return the first of the named columns that the row has.

    Raises:
        Rejected: missing_column.
    """
    for name in names:
        if raw.get(name) is not None:
            return raw[name]
    wanted = "' or '".join(names)
    has = excerpt(", ".join(map(str, raw)), limit=120)
    raise Rejected("missing_column", f"no column '{wanted}', or nothing in it; the row has {has}")


def spoken(raw: Row, *names: str) -> Iterable[tuple[str, str]]:
    """Yield (role, text) of each turn, from `from`/`value` or `role`/`content`.

    Args:
        raw: the row.
        *names: columns that may hold the turns.

    Raises:
        Rejected: missing_column, malformed_turns, not_text.
    """
    turns = column(raw, *names)
    if not isinstance(turns, list):
        raise Rejected("malformed_turns", f"no list: {excerpt(turns)}")
    for turn in turns:
        if not isinstance(turn, dict):
            raise Rejected("malformed_turns", f"no object: {excerpt(turn)}")
        by = turn.get("role") if turn.get("from") is None else turn["from"]
        said = turn.get("content") if turn.get("value") is None else turn["value"]
        yield str(by), text(said, f"a turn by {by!r}")


def assistant(content: str, tool_calls: list[Row] | None = None) -> Row:
    """Return an assistant's message; `<think>...</think>` before its text becomes its reasoning."""
    message: Row = {"role": "assistant", "content": content}
    if content.lstrip().startswith("<think>"):
        thought, closed, said = content.lstrip().removeprefix("<think>").partition("</think>")
        if closed:
            message["content"] = said.strip()
            if thought.strip():
                message["reasoning_content"] = thought.strip()
    if tool_calls:
        message["tool_calls"] = tool_calls
    return message


def result(content: str, name: str = "") -> Row:
    """Return a tool's message; without a name, `finished` names it after the call it answers."""
    return {"role": "tool", "name": name, "content": content}


def merged(messages: Iterable[Row]) -> list[Row]:
    """Join the assistant's turns that follow each other; texts are joined by a line break."""
    joined: list[Row] = []
    for role, group in itertools.groupby(messages, key=lambda message: message["role"]):
        first, *more = group
        joined += [_one(first, more)] if more and role == "assistant" else [first, *more]
    return joined


def _one(first: Row, more: list[Row]) -> Row:
    """Return one message for several turns of the assistant."""
    whole = dict(first)
    for key in ("content", "reasoning_content"):
        texts = [message[key] for message in (first, *more) if message.get(key)]
        if texts:
            whole[key] = "\n".join(texts)
    called = [call for message in (first, *more) for call in message.get("tool_calls") or []]
    return whole | ({"tool_calls": called} if called else {})


def finished(messages: Iterable[Row], toolset: Toolset) -> list[Row]:
    """Merge, name, audit, and cut what follows the last assistant turn: nothing is trained there.

    Raises:
        Rejected: the row breaks a rule of the audit.
    """
    whole = merged(messages)
    audit(whole, toolset)
    while whole and whole[-1]["role"] != "assistant":
        whole.pop()
    if not whole:
        raise Rejected("no_assistant_turn", "nobody answers")
    return whole


def audit(messages: list[Row], toolset: Toolset) -> None:
    """Reject the row if a turn breaks a rule; tool results are named after their call.

    Raises:
        Rejected: empty_turn, leftover_marker, call_before_user, tool_result_without_call, the
            reasons of calls, and those of texts that cannot be tokenised.
    """
    user_spoke = False
    waiting: list[str] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if reason := literals.text_fault(content):
            raise Rejected(reason, f"in a turn by the {role}")
        if role == "tool":
            message["name"] = _answered(message, waiting)
            continue
        waiting = []
        if role == "user":
            user_spoke = True
            if not content.strip():
                raise Rejected("empty_turn", "a user turn without text")
        elif role == "assistant":
            called = message.get("tool_calls") or []
            _check_said(message)
            if called and not user_spoke:
                raise Rejected("call_before_user", excerpt(called[0]["function"]["name"]))
            for call in called:
                _check_call(call["function"], toolset.signatures)
            waiting = [call["function"]["name"] for call in called]


def _answered(message: Row, waiting: list[str]) -> str:
    """Return the name of the call a tool result answers, and take it off the waiting ones."""
    name = message.get("name") or (waiting[0] if waiting else None)
    if name not in waiting:
        raise Rejected(
            "tool_result_without_call",
            f"calls without a result before it: {waiting}; its name: {message.get('name')!r}",
        )
    waiting.remove(name)
    return str(name)


def _check_said(message: Row) -> None:
    content = message["content"]
    if not content.strip() and not message.get("tool_calls"):
        raise Rejected("empty_turn", "an assistant turn without text and calls")
    marker = _MARKERS.search(content) if "<" in content else None
    if marker or _WORDS in content:
        at = marker.start() if marker else content.find(_WORDS)
        raise Rejected("leftover_marker", excerpt(content[at:]))
    if reason := literals.text_fault(message.get("reasoning_content", "")):
        raise Rejected(reason, "in an assistant's reasoning")


def _check_call(function: Row, signatures: dict[str, Signature]) -> None:
    name, arguments = function["name"], function["arguments"]
    signature = signatures.get(name)
    if signature is None:
        raise Rejected("unknown_function", f"{name!r} is not among {list(signatures)[:8]}")
    for required in signature.required:
        if required not in arguments:
            raise Rejected("missing_required_argument", f"{name} is called without {required!r}")
    if signature.known is not None and not signature.known.issuperset(arguments):
        extra = sorted(set(arguments) - signature.known)
        raise Rejected("unknown_argument", f"{name} has no {extra[0]!r}")
    if reason := literals.fault(arguments):
        raise Rejected(reason, f"in the arguments of {name}")
