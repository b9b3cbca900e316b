"""BFCL v4, single turn: the official verdict on the calls of an answer, and malformed calls.

Example: the gold call allows `city` "Oslo" or "Oslo, Norway"; a call with "oslo norway" is `valid`
(1), one with "Bergen" is not (0). In irrelevance rows the official rules count a malformed call as
a refusal: `valid` is 1, and `malformed` is also 1.

The metric applies to rows with a key `bfcl`, which contains `category`, `function` (the
descriptions in BFCL's format), `ground_truth` (None if there is none) and `underscore_to_dot`
(False if absent). Answers in Hermes tags are parsed as BFCL's handler for Qwen does. Calls in
another format are parsed as the model's own template writes them and checked like those of a
function-calling API: an answer with a malformed call then counts as an answer without calls.

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
    is_hermes = item.form.name == HERMES_TAGS.name
    output, mode = (item.text, "tool_call") if is_hermes else (_calls(item), "fc")
    verdict = bfcl.check(
        task["category"],
        task["function"],
        task["ground_truth"],
        output,
        mode,
        task.get("underscore_to_dot", False),
    )
    return verdict if is_hermes else replace(verdict, malformed=item.answer.malformed)


def _calls(item: Item) -> object:
    """Return the calls as a function-calling API does, or the text of an answer without calls."""
    calls = [] if item.answer.malformed else item.answer.calls
    return [{call["name"]: json.dumps(call["arguments"])} for call in calls] or item.text
