"""Parse the calls of an assistant turn strictly, in the format of its model's chat template."""

import re
from dataclasses import dataclass, field
from typing import Any

from experiments.toolcalls.parser import bodies, response_template
from experiments.toolcalls.parser.answer import Answer
from experiments.toolcalls.parser.argument_values import after_blanks, load_json
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import MARKS, CallForm

THINK, END_THINK = "<think>", "</think>"
# Maximum number of positions tried as the start of unmarked calls.
_MAX_STARTS = 32
_JSON_CALL = re.compile(
    r"""\[?\s*\{\s*["']?(?:name|function|tool_name|type|id|arguments|parameters)["']?\s*:"""
)
_PYTHON_CALL = re.compile(r"\[\s*[A-Za-z_][\w.]*\(")
_CALL_KEYS = {"arguments", "parameters"}


def read(text: str, form: CallForm, tools: Tools) -> Answer:
    """Parse a turn in a format; never raises."""
    answer_text, defects = after_thinking(text)
    if defects:
        return Answer(malformed=True, defects=tuple(defects))
    if form.body == "response_template":
        return response_template.read(answer_text, form, tools)
    turn = _Turn(answer_text, form, tools)
    turn.read_bare() if form.bare else turn.read_marked()
    return turn.answer()


def after_thinking(text: str) -> tuple[str, list[str]]:
    """Remove the thinking, up to its last end tag; unclosed thinking leaves an empty text."""
    answer_text = text.rpartition(END_THINK)[2]
    if THINK in answer_text:
        return "", ["unclosed thinking"]
    return answer_text, []


@dataclass
class _Turn:
    answer_text: str
    form: CallForm
    tools: Tools
    calls: list[Call] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    blocks: int = 0

    def answer(self) -> Answer:
        content = "".join(self.prose).strip()
        closing_markers = (self.form.after.strip(), self.form.end.strip())
        if any(marker and marker in content for marker in closing_markers):
            self.defects.append("stray tag")
        elif not self.defects and any(marker in content for marker in MARKS):
            self.defects.append("tag of another form")
        if self.blocks > 1 and not self.form.several:
            self.defects.append("several calls")
        if self.calls and content and not self.form.text:
            self.defects.append("text beside a call")
        defects = tuple(dict.fromkeys(self.defects))
        return Answer(self.calls, content, bool(defects), defects)

    def read_marked(self) -> None:
        """Parse calls between markers, at any position in the text."""
        form = self.form
        opening = form.start.strip() or form.before.strip()
        position = 0
        while (marker_index := self.answer_text.find(opening, position)) >= 0:
            self.prose.append(self.answer_text[position:marker_index])
            position = (
                self._read_section(marker_index + len(opening))
                if form.start.strip()
                else self._call(marker_index)
            )
        text_after = self.answer_text[position:]
        if position and text_after.strip() and not (form.after + form.end).strip():
            self.defects.append("text after a call")  # only its body ends a call
        self.prose.append(text_after)

    def _call(self, start: int) -> int:
        """Parse one call with its markers; return the index after it."""
        form = self.form
        end = self._marked_call(start)
        if end is not None:
            return end
        return self._skip_broken_call(start + len(form.before.strip()), form.after.strip())

    def _marked_call(self, start: int) -> int | None:
        form = self.form
        before, after = form.before.strip(), form.after.strip()
        start = after_blanks(self.answer_text, start)
        if not self.answer_text.startswith(before, start):
            return None
        parsed = bodies.read(self.answer_text, start + len(before), form, self.tools)
        if parsed is None:
            return None
        calls, end = parsed
        after_index = after_blanks(self.answer_text, end)
        if not self.answer_text.startswith(after, after_index):
            return None
        self.calls += calls
        self.blocks += 1
        return after_index + len(after) if after else end

    def _read_section(self, position: int) -> int:
        """Parse all calls between `start` and `end`; return the index after them."""
        form = self.form
        between, closing_marker = form.between.strip(), form.end.strip()
        while (end := self._marked_call(position)) is not None:
            position = end
            next_position = after_blanks(self.answer_text, position)
            if closing_marker and self.answer_text.startswith(closing_marker, next_position):
                return next_position + len(closing_marker)
            if between:
                if not self.answer_text.startswith(between, next_position):
                    break
                position = next_position + len(between)
            elif not form.before.strip():
                break
        if end is not None and not closing_marker:
            return position
        return self._skip_broken_call(position, closing_marker)

    def _skip_broken_call(self, start: int, closing_marker: str) -> int:
        """Record a broken call; return the index after its closing marker, or the text's end."""
        end = self.answer_text.find(closing_marker, start) if closing_marker else -1
        self.defects.append("not a call" if end >= 0 else "unclosed tag")
        return end + len(closing_marker) if end >= 0 else len(self.answer_text)

    def read_bare(self) -> None:
        """Parse an answer that consists of calls only, or of text followed by calls."""
        answer_text = self.answer_text.strip()
        if self.tools is not None and not self.tools:
            self.prose.append(answer_text)  # without tools, an object is an answer
            return
        if self._calls_up_to_end(answer_text, 0):
            return
        pattern = _PYTHON_CALL if self.form.body == "python" else _JSON_CALL
        starts = (
            [match.start() for match in pattern.finditer(answer_text)][:_MAX_STARTS]
            if self.form.text
            else []
        )
        for start in starts:
            if self._calls_up_to_end(answer_text, start):
                self.prose.append(answer_text[:start])
                return
        if starts or self._looks_like_calls(answer_text):
            self.defects.append("not a call")
        else:
            self.prose.append(answer_text)

    def _calls_up_to_end(self, answer_text: str, position: int) -> bool:
        """Parse calls that extend to the end of the answer; keep none of them if they do not."""
        form, calls, blocks = self.form, [], 0
        between, after = form.between.strip(), (form.after + form.end).strip()
        while parsed := bodies.read(answer_text, position, form, self.tools):
            calls += parsed[0]
            blocks += 1
            position = after_blanks(answer_text, parsed[1])
            if after and answer_text.startswith(after, position):
                position = after_blanks(answer_text, position + len(after))
            if position == len(answer_text):
                self.calls, self.blocks = calls, blocks
                return True
            if not answer_text.startswith(between, position):
                return False
            position += len(between)
        return False

    def _looks_like_calls(self, answer_text: str) -> bool:
        if self.form.body == "python":
            return bool(_PYTHON_CALL.match(answer_text))
        if not _JSON_CALL.match(answer_text):
            return False
        value = load_json(answer_text)
        value = value[0] if isinstance(value, list) and value else value
        # A complete object without arguments is a JSON answer, such as {"name": "Ada"}.
        return (
            not isinstance(value, dict) or bool(_CALL_KEYS & value.keys()) or _wraps_function(value)
        )


def _wraps_function(value: dict[str, Any]) -> bool:
    return isinstance(value.get("function"), dict)
