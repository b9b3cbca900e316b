"""Parse the calls of an assistant turn leniently, naming each defect that was accepted."""

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from experiments.toolcalls.parser.answer import Answer
from experiments.toolcalls.parser.argument_values import load_json, load_literal
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import CLOSE, HERMES_TAGS, KNOWN, OPEN, CallForm
from experiments.toolcalls.parser.turn import after_thinking
from experiments.toolcalls.parser.turn import read as read_strictly


def read(text: str, tool_names: Collection[str], form: CallForm, tools: Tools) -> Answer:
    """Parse a turn in its format, else in any known one; see `parse.parse_tolerant`."""
    if form.name == HERMES_TAGS.name:
        answer = _tagged(text, tool_names)
        return (
            answer if answer.calls or answer.malformed else _in_known_form(answer, text, tool_names)
        )
    strict = read_strictly(text, form, tools)
    if strict.calls and not strict.malformed:
        return strict
    unmarked_text = _without_markers(text, form)
    for answer in (_tagged(text, tool_names), _tagged(unmarked_text, tool_names)):
        if answer.calls and not answer.malformed and _all_offered(answer.calls, tool_names):
            return _accepted(answer, "another form")
    # Try the format without its markers, since the last of them may be missing.
    unmarked_form = dataclasses.replace(form, start="", before="", after="", end="", text=False)
    if form.body == "python" or (form.body == "json" and not form.bare):
        answer = read_strictly(unmarked_text, unmarked_form, None)
        if answer.calls and _all_offered(answer.calls, tool_names):
            return _accepted(answer, "marks")
    return _in_known_form(strict, text, tool_names)


def _in_known_form(answer: Answer, text: str, tool_names: Collection[str]) -> Answer:
    """Parse a turn in the first known format in which it is only calls of offered tools."""
    for form in KNOWN if tool_names else ():
        parsed = read_strictly(text, form, None)
        if parsed.calls and not parsed.malformed and _all_offered(parsed.calls, tool_names):
            return _accepted(parsed, f"form {form.name}")
    return answer


def _all_offered(calls: list[Call], tool_names: Collection[str]) -> bool:
    return all(call["name"] in tool_names for call in calls)


def _accepted(answer: Answer, defect: str) -> Answer:
    defects = tuple(dict.fromkeys([*answer.defects, defect]))
    return dataclasses.replace(answer, malformed=False, defects=defects)


def _without_markers(text: str, form: CallForm) -> str:
    for marker in (form.start, form.before, form.after, form.end):
        if marker.strip():
            text = text.replace(marker.strip(), "")
    return text


def _tagged(text: str, tool_names: Collection[str]) -> Answer:
    """Parse calls in Hermes tags, or untagged JSON if all of it calls offered tools."""
    answer_text, defects = after_thinking(text)
    calls: list[Call] = []
    prose: list[str] = []
    malformed = bool(defects)
    parsed_calls: list[Call] | None
    for block, closed in _split_at_tags(answer_text, prose):
        if not closed:
            defects.append("unclosed tag")
        parsed_calls = _calls(block, defects)
        if parsed_calls is None:
            malformed = True
            defects.append("not a call")
        else:
            calls += parsed_calls
    content = "".join(prose).strip()
    if CLOSE in content:
        defects.append("stray tag")
    if not calls and not malformed and tool_names:
        new_defects: list[str] = ["no tag"]
        parsed_calls = _calls(content, new_defects)
        if parsed_calls and _all_offered(parsed_calls, tool_names):
            calls, content = parsed_calls, ""
            defects += new_defects
    return Answer(calls, content, malformed, tuple(dict.fromkeys(defects)))


def _split_at_tags(text: str, prose: list[str]) -> list[tuple[str, bool]]:
    """Return (inside, closed) for each tag, and append the text around the tags to `prose`."""
    blocks: list[tuple[str, bool]] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        prose.append(text[position:start])
        end = text.find(CLOSE, start)
        if end < 0:
            return [*blocks, (text[start + len(OPEN) :], False)]
        blocks.append((text[start + len(OPEN) : end], True))
        position = end + len(CLOSE)
    prose.append(text[position:])
    return blocks


def _calls(text: str, defects: list[str]) -> list[Call] | None:
    value = load_json(text)
    if value is None:
        unfenced = _without_code_fence(text)
        value = load_json(unfenced)
        if value is not None:
            defects.append("code fence")
        elif (value := load_literal(unfenced)) is not None:
            defects.append("python literal")
    if isinstance(value, list):
        defects.append("list of calls")
    calls = [_call(item, defects) for item in (value if isinstance(value, list) else [value])]
    return None if not calls or None in calls else [call for call in calls if call is not None]


def _call(value: Any, defects: list[str]) -> Call | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
        defects.append("wrapped call")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    key = "arguments" if "arguments" in value else "parameters"
    arguments = value.get(key)
    if isinstance(arguments, str):
        arguments = load_json(arguments)
        defects.append("arguments as text")
    if not isinstance(arguments, dict):
        return None
    if key == "parameters":
        defects.append("parameters for arguments")
    return {"name": value["name"], "arguments": arguments}


def _without_code_fence(text: str) -> str:
    """Return the content of a single Markdown code fence, or the stripped text."""
    stripped = text.strip()
    match = re.match(r"```[a-z]*\n", stripped)
    return stripped[match.end() : -3].strip() if match and stripped.endswith("\n```") else stripped
