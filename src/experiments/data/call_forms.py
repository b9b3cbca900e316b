"""Find the format in which a chat template writes calls (`toolcalls.parser.CallForm`).

Probe calls are rendered like training rows and located in the output: the text before, between and
after them gives the markers of the format. A format is accepted only if it parses all of these
calls back. No template is known by name.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Protocol

from experiments.data.call_marks import FIRST, KEYS, SECOND, VALUES, A, B, Probes, candidates
from experiments.errors import DataError
from experiments.toolcalls import parser
from experiments.toolcalls.parser import CallForm

Row = dict[str, Any]
Call = dict[str, Any]
_TEXT = "Probe text."


class Renders(Protocol):
    """The part of a renderer's interface used here."""

    chat_template: Any

    def turns(self, row: Row) -> list[str]:
        """Return the text of each assistant turn as it is trained, without its end token."""


def find(
    renderer: Renders, template: dict[str, Any] | None = None, ends: Sequence[str] = ()
) -> CallForm | None:
    """Return the format in which a template writes calls, or None if none can be parsed.

    Args:
        renderer: the renderer with the chat template.
        template: the tokenizer's `response_template` for parsing answers, if it has one.
        ends: the tokens that end a turn.
    """
    probes = _probe(renderer)
    if probes is None:
        return None
    template_form = _from_template(template, ends, probes)
    for form in [template_form] if template_form else candidates(probes):
        if _parses_to(probes.one, form, [A]) and not _marks_contain_probe_words(form):
            return _with_details(form, probes)
    trl_form = _from_template(_trl_response_template(renderer.chat_template), ends, probes)
    return _with_details(trl_form, probes) if trl_form else None


def _with_details(form: CallForm, probes: Probes) -> CallForm:
    """Add what the other probes show, an example and a readable name."""
    supports_several = probes.two is not None and _parses_to(probes.two, form, [A, B])
    supports_text = probes.beside is not None and _TEXT in probes.beside
    form = replace(form, several=supports_several, text=supports_text, example=probes.one.strip())
    return parser.HERMES_TAGS if _is_hermes(form) else replace(form, name=_name(form))


def _marks_contain_probe_words(form: CallForm) -> bool:
    markers = form.start, form.before, form.between, form.after, form.end, form.name_end
    return any(word in marker for marker in markers for word in (FIRST, SECOND, *KEYS, *VALUES))


def _trl_response_template(chat_template: Any) -> dict[str, Any] | None:
    """Return the response template that TRL ships for a chat template, or None."""
    from trl.chat_template_utils import add_response_schema

    try:
        patched = add_response_schema(SimpleNamespace(chat_template=chat_template))
    except ValueError:  # TRL does not know the template
        return None
    return getattr(patched, "response_template", None)


def tool(name: str) -> dict[str, Any]:
    """Return the schema of a tool that the probes call."""
    text_schema = {"type": "string", "description": "A text."}
    parameters = {"type": "object", "properties": dict.fromkeys(KEYS, text_schema), "required": []}
    function = {"name": name, "description": "Takes texts.", "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [tool(FIRST), tool(SECOND)]


def _probe(renderer: Renders) -> Probes | None:
    for system in (False, True):  # some templates write tools only into a system message
        one_call = _rendered(renderer, [A], system=system)
        if one_call is not None:
            two_calls = _rendered(renderer, [A, B], system=system)
            return Probes(one_call, two_calls, _rendered(renderer, [B], _TEXT, system=system))
    return None


def _rendered(renderer: Renders, calls: list[Call], text: str = "", *, system: bool) -> str | None:
    """Return the turn that the template writes for calls, or None if it lacks a call's name."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Probe."}] if system else []
    tool_calls = [
        {"type": "function", "id": f"probe000{i}", "function": function}
        for i, function in enumerate(calls)
    ]
    turn = {"role": "assistant", "content": text, "tool_calls": tool_calls}
    messages += [{"role": "user", "content": "Probe?"}, turn]
    try:
        written = renderer.turns(
            {"id": "probe", "source": "probe", "messages": messages, "tools": TOOLS}
        )[-1]
    except DataError:
        return None
    return written if all(call["name"] in written for call in calls) else None


def _from_template(template: Any, ends: Sequence[str], probes: Probes) -> CallForm | None:
    """Return the format of a response template, or None if it does not parse the calls back."""
    if not isinstance(template, dict):
        return None
    for end in (*ends, ""):
        form = CallForm("tokenizer_schema", "response_template", end=end, template=template)
        answer = parser.parse(probes.one, form, TOOLS)
        if parser.same_value(answer.calls, [A]) and not answer.content:
            return form
    return None


def _parses_to(text: str, form: CallForm, calls: list[Call]) -> bool:
    answer = parser.parse(text, form, TOOLS)
    return not answer.malformed and parser.same_value(answer.calls, calls)


def _is_hermes(form: CallForm) -> bool:
    """Return whether the format is Hermes', apart from whitespace and from unsupported features."""
    hermes = parser.HERMES_TAGS
    plain = replace(
        form,
        name=hermes.name,
        start=form.start.strip(),
        before=form.before.strip(),
        between=form.between.strip(),
        after=form.after.strip(),
        end=form.end.strip(),
        several=hermes.several,
    )
    return replace(plain, text=hermes.text, example=hermes.example) == hermes


def _name(form: CallForm) -> str:
    markers = form.start + form.before
    names_by_body = {
        "response_template": "tokenizer_schema",
        "python": "python_list",
        "arguments": "xml_parameters",
    }
    if form.body in names_by_body:
        return names_by_body[form.body]
    if "[TOOL_CALLS]" in markers:
        return "mistral" if form.body == "json" else "mistral_args"
    if form.body == "named_json":
        return "named_json"
    json_name = f"json_{'list' if form.listed else form.arguments_key}"
    return json_name if form.bare else "tagged_json"
