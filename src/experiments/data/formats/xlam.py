"""Convert rows of xlam-function-calling-60k and similar sets: one user turn, one turn of calls.

Columns are `query`, `answers` (text of a list of {name, arguments}) and `tools` (text of a list
with flat parameters: name to {description, type in Python syntax, default}). Half of the copies
wrap the parameters as `{"type": "dict", "properties": ...}`, and argilla/apigen-function-calling
has both the flat format and OpenAI's. Source: rows of Salesforce/xlam-function-calling-60k. An
empty list of answers (MadeAgents/xlam-irrelevance-7.5k) leaves nothing to train, so the row is
rejected as an empty turn.
"""

from experiments.data.formats import call_syntaxes, tools, turns
from experiments.data.formats.rejection import Rejected, Row
from experiments.data.formats.tools import Toolset


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `query`, `answers` and `tools`."""
    toolset = tools.read(turns.column(raw, "tools"), flat=True)
    query = turns.text(turns.column(raw, "query"), "column query")
    answers = turns.column(raw, "answers")
    if answers == [] or (isinstance(answers, str) and answers.strip() in ("[]", "")):
        raise Rejected("empty_turn", "no answers")
    calls = (
        call_syntaxes.literal(answers)
        if isinstance(answers, str)
        else call_syntaxes.of_list(answers)
    )
    conversation = [{"role": "user", "content": query}, turns.assistant("", calls)]
    return conversation, toolset
