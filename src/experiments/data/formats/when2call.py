"""Rows of nvidia/When2Call train_sft and train_pref -> messages and tools.

Columns: `tools` (objects, or each as the text of one; types as Python text, `required` beside the
parameters) and `messages`; calls are `<TOOLCALL>[{...}, ...]</TOOLCALL>` in an assistant's text,
each element an object or the text of one. A preference row has no answer in `messages`: its
`chosen_response` is the answer, the rejected one is not used. Source: NVIDIA/When2Call README.
"""

from experiments.data.formats import calls, messages, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `tools`, `messages` and, if there, `chosen_response`."""
    toolset = tools.read(turns.column(raw, "tools"), flat=True)
    given = messages.listed(raw)
    chosen = raw.get("chosen_response")
    if chosen is not None:
        if not isinstance(chosen, dict):
            raise Rejected("malformed_turns", f"chosen_response is {excerpt(chosen)}")
        given = [*given, chosen]
    made = messages.conversation(given)
    for message in made:
        if message["role"] == "assistant" and "<TOOLCALL>" in message["content"]:
            content, found = calls.tagged(message["content"], "TOOLCALL")
            message |= {"content": content, "tool_calls": found}
    return turns.finished(made, toolset), toolset
