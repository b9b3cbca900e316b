"""Convert rows of Team-ACE/ToolACE; layout not verified against the Hub.

Columns are `system` and `conversations` of {from, value} by user, assistant and tool. The system
text ends in "Here is a list of functions in JSON format that you can invoke:" and a JSON array with
types such as "dict". Assistant calls look like `[Market Trends API(trend_type="MARKET_INDEXES")]`.
A tool turn is a JSON array of `{"name": ..., "results": ...}` with one element per call. Names
outside `[a-zA-Z0-9_-]{1,64}` are converted, in tools and calls alike. Source: the data set's card
and public code that reads it.
"""

import json
import re
from collections.abc import Iterable

from experiments.data.formats import call_syntaxes, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_LIST = re.compile(r"\[\s*+\{")
_EMPTY_LIST = re.compile(r"can invoke:\s*+\[\s*+\]")
_RESULT = re.compile(
    r'\{\s*"name"\s*:\s*"(?:[^"\\]|\\.)*+"\s*,\s*"results?"\s*:\s*(.*\S)\s*\}', re.DOTALL
)
_CALL_OPENING = re.compile(r"""\[([^\[\](){}"'=,\n]+)\(""")
# Text before a call that is mentioned in a sentence: no line break, no end of a sentence.
_IN_SENTENCE = re.compile(r"[^\s.!?:;\])][ \t]*\Z")
_BETWEEN = re.compile(r"[\s,]*+")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_INVALID_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]+")


def slug(name: str) -> str:
    """Convert a name to at most 64 letters, digits, `_` and `-`, as chat templates require.

    >>> slug("/madlibs-diceware"), slug("Market Trends API")
    ('madlibs-diceware', 'Market_Trends_API')
    """
    return _INVALID_CHARACTERS.sub("_", name).strip("_")[:64] or "_"


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `system` and `conversations`."""
    text = turns.text(turns.column(raw, "system"), "column system")
    return conversation(text, turns.spoken(raw, "conversations"))


def conversation(
    text: str, spoken_turns: Iterable[tuple[str, str, bool | None]]
) -> tuple[list[Row], Toolset]:
    """Convert a system text and (speaker, text, trained) turns.

    Raises:
        Rejected: unknown_role, and the reasons raised when reading tools and calls and by the
            audit.
    """
    remains, toolset, names = system(text)
    messages: list[Row] = [{"role": "system", "content": text.strip()}] if remains else []
    for speaker, content, trained in spoken_turns:
        if speaker == "tool":
            messages += results(content)
        elif speaker not in _ROLES:
            raise Rejected("unknown_role", f"{speaker!r} is not one of user, assistant, tool")
        elif _ROLES[speaker] == "user":
            messages.append({"role": "user", "content": content.strip()})
        else:
            messages.append(turns.marked(assistant(content, names), trained))
    return messages, toolset


@tools.remembered
def system(text: str) -> tuple[bool, Toolset, frozenset[str]]:
    """Return whether a system text remains as a message, its tools, and their original names.

    Raises:
        Rejected: malformed_tools, duplicate_tool_name.
    """
    opening = _LIST.search(text)
    if opening is None:
        return bool(text.strip()) and not _EMPTY_LIST.search(text), tools.NONE, frozenset()
    try:
        tool_list, _ = json.JSONDecoder().raw_decode(text, opening.start())
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text[opening.start() :])}") from None
    toolset = tools.of_list(tool_list, rename=slug)
    original_names = {str((item.get("function") or item)["name"]) for item in tool_list}
    return False, toolset, frozenset(original_names)


def assistant(text: str, names: frozenset[str]) -> Row:
    """Return an assistant message: the text before the bracketed calls, and the calls.

    Args:
        text: the turn.
        names: original names of the offered tools. A bracket that starts with one of them outside
            of a sentence is a call and must be valid; any other bracket that is not a valid call is
            text.

    Raises:
        Rejected: malformed_call, text_after_call, leftover_marker.
    """
    message = turns.assistant(text.strip())
    content = message["content"]
    starts = [
        match.start() for match in _CALL_OPENING.finditer(content) if match[1].strip() in names
    ]
    start = next(
        (candidate for candidate in starts if not _IN_SENTENCE.search(content, 0, candidate)), None
    )
    if start is None and starts:
        return _check_quoted_calls(message, starts[0])
    if start is None:
        if any(content.startswith(f"{name}(") for name in names):
            raise Rejected("malformed_call", f"a call without brackets: {excerpt(content)}")
        return _unoffered_calls(message)
    end = call_syntaxes.closing(content, start) + 1
    calls = call_syntaxes.bracket(content[start:end], slug)
    if content[end:].strip():
        raise Rejected("text_after_call", f"after the calls: {excerpt(content[end:].strip())}")
    return message | {"content": content[:start].strip(), "tool_calls": calls}


def _check_quoted_calls(message: Row, start: int) -> Row:
    """Return a turn that mentions calls inside a sentence as plain text.

    Raises:
        Rejected: leftover_marker if the text ends with them, like a turn with real calls.
    """
    content = message["content"]
    if content.endswith(")]"):
        raise Rejected("leftover_marker", f"a call inside a sentence: {excerpt(content[start:])}")
    return message


def _unoffered_calls(message: Row) -> Row:
    """Parse a turn that consists only of calls, even of tools that are not offered."""
    content = message["content"]
    if content.startswith("[") and content.endswith(")]"):
        try:
            return message | {"content": "", "tool_calls": call_syntaxes.bracket(content, slug)}
        except Rejected:
            pass  # a text in brackets
    return message


def results(text: str) -> list[Row]:
    """Return one tool message per element of a tool turn, its `results` verbatim.

    A turn that is not such an array becomes one message unchanged.
    """
    text = text.strip()
    decoder, parts, position = json.JSONDecoder(), [], 1
    while text.startswith("[") and text.endswith("]"):
        separator = _BETWEEN.match(text, position)
        assert separator is not None, "the pattern matches the empty text"
        position = separator.end()
        try:
            value, end = decoder.raw_decode(text, position)
        except ValueError:
            break
        match = _RESULT.fullmatch(text, position, end)
        if match is None or not isinstance(value, dict):
            break
        parts.append(turns.result(match[1]))
        position = end
    complete = bool(parts) and position == len(text) - 1
    return parts if complete else [turns.result(text)]
