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
_WORDS = "FUNCTION RESPONSE:"


def text(value: Any, what: str) -> str:
    """Return a value that must be text, or reject the row.

    Raises:
        Rejected: not_text.
    """
    if not isinstance(value, str):
        raise Rejected("not_text", f"{what} is {excerpt(value)}")
    return value


def ended(said: str, mark: str) -> str:
    """Return the text of a turn without its end markers."""
    said = said.strip()
    while said.endswith(mark):
        said = said.removesuffix(mark).rstrip()
    return said


def column(raw: Row, *names: str) -> Any:
    """Return the first of the named columns that has a value.

    Raises:
        Rejected: missing_column.
    """
    for name in names:
        if raw.get(name) is not None:
            return raw[name]
    wanted = "' or '".join(names)
    has = excerpt(", ".join(map(str, raw)), limit=120)
    raise Rejected("missing_column", f"no column '{wanted}', or it is empty; the row has {has}")


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
        by = turn.get("role") if turn.get("from") is None else turn["from"]
        said = turn.get("content") if turn.get("value") is None else turn["value"]
        yield str(by), text(said, f"a turn by {by!r}"), flags.trained(turn)


def assistant(content: str, tool_calls: list[Row] | None = None) -> Row:
    """Return an assistant message; a leading `<think>...</think>` becomes its reasoning."""
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
    given, before = list(messages), None
    for message in given:
        if message["role"] == before == "assistant":
            break
        before = message["role"]
    else:
        return given
    joined: list[Row] = []
    for (role, _), group in itertools.groupby(given, key=_kind):
        first, *more = group
        joined += [_one(first, more)] if more and role == "assistant" else [first, *more]
    return joined


def _kind(message: Row) -> tuple[str, bool]:
    return message["role"], message.get("train", True)


def _one(first: Row, more: list[Row]) -> Row:
    """Return one message for several assistant turns."""
    whole = dict(first)
    for key in ("content", "reasoning_content"):
        texts = [message[key] for message in (first, *more) if message.get(key)]
        if texts:
            whole[key] = "\n".join(texts)
    called = [call for message in (first, *more) for call in message.get("tool_calls") or []]
    return whole | ({"tool_calls": called} if called else {})


def with_system(raw: Row, messages: list[Row]) -> list[Row]:
    """Put the column `system` before the messages.

    Raises:
        Rejected: not_text; malformed_turns if the messages begin with a different system text.
    """
    said = raw.get("system")
    if said is None or not text(said, "column system").strip():
        return messages
    if messages and messages[0]["role"] == "system":
        if messages[0]["content"].strip() == said.strip():
            return messages
        raise Rejected("malformed_turns", "another system prompt in the column system; keep one")
    return [{"role": "system", "content": said}, *messages]


def finished(messages: Iterable[Row], toolset: Toolset) -> list[Row]:
    """Merge, name and check messages, and drop what follows the last trained turn.

    Raises:
        Rejected: the row breaks a rule of the audit, or none of its turns is trained.
    """
    whole = merged(messages)
    audit(whole, toolset)
    if [message for message in whole if "tool_call_id" in message]:
        whole = _in_order(whole)
    answered = False
    while whole and not (whole[-1]["role"] == "assistant" and whole[-1].get("train", True)):
        answered |= whole.pop()["role"] == "assistant"
    if answered and not whole:
        raise Rejected("not_trained", "every answer is flagged as not to be trained")
    if not whole:
        raise Rejected("no_assistant_turn", "no assistant turn")
    return whole


def _in_order(messages: list[Row]) -> list[Row]:
    """Sort tool results with call ids into the order of the calls."""
    ordered: list[Row] = []
    places: dict[str, int] = {}
    for role, group in itertools.groupby(messages, key=lambda message: message["role"]):
        run = list(group)
        if role == "assistant":
            calls = run[-1].get("tool_calls") or []
            places = {call["id"]: n for n, call in enumerate(calls) if "id" in call}
        elif role == "tool" and all(result.get("tool_call_id") in places for result in run):
            run.sort(key=lambda result: places[result["tool_call_id"]])
        ordered += run
    return ordered


def audit(messages: list[Row], toolset: Toolset) -> None:
    """Reject the row if a turn breaks a rule; set the names of tool results to their call's.

    Raises:
        Rejected: empty_turn, leftover_marker, call_before_user, tool_result_without_call, the
            reasons of calls, and those of texts that cannot be tokenised.
    """
    user_spoke = False
    waiting: list[Row] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if reason := literals.text_fault(content):
            raise Rejected(reason, f"in a turn with the role {role}")
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
            waiting = list(called)
            if len(called) > 1:
                _check_ids(called)


def _check_ids(called: list[Row]) -> None:
    ids = [call["id"] for call in called if "id" in call]
    if len(set(ids)) < len(ids):
        raise Rejected("malformed_call", f"two calls in a turn have the same id: {excerpt(ids)}")


def _answered(message: Row, waiting: list[Row]) -> str:
    """Return the name of the call that a tool result answers, and remove it from the open calls.

    The call is found by the result's id, otherwise by its name, otherwise by its position.
    """
    own, name = message.get("tool_call_id"), message.get("name")
    for call in waiting:
        called: str = call["function"]["name"]
        if (own is None or call.get("id") == own) and (not name or name == called):
            waiting.remove(call)
            return called
    open_calls = [(call["function"]["name"], call.get("id")) for call in waiting]
    raise Rejected(
        "tool_result_without_call",
        f"open calls: {open_calls[:4]}; the result's name: {name!r}, its id: {own!r}",
    )


def _check_said(message: Row) -> None:
    content = message["content"]
    if not content.strip() and not message.get("tool_calls"):
        raise Rejected("empty_turn", "an assistant turn without text and calls")
    marker = _MARKERS.search(content) if "<" in content else None
    if marker or _WORDS in content:
        at = marker.start() if marker else content.find(_WORDS)
        raise Rejected("leftover_marker", excerpt(content[at:]))
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
        extra = sorted(set(arguments) - signature.known)
        raise Rejected("unknown_argument", f"{name} has no argument {extra[0]!r}")
    if signature.of_names is not None and (found := signature.of_names.fault([*arguments])):
        raise Rejected(found[0], f"{name}: {found[1]}")
    if reason := literals.fault(arguments):
        raise Rejected(reason, f"in the arguments of {name}")
