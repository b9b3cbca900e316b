"""Convert ShareGPT rows in LLaMA-Factory's dialect; also used for Salesforce/APIGen-MT-5k.

Columns: `conversations` of {from, value, optional flag of `flags`}, `tools` (a list or its text)
and `system`. Roles: human, gpt, system, function_call (one object or a list), observation or tool;
any other role is an error. Source of the grammar: hiyouga/LLaMA-Factory data/README.md and its
glaive_toolcall_en rows. APIGen-MT has the same columns according to its card; layout not verified
against the Hub.
"""

from experiments.data.formats import call_syntaxes, tools, turns
from experiments.data.formats.rejection import Rejected, Row
from experiments.data.formats.tools import Toolset

_ROLES = {"human": "user", "system": "system"}
_RESULTS = ("observation", "tool")


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `conversations`, `tools` and `system`."""
    toolset = tools.offered(raw)
    messages: list[Row] = []
    for speaker, content, trained in turns.spoken(raw, "conversations"):
        if speaker == "gpt":
            messages.append(turns.marked(turns.assistant(content), trained))
        elif speaker == "function_call":
            messages.append(turns.marked(_call_message(content), trained))
        elif speaker in _RESULTS:
            messages.append(turns.result(content))
        elif speaker in _ROLES:
            messages.append(turns.asked({"role": _ROLES[speaker], "content": content}, trained))
        else:
            raise Rejected(
                "unknown_role",
                f"{speaker!r} is not one of human, gpt, system, function_call, observation, tool",
            )
    return turns.with_system(raw, messages), toolset


def _call_message(content: str) -> Row:
    """Return the message of a call, which may be preceded by thinking."""
    message = turns.assistant(content)
    message["tool_calls"] = call_syntaxes.literal(message["content"])
    message["content"] = ""
    return message
