"""Classify the characters and tokens of an assistant turn by what they express.

A falling loss does not tell what was learned, so every trained token is assigned to one class:

- `function_name`, `argument_name`, `argument_value`: inside a call or a JSON answer; in the latter,
  keys are argument names and values are argument values;
- `json_syntax`: the rest of a call: braces, quotes, the keys `name` and `arguments`, tags;
- `prose`: everything else, thinking included;
- `end_of_turn`: the token that ends the turn.

A call is recognised as an object with `name` and `arguments` (or `parameters`), so it does not
matter how a template wraps it. A token that spans several classes gets the class of most of its
characters; in a tie, a class other than syntax is preferred.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

CLASSES = (
    *("function_name", "argument_name", "argument_value"),
    *("json_syntax", "prose", "end_of_turn"),
)
_TAG = re.compile(r"</?[A-Za-z_]*(?:tool_call|tool_calls|function_call|TOOLCALL)>|\{")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_COLON = re.compile(r"\s*:")
_DECODER = json.JSONDecoder()


def of_characters(text: str, *, is_json: bool = False) -> list[str]:
    """Return the class of every character.

    >>> classes = of_characters('Yes {"name": "f", "arguments": {"x": 12}}')
    >>> "".join(c[0] if c != "argument_value" else "v" for c in classes)
    'ppppjjjjjjjjjjfjjjjjjjjjjjjjjjjjjajjjvvjj'

    Args:
        text: an assistant turn without its end token.
        is_json: whether any object in it is the answer, as in rows with a schema.
    """
    classes = ["prose"] * len(text)
    position = 0
    while match := _TAG.search(text, position):
        start, position = match.span()
        if match[0] != "{":
            classes[start:position] = ["json_syntax"] * (position - start)
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        is_call = "name" in value and bool({"arguments", "parameters"} & set(value))
        if is_call or is_json:
            classes[start:end] = _ObjectClassifier(text[start:end], call=is_call).classes()
            position = end
    _classify_gaps(text, classes)
    return classes


def of_tokens(text: str, offsets: Sequence[tuple[int, int]], *, is_json: bool = False) -> list[str]:
    """Return the class of every token of a turn.

    Args:
        text: as in `of_characters`.
        offsets: (start, exclusive end) character positions of each token; an empty span (a token
            that is part of a character) gets the class of the character at its position.
        is_json: as in `of_characters`.
    """
    classes = of_characters(text, is_json=is_json)
    token_classes = []
    for start, end in offsets:
        character_classes = classes[start:end] or classes[max(0, start - 1) : start] or ["prose"]
        counts = Counter(character_classes)
        token_classes.append(max(counts, key=lambda name: (counts[name], name != "json_syntax")))
    return token_classes


@dataclass
class _ObjectClassifier:
    """Classifies the characters of one JSON object, which is known to be valid."""

    text: str
    call: bool
    open: list[str] = field(default_factory=list)
    """Open brackets, each `{` or `[`."""
    top_key: str = ""

    def classes(self) -> list[str]:
        character_classes = ["json_syntax"] * len(self.text)
        for match in _TOKEN.finditer(self.text):
            token, (start, end) = match[0], match.span()
            if token in "{[":
                self.open.append(token)
            elif token in "}]":
                self.open.pop()
            elif token not in ",:":
                name = self._token_class(token, is_key=self._precedes_colon(match))
                bounds = (start + 1, end - 1) if token.startswith('"') else (start, end)
                character_classes[slice(*bounds)] = [name] * (bounds[1] - bounds[0])
        return character_classes

    def _precedes_colon(self, match: re.Match[str]) -> bool:
        return self.open[-1] == "{" and _COLON.match(self.text, match.end()) is not None

    def _token_class(self, token: str, *, is_key: bool) -> str:
        if not self.call:
            return "argument_name" if is_key else "argument_value"
        if len(self.open) == 1:
            if is_key:
                self.top_key = token.strip('"')
                return "json_syntax"
            return "function_name" if self.top_key == "name" else "argument_value"
        if self.top_key not in ("arguments", "parameters"):
            return "json_syntax"
        return "argument_name" if is_key else "argument_value"


def _classify_gaps(text: str, classes: list[str]) -> None:
    """Classify white space between a tag and its call, or at the end of a tag, as syntax."""
    for match in re.finditer(r"\s+", text):
        start, end = match.span()
        before = classes[start - 1] if start else "prose"
        after = classes[end] if end < len(text) else before
        if before == after == "json_syntax":
            classes[start:end] = ["json_syntax"] * (end - start)
