"""Format in which a chat template writes an assistant's calls, around and inside them.

    start  before NAME-AND-ARGUMENTS after  between  before NAME-AND-ARGUMENTS after  end

A format is detected by rendering probe calls (`data.call_forms`). It is plain data stored in the
run record, and all that `parser.parse` needs to know about a model.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Body = Literal["json", "named_json", "arguments", "python", "response_template"]


@dataclass(frozen=True)
class CallForm:
    """Call format of a chat template; markers are compared without leading and trailing blanks."""

    name: str
    """Readable name: `hermes_tags`, `json_parameters`, `mistral`, `python_list`, ..."""
    body: Body = "json"
    """`json`: an object with name and arguments, or a list of them. `named_json`: the name, then an
    object with the arguments. `arguments`: the name, then each key and value as text. `python`:
    `[f(a=1), g()]`. `response_template`: defined by the tokenizer's own template."""
    start: str = ""
    """Before the first call of a turn."""
    before: str = ""
    """Before each call."""
    between: str = ""
    """Between two calls, in addition to `after` of the first and `before` of the second."""
    after: str = ""
    """After each call."""
    end: str = ""
    """After the last call of a turn."""
    several: bool = True
    """Whether the template writes several calls in a turn."""
    text: bool = True
    """Whether the template writes text besides calls; otherwise calls are the complete answer."""
    listed: bool = False
    """`json`: the calls of a turn form one list."""
    wrapper: str = ""
    """`json`: key of the object with name and arguments, such as `function`."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    extra_keys: tuple[str, ...] = ()
    """`json`: other keys that the template writes, such as `id`; they are not part of a call."""
    arguments_as_text: bool = False
    """`json`: the arguments are JSON in a string."""
    as_python: bool = False
    """`json`: values are printed in Python syntax, `True` for `true`."""
    name_end: str = ""
    """`named_json`, `arguments`: after the name."""
    key_before: str = ""
    """`arguments`: before each key."""
    key_end: str = ""
    """`arguments`: between a key and its value."""
    value_end: str = ""
    """`arguments`: after each value."""
    template: dict[str, Any] | None = None
    """`response_template`: the tokenizer's template."""
    example: str = ""
    """A call as written by the template, for display."""

    @property
    def bare(self) -> bool:
        """Whether no marker separates calls from text."""
        return not (self.start + self.before).strip()

    def __str__(self) -> str:
        """Return the name of the format and an example call on one line."""
        call = " ".join(self.example.split())
        return f"{self.name}: {call}" if call else self.name

    def facts(self) -> dict[str, Any]:
        """Return the entries for the run record: all values that differ from the defaults."""
        defaults = asdict(CallForm(self.name))
        return {"name": self.name} | {
            key: value for key, value in asdict(self).items() if value != defaults[key]
        }


def describe(facts: dict[str, Any] | None) -> str:
    """Return the line about the recorded call format in a run's header."""
    if not facts:
        return "the chat template does not write calls; answers are parsed with Hermes tags"
    return f"calls are written as {from_facts(facts)}"


def from_facts(facts: dict[str, Any] | None) -> CallForm:
    """Return the format in a run record; Hermes tags for older records without one."""
    if not facts:
        return HERMES_TAGS
    field_names = {field.name for field in fields(CallForm)}
    values = {key: value for key, value in facts.items() if key in field_names}
    return CallForm(**values | {"extra_keys": tuple(values.get("extra_keys", ()))})


OPEN, CLOSE = "<tool_call>", "</tool_call>"
HERMES_TAGS = CallForm(
    "hermes_tags",
    before=OPEN,
    after=CLOSE,
    example=f'{OPEN}{{"name": "f", "arguments": {{}}}}{CLOSE}',
)

# Formats of models that learned another format than their template's; used in tolerant parsing.
KNOWN = (
    CallForm("json_parameters", arguments_key="parameters", text=False),
    CallForm("json_list", listed=True, text=False),
    CallForm("mistral", before="[TOOL_CALLS]", listed=True, extra_keys=("id",)),
    CallForm("mistral_args", "named_json", before="[TOOL_CALLS]", name_end="[ARGS]"),
    CallForm("python_list", "python", text=False),
    CallForm("python_list", "python", before="<|tool_call_start|>", after="<|tool_call_end|>"),
    CallForm("json_parameters", before="<|python_tag|>", arguments_key="parameters"),
    CallForm(
        "xml_parameters",
        "arguments",
        before="<function=",
        name_end=">\n",
        key_before="<parameter=",
        key_end=">\n",
        value_end="\n</parameter>\n",
        after="</function>",
    ),
    CallForm(
        "xml_parameters",
        "arguments",
        before="<tool_call>\n<function=",
        name_end=">\n",
        key_before="<parameter=",
        key_end=">\n",
        value_end="\n</parameter>\n",
        after="</function>\n</tool_call>",
    ),
    CallForm("tagged_json", before="<|tool_call|>", after="<|/tool_call|>"),
    CallForm("tagged_json", before="<|tool_call|>", listed=True),
    CallForm("tagged_json", before="<functioncall>"),
    CallForm("tagged_json", before="<TOOLCALL>", after="</TOOLCALL>", listed=True),
)

# An answer with one of these markers attempts a call, whatever the format of its template.
MARKS = (
    *(OPEN, CLOSE, "[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>", "<|tool_call_start|>"),
    *("<function=", "<functioncall>", "<TOOLCALL>", "<|tool_call_begin|>"),
    *("<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581begin\uff5c>"),
    *("<|START_ACTION|>", "<tool_calls>"),
)
