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
_REPEATED_SPEAKER = re.compile(r"^[ \t\r]*ASSISTANT:", re.MULTILINE)
# After the end of a sentence, the marker may start a turn or be quoted.
_AMBIGUOUS_MARKER = re.compile(r"[.!?][\"')]?[ \t]+(?:ASSISTANT|USER|FUNCTION RESPONSE):(?=\s)")
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
    return conversation(system, _split_turns(chat)), toolset


def v1(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert the single text column (`sample`); layout not verified against the Hub."""
    names = [
        column
        for column, value in raw.items()
        if isinstance(value, str) and column not in ("id", "source")
    ]
    sample = raw["sample"] if "sample" in names else raw[names[0]] if len(names) == 1 else None
    if sample is None:
        raise Rejected("missing_column", f"expected one text column, found {', '.join(raw)}")
    first_turn = next(iter(_turns(sample)), None)
    if first_turn is None:
        raise Rejected("unknown_layout", f"no turns in {excerpt(sample)}")
    system, toolset = lead_in(sample[: first_turn.start()])
    return conversation(system, _split_turns(sample[first_turn.start() :])), toolset


def sharegpt(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `conversations` whose values have v2's text; layout not verified against the Hub."""
    return _from_turns(raw, "conversations")


def formatted(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert whichever of three layouts the row has; layout not verified against the Hub.

    The layouts are: `messages`; `conversations`, with the functions in `function_description` as in
    heegyu's copy; or v2's columns.
    """
    if raw.get("messages") is not None:
        has_calls = isinstance(raw["messages"], list) and any(
            isinstance(message, dict) and message.get("tool_calls") for message in raw["messages"]
        )
        return messages.convert(raw) if has_calls else _from_turns(raw, "messages")
    if raw.get("conversations") is not None:
        return _from_turns(raw, "conversations")
    if raw.get("chat") is not None:
        return v2(raw)
    raise Rejected(
        "missing_column", f"messages, conversations or chat; the row has {', '.join(raw)}"
    )


def _from_turns(raw: Row, name: str) -> tuple[list[Row], Toolset]:
    spoken_turns = list(turns.spoken(raw, name))
    system, toolset = "", tools.NONE
    if spoken_turns and spoken_turns[0][0] == "system":
        system, toolset = lead_in(spoken_turns.pop(0)[1])
    tools_column = raw.get("tools") or raw.get("function_description")
    if tools_column:
        toolset = tools.read(tools_column)
    return conversation(system, spoken_turns), toolset


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
        tool_objects = literals.objects(text)
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text)}") from None
    return "", tools.of_list(tool_objects)


def _split_turns(chat: str) -> Iterable[tuple[str, str, bool | None]]:
    turn_matches = _turns(chat)
    text_before = chat[: turn_matches[0].start()] if turn_matches else chat
    if text_before.strip():
        raise Rejected("unknown_layout", f"text before the first turn: {excerpt(text_before)}")
    ends = [*(turn.start() for turn in turn_matches[1:]), len(chat)]
    return [
        (turn[1], chat[turn.end() : end], None)
        for turn, end in zip(turn_matches, ends, strict=True)
    ]


def _turns(text: str) -> list[re.Match[str]]:
    """Return the speaker names that begin a line or follow an end-of-turn marker."""
    return [match for match in _SPEAKER.finditer(text) if _begins_turn(text, match.start())]


def _begins_turn(text: str, index: int) -> bool:
    while index and text[index - 1] in " \t\r":
        index -= 1
    return index == 0 or text[index - 1] == "\n" or text.endswith(END, 0, index)


def conversation(system: str, spoken_turns: Iterable[tuple[str, str, bool | None]]) -> list[Row]:
    """Return the messages for (speaker, text, trained) turns in Glaive's syntax.

    Raises:
        Rejected: unknown_role, malformed_call.
    """
    converted: list[Row] = [{"role": "system", "content": system}] if system else []
    for speaker, content, trained in spoken_turns:
        role = _ROLES.get(speaker)
        text = content.strip() if role == "user" else turns.ended(content, END)
        if role == "assistant":
            converted += [turns.marked(assistant(part), trained) for part in _parts(text)]
        elif role == "tool":
            converted.append(turns.result(text.removeprefix("FUNCTION RESPONSE:").strip()))
        elif role == "call":
            call = call_syntaxes.glaive(text.removeprefix(_CALL))
            message = turns.assistant("", [call])
            converted.append(turns.marked(message, trained))
        elif role is None:
            raise Rejected("unknown_role", f"{speaker!r} is not one of {', '.join(_ROLES)}")
        else:
            converted.append({"role": role, "content": text})
    return converted


def _parts(text: str) -> list[str]:
    """Split an assistant turn where the speaker's name is repeated, as it sometimes is.

    Raises:
        Rejected: leftover_marker.
    """
    if not _SPEAKER.search(text):
        return [text]
    if ambiguous := _AMBIGUOUS_MARKER.search(text):
        raise Rejected("leftover_marker", f"mid-line: {excerpt(ambiguous[0])}")
    return [part for part in _REPEATED_SPEAKER.split(text) if part.strip()] or [""]


def assistant(text: str) -> Row:
    """Return an assistant message: the text before the first `<functioncall>`, and the calls."""
    before, *payloads = text.split(_CALL)
    return turns.assistant(before.strip(), call_syntaxes.glaive_all(payloads, _CALL))
