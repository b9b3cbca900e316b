"""Parse calls with transformers' parser and the response template of a tokenizer.

That parser is lenient: it closes what the model left open and hides unexpected text. To avoid
accepting a broken call, each answer is parsed twice, the second time with an appended marker that
does not affect a properly closed call.
"""

from typing import Any

from experiments.toolcalls.parser.argument_values import MAX_LITERAL, too_deep
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import MARKS, CallForm
from experiments.toolcalls.parser.turn import Answer

_BEHIND = "\n\ue000"


def read(said: str, form: CallForm, tools: Tools) -> Answer:
    """Parse a turn; never raises."""
    text = said + form.end
    if len(text) > MAX_LITERAL or too_deep(said):
        return Answer(malformed=True, defects=("not a call",))
    found, behind = _parsed(text, form, tools), _parsed(text + _BEHIND, form, tools)
    if found is None or behind is None:
        return Answer(malformed=True, defects=("not a call",))
    calls, content = found
    if calls != behind[0]:
        return Answer(malformed=True, defects=("unclosed tag",))
    stray = any(mark in content for mark in MARKS)
    return Answer(calls, content, stray, ("tag of another form",) if stray else ())


def _parsed(text: str, form: CallForm, tools: Tools) -> tuple[list[Call], str] | None:
    """Return calls and text, or None if the parser finds a call that is invalid."""
    from transformers.utils.chat_parsing import parse_response

    try:
        message = parse_response(text, form.template, prefix="", tools=list(tools or []) or None)
    except Exception:  # the template is a program by the model's authors and may raise anything
        return None
    calls = [_call(one) for one in message.get("tool_calls") or []]
    whole = [call for call in calls if call is not None]
    content = message.get("content")
    if len(whole) < len(calls):
        return None
    return whole, content.strip() if isinstance(content, str) else ""


def _call(value: Any) -> Call | None:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict):
        return None
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}
