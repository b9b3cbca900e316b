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
    made: list[Row] = []
    for speaker, said, trained in turns.spoken(raw, "conversations"):
        if speaker == "gpt":
            made.append(turns.marked(turns.assistant(said), trained))
        elif speaker == "function_call":
            made.append(turns.marked(_calling(said), trained))
        elif speaker in _RESULTS:
            made.append(turns.result(said))
        elif speaker in _ROLES:
            made.append(turns.asked({"role": _ROLES[speaker], "content": said}, trained))
        else:
            raise Rejected(
                "unknown_role",
                f"{speaker!r} is not one of human, gpt, system, function_call, observation, tool",
            )
    return turns.with_system(raw, made), toolset


def _calling(said: str) -> Row:
    """Return the message of a call, which may be preceded by thinking."""
    message = turns.assistant(said)
    message["tool_calls"] = call_syntaxes.literal(message["content"])
    message["content"] = ""
    return message
