"""Parse the calls of an assistant turn leniently, naming each defect that was accepted."""

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from experiments.toolcalls.parser.argument_values import load_json, load_literal
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import CLOSE, HERMES_TAGS, KNOWN, OPEN, CallForm
from experiments.toolcalls.parser.turn import Answer, after_thinking
from experiments.toolcalls.parser.turn import read as read_strictly


def read(text: str, tool_names: Collection[str], form: CallForm, tools: Tools) -> Answer:
    """Parse a turn in its format, else in any known one; see `parse.parse_tolerant`."""
    if form.name == HERMES_TAGS.name:
        answer = _tagged(text, tool_names)
        return answer if answer.calls or answer.malformed else _known(answer, text, tool_names)
    strict = read_strictly(text, form, tools)
    if strict.calls and not strict.malformed:
        return strict
    bare = _without_marks(text, form)
    for answer in (_tagged(text, tool_names), _tagged(bare, tool_names)):
        if answer.calls and not answer.malformed and _offered(answer.calls, tool_names):
            return _forgiven(answer, "another form")
    # Try the format without its markers, since the last of them may be missing.
    unmarked = dataclasses.replace(form, start="", before="", after="", end="", text=False)
    if form.body == "python" or (form.body == "json" and not form.bare):
        answer = read_strictly(bare, unmarked, None)
        if answer.calls and _offered(answer.calls, tool_names):
            return _forgiven(answer, "marks")
    return _known(strict, text, tool_names)


def _known(answer: Answer, text: str, tool_names: Collection[str]) -> Answer:
    """Parse a turn in the first known format in which it is only calls of offered tools."""
    for form in KNOWN if tool_names else ():
        found = read_strictly(text, form, None)
        if found.calls and not found.malformed and _offered(found.calls, tool_names):
            return _forgiven(found, f"form {form.name}")
    return answer


def _offered(calls: list[Call], tool_names: Collection[str]) -> bool:
    return all(call["name"] in tool_names for call in calls)


def _forgiven(answer: Answer, what: str) -> Answer:
    defects = tuple(dict.fromkeys([*answer.defects, what]))
    return dataclasses.replace(answer, malformed=False, defects=defects)


def _without_marks(text: str, form: CallForm) -> str:
    for mark in (form.start, form.before, form.after, form.end):
        if mark.strip():
            text = text.replace(mark.strip(), "")
    return text


def _tagged(text: str, tool_names: Collection[str]) -> Answer:
    """Parse calls in Hermes tags, or untagged JSON if all of it calls offered tools."""
    said, defects = after_thinking(text)
    calls: list[Call] = []
    prose: list[str] = []
    malformed = bool(defects)
    found: list[Call] | None
    for inside, closed in _cut(said, prose):
        if not closed:
            defects.append("unclosed tag")
        found = _calls(inside, defects)
        if found is None:
            malformed = True
            defects.append("not a call")
        else:
            calls += found
    content = "".join(prose).strip()
    if CLOSE in content:
        defects.append("stray tag")
    if not calls and not malformed and tool_names:
        noticed: list[str] = ["no tag"]
        found = _calls(content, noticed)
        if found and _offered(found, tool_names):
            calls, content = found, ""
            defects += noticed
    return Answer(calls, content, malformed, tuple(dict.fromkeys(defects)))


def _cut(text: str, prose: list[str]) -> list[tuple[str, bool]]:
    """Return (inside, closed) for each tag, and append the text around the tags to `prose`."""
    found: list[tuple[str, bool]] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        prose.append(text[at:start])
        end = text.find(CLOSE, start)
        if end < 0:
            return [*found, (text[start + len(OPEN) :], False)]
        found.append((text[start + len(OPEN) : end], True))
        at = end + len(CLOSE)
    prose.append(text[at:])
    return found


def _calls(text: str, defects: list[str]) -> list[Call] | None:
    value = load_json(text)
    if value is None:
        bare = _unfenced(text)
        value = load_json(bare)
        if value is not None:
            defects.append("code fence")
        elif (value := load_literal(bare)) is not None:
            defects.append("python literal")
    if isinstance(value, list):
        defects.append("list of calls")
    calls = [_call(one, defects) for one in (value if isinstance(value, list) else [value])]
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


def _unfenced(text: str) -> str:
    """Return the content of a single Markdown code fence, or the stripped text."""
    bare = text.strip()
    match = re.match(r"```[a-z]*\n", bare)
    return bare[match.end() : -3].strip() if match and bare.endswith("\n```") else bare
