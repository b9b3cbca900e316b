r"""Convert rows of Glaive's function-calling sets, in all of their layouts.

Grammar of v2 (glaiveai/glaive-function-calling-v2, columns `system` and `chat`):

    system = "SYSTEM: You are a helpful assistant with access to the following functions. Use them
             if required -" {JSON object}   (objects one after the other, no array)
           | "SYSTEM: You are a helpful assistant, with no access to external functions."
    chat   = {("USER:" | "ASSISTANT:" | "FUNCTION RESPONSE:") text "\n\n\n"}
    text   = of an assistant: [words] {"<functioncall> " call} " <|endoftext|>"
    call   = '{"name": "X", "arguments": ' "'" JSON "'" "}"   (apostrophes inside not escaped)

v1 (glaiveai/glaive-function-calling) is one text column with both parts, single line breaks, line
breaks inside arguments, trailing commas in the functions, and, according to its card, `FUNCTION
CALL:` for a result. v1, togethercomputer's formatted copy and lilacai's ShareGPT copy: layout not
verified against the Hub.
"""

import re
from collections.abc import Iterable

from experiments.data.formats import call_syntaxes, literals, messages, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

END = "<|endoftext|>"
_CALL = "<functioncall>"
_SPEAKER = re.compile("(USER|ASSISTANT|FUNCTION RESPONSE|FUNCTION CALL):")
_REPEATED = re.compile(r"^[ \t\r]*ASSISTANT:", re.MULTILINE)
# After the end of a sentence, the marker may start a turn or be quoted.
_UNCLEAR = re.compile(r"[.!?][\"')]?[ \t]+(?:ASSISTANT|USER|FUNCTION RESPONSE):(?=\s)")
_LEAD_IN = re.compile(r"access to (?:the following|external) functions|<functioncall>")
_ROLES = {
    **dict.fromkeys(("USER", "user", "human"), "user"),
    **dict.fromkeys(("ASSISTANT", "assistant", "gpt"), "assistant"),
    **dict.fromkeys(("function_call", "function-call"), "call"),
    **dict.fromkeys(("FUNCTION RESPONSE", "FUNCTION CALL", "tool", "observation"), "tool"),
    **dict.fromkeys(("function", "function_response", "function-response"), "tool"),
    "system": "system",
}


def v2(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `system` and `chat`."""
    system, toolset = lead_in(turns.text(turns.column(raw, "system"), "column system"))
    chat = turns.text(turns.column(raw, "chat"), "column chat")
    return conversation(system, _cut(chat)), toolset


def v1(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert the single text column (`sample`); layout not verified against the Hub."""
    names = [k for k, v in raw.items() if isinstance(v, str) and k not in ("id", "source")]
    whole = raw["sample"] if "sample" in names else raw[names[0]] if len(names) == 1 else None
    if whole is None:
        raise Rejected("missing_column", f"expected one text column, found {', '.join(raw)}")
    first = next(iter(_turns(whole)), None)
    if first is None:
        raise Rejected("unknown_layout", f"no turns in {excerpt(whole)}")
    system, toolset = lead_in(whole[: first.start()])
    return conversation(system, _cut(whole[first.start() :])), toolset


def sharegpt(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `conversations` whose values have v2's text; layout not verified against the Hub."""
    return _spoken(raw, "conversations")


def formatted(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert whichever of three layouts the row has; layout not verified against the Hub.

    The layouts are: `messages`; `conversations`, with the functions in `function_description` as in
    heegyu's copy; or v2's columns.
    """
    if raw.get("messages") is not None:
        called = isinstance(raw["messages"], list) and any(
            isinstance(m, dict) and m.get("tool_calls") for m in raw["messages"]
        )
        return messages.convert(raw) if called else _spoken(raw, "messages")
    if raw.get("conversations") is not None:
        return _spoken(raw, "conversations")
    if raw.get("chat") is not None:
        return v2(raw)
    raise Rejected(
        "missing_column", f"messages, conversations or chat; the row has {', '.join(raw)}"
    )


def _spoken(raw: Row, name: str) -> tuple[list[Row], Toolset]:
    said = list(turns.spoken(raw, name))
    system, toolset = "", tools.NONE
    if said and said[0][0] == "system":
        system, toolset = lead_in(said.pop(0)[1])
    beside = raw.get("tools") or raw.get("function_description")
    if beside:
        toolset = tools.read(beside)
    return conversation(system, said), toolset


@tools.remembered
def lead_in(text: str) -> tuple[str, Toolset]:
    """Return the system message that remains of a system text, and its tools.

    Raises:
        Rejected: malformed_tools, and the reasons of `tools.of_list`.
    """
    text = turns.ended(text, END).removeprefix("SYSTEM:").strip()
    if not _LEAD_IN.search(text):
        return text, tools.NONE
    try:
        found = literals.objects(text)
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text)}") from None
    return "", tools.of_list(found)


def _cut(chat: str) -> Iterable[tuple[str, str, bool | None]]:
    found = _turns(chat)
    before = chat[: found[0].start()] if found else chat
    if before.strip():
        raise Rejected("unknown_layout", f"text before the first turn: {excerpt(before)}")
    ends = [*(turn.start() for turn in found[1:]), len(chat)]
    return [(turn[1], chat[turn.end() : end], None) for turn, end in zip(found, ends, strict=True)]


def _turns(text: str) -> list[re.Match[str]]:
    """Return the speaker names that begin a line or follow an end-of-turn marker."""
    return [found for found in _SPEAKER.finditer(text) if _begins_turn(text, found.start())]


def _begins_turn(text: str, at: int) -> bool:
    while at and text[at - 1] in " \t\r":
        at -= 1
    return at == 0 or text[at - 1] == "\n" or text.endswith(END, 0, at)


def conversation(system: str, said: Iterable[tuple[str, str, bool | None]]) -> list[Row]:
    """Return the messages for (speaker, text, trained) turns in Glaive's syntax.

    Raises:
        Rejected: unknown_role, malformed_call.
    """
    made: list[Row] = [{"role": "system", "content": system}] if system else []
    for speaker, content, trained in said:
        role = _ROLES.get(speaker)
        text = content.strip() if role == "user" else turns.ended(content, END)
        if role == "assistant":
            made += [turns.marked(assistant(part), trained) for part in _parts(text)]
        elif role == "tool":
            made.append(turns.result(text.removeprefix("FUNCTION RESPONSE:").strip()))
        elif role == "call":
            call = call_syntaxes.glaive(text.removeprefix(_CALL))
            message = turns.assistant("", [call])
            made.append(turns.marked(message, trained))
        elif role is None:
            raise Rejected("unknown_role", f"{speaker!r} is not one of {', '.join(_ROLES)}")
        else:
            made.append({"role": role, "content": text})
    return made


def _parts(text: str) -> list[str]:
    """Split an assistant turn where the speaker's name is repeated, as it sometimes is.

    Raises:
        Rejected: leftover_marker.
    """
    if not _SPEAKER.search(text):
        return [text]
    if unclear := _UNCLEAR.search(text):
        raise Rejected("leftover_marker", f"mid-line: {excerpt(unclear[0])}")
    return [part for part in _REPEATED.split(text) if part.strip()] or [""]


def assistant(text: str) -> Row:
    """Return an assistant message: the text before the first `<functioncall>`, and the calls."""
    before, *payloads = text.split(_CALL)
    return turns.assistant(before.strip(), call_syntaxes.glaive_all(payloads, _CALL))
