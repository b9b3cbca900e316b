"""Convert rows of GSM8K: a question in words, and its solution in steps.

Columns: `question` and `answer`, whose last line is `#### NUMBER`. The solution is kept as
published, with its calculator annotations (`<<48/2=24>>`). Source: openai/grade-school-math.
"""

import re

from experiments.data.formats import tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_FINAL = re.compile(r"\n#### *-?[\d.,]+\s*\Z")


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `question` and `answer`."""
    question = turns.text(turns.column(raw, "question"), "column question")
    answer = turns.text(turns.column(raw, "answer"), "column answer")
    if not _FINAL.search(answer):
        raise Rejected(
            "no_gold_answer", f"the answer does not end with #### NUMBER: {excerpt(answer[-60:])}"
        )
    return [{"role": "user", "content": question}, turns.assistant(answer)], tools.NONE
