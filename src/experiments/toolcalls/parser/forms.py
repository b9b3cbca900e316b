"""How a chat template writes an assistant's calls: what stands around them and inside them.

    start  before NAME-AND-ARGUMENTS after  between  before NAME-AND-ARGUMENTS after  end

A form is found by rendering calls made for it (`data.call_forms`), is plain data that a record
holds, and is all that `answers.parse` needs to know of a model.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Body = Literal["json", "named_json", "arguments", "python", "response_template"]


@dataclass(frozen=True)
class CallForm:
    """How calls are written; the text around them is compared without the blanks at its ends."""

    name: str
    """For people and tables: `hermes_tags`, `json_parameters`, `mistral`, `python_list`, ..."""
    body: Body = "json"
    """`json`: an object, or a list of them, with name and arguments. `named_json`: the name, then
    an object with the arguments. `arguments`: the name, then each key and value as text.
    `python`: `[f(a=1), g()]`. `response_template`: as the tokenizer's own template says."""
    start: str = ""
    """Before the first call of a turn."""
    before: str = ""
    """Before each call."""
    between: str = ""
    """Between two calls, beside what stands after the one and before the other."""
    after: str = ""
    """After each call."""
    end: str = ""
    """After the last call of a turn."""
    several: bool = True
    """Whether the template writes several calls in a turn."""
    text: bool = True
    """Whether the template writes text beside calls; otherwise calls are the whole answer."""
    listed: bool = False
    """`json`: the calls of a turn are one list."""
    wrapper: str = ""
    """`json`: the key that holds the object with name and arguments, as `function`."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    extra_keys: tuple[str, ...] = ()
    """`json`: other keys that the template writes, as `id`; they are no part of a call."""
    arguments_as_text: bool = False
    """`json`: the arguments are JSON in a string."""
    as_python: bool = False
    """`json`: values are printed as Python prints them, `True` for `true`."""
    name_end: str = ""
    """`named_json`, `arguments`: after the name."""
    key_before: str = ""
    """`arguments`: before each key."""
    key_end: str = ""
    """`arguments`: between a key and its value."""
    value_end: str = ""
    """`arguments`: after each value."""
    template: dict[str, Any] | None = None
    """`response_template`: the tokenizer's."""
    example: str = ""
    """A call as the template writes it, for people."""

    @property
    def bare(self) -> bool:
        """Whether nothing but the calls themselves tells them from text."""
        return not (self.start + self.before).strip()

    def __str__(self) -> str:
        """Return it as a person reads it: its name, and a call in it on one line."""
        call = " ".join(self.example.split())
        return f"{self.name}: {call}" if call else self.name

    def facts(self) -> dict[str, Any]:
        """Return it as a record holds it: what differs from the defaults."""
        empty = asdict(CallForm(self.name))
        return {"name": self.name} | {k: v for k, v in asdict(self).items() if v != empty[k]}


def said(facts: dict[str, Any] | None) -> str:
    """Return the line of a run's header on the form that its record holds."""
    if not facts:
        return "calls are not written by the chat template; answers are read in Hermes' tags"
    return f"calls are written as {from_facts(facts)}"


def from_facts(facts: dict[str, Any] | None) -> CallForm:
    """Return the form that a record holds; of records before there were forms, Hermes' tags."""
    if not facts:
        return HERMES_TAGS
    known = {field.name for field in fields(CallForm)}
    given = {key: value for key, value in facts.items() if key in known}
    return CallForm(**given | {"extra_keys": tuple(given.get("extra_keys", ()))})


OPEN, CLOSE = "<tool_call>", "</tool_call>"
HERMES_TAGS = CallForm(
    "hermes_tags",
    before=OPEN,
    after=CLOSE,
    example=f'{OPEN}{{"name": "f", "arguments": {{}}}}{CLOSE}',
)

# What models write that learnt another form than their template's: read by the tolerant parse.
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

# An answer that holds one of these means a call, whichever form its template has.
MARKS = (
    *(OPEN, CLOSE, "[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>", "<|tool_call_start|>"),
    *("<function=", "<functioncall>", "<TOOLCALL>", "<|tool_call_begin|>"),
    *("<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581begin\uff5c>"),
    *("<|START_ACTION|>", "<tool_calls>"),
)
