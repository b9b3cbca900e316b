"""BFCL v4, single turn: the official verdict on the calls of an answer, and broken calls beside it.

Example: gold allows `city` "Oslo" or "Oslo, Norway"; a call with "oslo norway" is `valid` (1), one
with "Bergen" is not (0). In irrelevance rows the official rules take a broken call for a refusal:
`valid` is 1 and `malformed` is 1 too. It applies to rows with a key `bfcl`, which holds `category`,
`function` (the descriptions in BFCL's own form), `ground_truth` (None where there is none) and
`underscore_to_dot` (False if absent). Text in Hermes' tags is read as upstream's handler of Qwen
does; calls in another form are read as the model's own template writes them and go in as those of a
function-calling API do: an answer with a broken call then counts as one without calls.
Rules: ShishirPatil/gorilla@6ea5797 (Apache-2.0), re-implemented in `experiments.toolcalls.bfcl`.
"""

import json
from dataclasses import replace

from experiments.evaluation.metric_files import Item
from experiments.toolcalls import bfcl
from experiments.toolcalls.parser import HERMES_TAGS

DIRECTION = {"valid": "maximize", "malformed": "minimize"}


def score(item: Item) -> dict[str, float]:
    """Return `valid` and `malformed` for rows of the benchmark."""
    if "bfcl" not in item.row:
        return {}
    verdict = _verdict(item)
    return {"valid": float(verdict.valid), "malformed": float(verdict.malformed)}


def error_type(item: Item) -> str | None:
    """Return the type of the first check that fails, for a row of the benchmark."""
    return _verdict(item).error_type


def _verdict(item: Item) -> bfcl.Verdict:
    task = item.row["bfcl"]
    upstream = item.form.name == HERMES_TAGS.name
    output, read_as = (item.text, "tool_call") if upstream else (_calls(item), "fc")
    verdict = bfcl.check(
        task["category"],
        task["function"],
        task["ground_truth"],
        output,
        read_as,
        task.get("underscore_to_dot", False),
    )
    return verdict if upstream else replace(verdict, malformed=item.answer.malformed)


def _calls(item: Item) -> object:
    """Return the calls as a function-calling API does, or the text of an answer without any."""
    calls = [] if item.answer.malformed else item.answer.calls
    return [{call["name"]: json.dumps(call["arguments"])} for call in calls] or item.text
