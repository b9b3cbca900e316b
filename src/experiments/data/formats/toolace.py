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
_OPENING = re.compile(r"""\[([^\[\](){}"'=,\n]+)\(""")
# Text before a call that is mentioned in a sentence: no line break, no end of a sentence.
_IN_SENTENCE = re.compile(r"[^\s.!?:;\])][ \t]*\Z")
_BETWEEN = re.compile(r"[\s,]*+")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_UNFIT = re.compile(r"[^a-zA-Z0-9_-]+")


def slug(name: str) -> str:
    """Convert a name to at most 64 letters, digits, `_` and `-`, as chat templates require.

    >>> slug("/madlibs-diceware"), slug("Market Trends API")
    ('madlibs-diceware', 'Market_Trends_API')
    """
    return _UNFIT.sub("_", name).strip("_")[:64] or "_"


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `system` and `conversations`."""
    text = turns.text(turns.column(raw, "system"), "column system")
    return conversation(text, turns.spoken(raw, "conversations"))


def conversation(
    text: str, said: Iterable[tuple[str, str, bool | None]]
) -> tuple[list[Row], Toolset]:
    """Convert a system text and (speaker, text, trained) turns.

    Raises:
        Rejected: unknown_role, and the reasons raised when reading tools and calls and by the
            audit.
    """
    stays, toolset, names = system(text)
    made: list[Row] = [{"role": "system", "content": text.strip()}] if stays else []
    for speaker, content, trained in said:
        if speaker == "tool":
            made += results(content)
        elif speaker not in _ROLES:
            raise Rejected("unknown_role", f"{speaker!r} is not one of user, assistant, tool")
        elif _ROLES[speaker] == "user":
            made.append({"role": "user", "content": content.strip()})
        else:
            made.append(turns.marked(assistant(content, names), trained))
    return made, toolset


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
        listed, _ = json.JSONDecoder().raw_decode(text, opening.start())
    except ValueError as error:
        raise Rejected("malformed_tools", f"{error}: {excerpt(text[opening.start() :])}") from None
    toolset = tools.of_list(listed, rename=slug)
    written = {str((item.get("function") or item)["name"]) for item in listed}
    return False, toolset, frozenset(written)


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
    offered = [o.start() for o in _OPENING.finditer(content) if o[1].strip() in names]
    start = next((at for at in offered if not _IN_SENTENCE.search(content, 0, at)), None)
    if start is None and offered:
        return _quoted(message, offered[0])
    if start is None:
        if any(content.startswith(f"{name}(") for name in names):
            raise Rejected("malformed_call", f"a call without brackets: {excerpt(content)}")
        return _unoffered(message)
    end = call_syntaxes.closing(content, start) + 1
    found = call_syntaxes.bracket(content[start:end], slug)
    if content[end:].strip():
        raise Rejected("text_after_call", f"after the calls: {excerpt(content[end:].strip())}")
    return message | {"content": content[:start].strip(), "tool_calls": found}


def _quoted(message: Row, start: int) -> Row:
    """Return a turn that mentions calls inside a sentence as plain text.

    Raises:
        Rejected: leftover_marker if the text ends with them, like a turn with real calls.
    """
    content = message["content"]
    if content.endswith(")]"):
        raise Rejected("leftover_marker", f"a call inside a sentence: {excerpt(content[start:])}")
    return message


def _unoffered(message: Row) -> Row:
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
    decoder, parts, at = json.JSONDecoder(), [], 1
    while text.startswith("[") and text.endswith("]"):
        between = _BETWEEN.match(text, at)
        assert between is not None, "the pattern matches the empty text"
        at = between.end()
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            break
        part = _RESULT.fullmatch(text, at, end)
        if part is None or not isinstance(value, dict):
            break
        parts.append(turns.result(part[1]))
        at = end
    whole = bool(parts) and at == len(text) - 1
    return parts if whole else [turns.result(text)]
