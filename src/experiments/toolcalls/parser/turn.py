"""Parse the calls of an assistant turn strictly, in the format of its model's chat template."""

import re
from dataclasses import dataclass, field
from typing import Any

from experiments.toolcalls.parser import bodies
from experiments.toolcalls.parser.argument_values import after_blanks, load_json
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import MARKS, CallForm

THINK, END_THINK = "<think>", "</think>"
# Maximum number of positions tried as the start of unmarked calls.
_MOST_PLACES = 32
_JSON_CALL = re.compile(
    r"""\[?\s*\{\s*["']?(?:name|function|tool_name|type|id|arguments|parameters)["']?\s*:"""
)
_PYTHON_CALL = re.compile(r"\[\s*[A-Za-z_][\w.]*\(")
_CALL_KEYS = {"arguments", "parameters"}


@dataclass(frozen=True)
class Answer:
    """The parsed content of an assistant turn."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """Calls `{"name": str, "arguments": dict}` in text order."""
    content: str = ""
    """Text outside of the calls and after the thinking, stripped."""
    malformed: bool = False
    """Whether a tag is unclosed or stray, contains no valid call, or the thinking does not end."""
    defects: tuple[str, ...] = ()
    """Unique names of broken or accepted defects: `unclosed tag`, `not a call`, ..."""


def read(text: str, form: CallForm, tools: Tools) -> Answer:
    """Parse a turn in a format; never raises."""
    said, defects = after_thinking(text)
    if defects:
        return Answer(malformed=True, defects=tuple(defects))
    if form.body == "response_template":
        from experiments.toolcalls.parser import response_template

        return response_template.read(said, form, tools)
    turn = _Turn(said, form, tools)
    turn.read_bare() if form.bare else turn.read_marked()
    return turn.answer()


def after_thinking(text: str) -> tuple[str, list[str]]:
    """Remove the thinking, up to its last end tag; unclosed thinking leaves an empty text."""
    said = text.rpartition(END_THINK)[2]
    if THINK in said:
        return "", ["unclosed thinking"]
    return said, []


@dataclass
class _Turn:
    said: str
    form: CallForm
    tools: Tools
    calls: list[Call] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    blocks: int = 0

    def answer(self) -> Answer:
        content = "".join(self.prose).strip()
        closing = (self.form.after.strip(), self.form.end.strip())
        if any(mark and mark in content for mark in closing):
            self.defects.append("stray tag")
        elif not self.defects and any(mark in content for mark in MARKS):
            self.defects.append("tag of another form")
        if self.blocks > 1 and not self.form.several:
            self.defects.append("several calls")
        if self.calls and content and not self.form.text:
            self.defects.append("text beside a call")
        found = tuple(dict.fromkeys(self.defects))
        return Answer(self.calls, content, bool(found), found)

    def read_marked(self) -> None:
        """Parse calls between markers, at any position in the text."""
        form = self.form
        opening = form.start.strip() or form.before.strip()
        at = 0
        while (found := self.said.find(opening, at)) >= 0:
            self.prose.append(self.said[at:found])
            at = self._section(found + len(opening)) if form.start.strip() else self._call(found)
        rest = self.said[at:]
        if at and rest.strip() and not (form.after + form.end).strip():
            self.defects.append("text after a call")  # only its body ends a call
        self.prose.append(rest)

    def _call(self, at: int) -> int:
        """Parse one call with its markers; return the index after it."""
        form = self.form
        end = self._marked_call(at)
        if end is not None:
            return end
        return self._recover(at + len(form.before.strip()), form.after.strip())

    def _marked_call(self, at: int) -> int | None:
        form = self.form
        before, after = form.before.strip(), form.after.strip()
        at = after_blanks(self.said, at)
        if not self.said.startswith(before, at):
            return None
        found = bodies.read(self.said, at + len(before), form, self.tools)
        if found is None:
            return None
        calls, end = found
        closed = after_blanks(self.said, end)
        if not self.said.startswith(after, closed):
            return None
        self.calls += calls
        self.blocks += 1
        return closed + len(after) if after else end

    def _section(self, at: int) -> int:
        """Parse all calls between `start` and `end`; return the index after them."""
        form = self.form
        between, close = form.between.strip(), form.end.strip()
        while (end := self._marked_call(at)) is not None:
            at = end
            next_at = after_blanks(self.said, at)
            if close and self.said.startswith(close, next_at):
                return next_at + len(close)
            if between:
                if not self.said.startswith(between, next_at):
                    break
                at = next_at + len(between)
            elif not form.before.strip():
                break
        if end is not None and not close:
            return at
        return self._recover(at, close)

    def _recover(self, at: int, close: str) -> int:
        """Record a broken call; return the index after its closing marker, or the text's end."""
        end = self.said.find(close, at) if close else -1
        self.defects.append("not a call" if end >= 0 else "unclosed tag")
        return end + len(close) if end >= 0 else len(self.said)

    def read_bare(self) -> None:
        """Parse an answer that consists of calls only, or of text followed by calls."""
        said = self.said.strip()
        if self.tools is not None and not self.tools:
            self.prose.append(said)  # without tools, an object is an answer
            return
        if self._calls_up_to_end(said, 0):
            return
        opener = _PYTHON_CALL if self.form.body == "python" else _JSON_CALL
        places = [m.start() for m in opener.finditer(said)][:_MOST_PLACES] if self.form.text else []
        for at in places:
            if self._calls_up_to_end(said, at):
                self.prose.append(said[:at])
                return
        if places or self._looks_like_calls(said):
            self.defects.append("not a call")
        else:
            self.prose.append(said)

    def _calls_up_to_end(self, said: str, at: int) -> bool:
        """Parse calls that extend to the end of the answer; keep none of them if they do not."""
        form, calls, blocks = self.form, [], 0
        between, after = form.between.strip(), (form.after + form.end).strip()
        while found := bodies.read(said, at, form, self.tools):
            calls += found[0]
            blocks += 1
            at = after_blanks(said, found[1])
            if after and said.startswith(after, at):
                at = after_blanks(said, at + len(after))
            if at == len(said):
                self.calls, self.blocks = calls, blocks
                return True
            if not said.startswith(between, at):
                return False
            at += len(between)
        return False

    def _looks_like_calls(self, said: str) -> bool:
        if self.form.body == "python":
            return bool(_PYTHON_CALL.match(said))
        if not _JSON_CALL.match(said):
            return False
        value = load_json(said)
        value = value[0] if isinstance(value, list) and value else value
        # A complete object without arguments is a JSON answer, such as {"name": "Ada"}.
        return not isinstance(value, dict) or bool(_CALL_KEYS & value.keys()) or _wraps(value)


def _wraps(value: dict[str, Any]) -> bool:
    return isinstance(value.get("function"), dict)
