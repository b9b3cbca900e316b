"""Parse calls with transformers' parser and the response template of a tokenizer.

That parser is lenient: it closes what the model left open and hides unexpected text. To avoid
accepting a broken call, each answer is parsed twice, the second time with an appended marker that
does not affect a properly closed call.
"""

from typing import Any

from experiments.toolcalls.parser.answer import Answer
from experiments.toolcalls.parser.argument_values import MAX_LITERAL, too_deep
from experiments.toolcalls.parser.bodies import Call, Tools
from experiments.toolcalls.parser.forms import MARKS, CallForm

_SENTINEL = "\n\ue000"


def read(answer: str, form: CallForm, tools: Tools) -> Answer:
    """Parse a turn; never raises."""
    text = answer + form.end
    if len(text) > MAX_LITERAL or too_deep(answer):
        return Answer(malformed=True, defects=("not a call",))
    parsed, parsed_with_sentinel = (
        _parsed(text, form, tools),
        _parsed(text + _SENTINEL, form, tools),
    )
    if parsed is None or parsed_with_sentinel is None:
        return Answer(malformed=True, defects=("not a call",))
    calls, content = parsed
    if calls != parsed_with_sentinel[0]:
        return Answer(malformed=True, defects=("unclosed tag",))
    has_other_marker = any(marker in content for marker in MARKS)
    return Answer(
        calls, content, has_other_marker, ("tag of another form",) if has_other_marker else ()
    )


def _parsed(text: str, form: CallForm, tools: Tools) -> tuple[list[Call], str] | None:
    """Return calls and text, or None if the parser finds a call that is invalid."""
    from transformers.utils.chat_parsing import parse_response

    try:
        message = parse_response(text, form.template, prefix="", tools=list(tools or []) or None)
    except Exception:  # the template is a program by the model's authors and may raise anything
        return None
    calls = [_call(item) for item in message.get("tool_calls") or []]
    valid_calls = [call for call in calls if call is not None]
    content = message.get("content")
    if len(valid_calls) < len(calls):
        return None
    return valid_calls, content.strip() if isinstance(content, str) else ""


def _call(value: Any) -> Call | None:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict):
        return None
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}
