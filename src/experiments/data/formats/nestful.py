"""Convert rows of NESTFUL to canonical rows whose calls refer to the results of earlier calls.

A sample has `input` (the request) and `output`, a list of `{"name", "label", "arguments"}` whose
arguments may be `$var1.field$`: that field of the result labelled var1. Its last element,
`var_result`, tells which results form the answer. It is not a tool and so not a gold call; it is
kept in `nestful`. There are two layouts: IBM/NESTFUL at 053cbde has a data file and a specification
file with the tools of all its samples; ibm-research/nestful on the Hub has `tools` in each sample,
writes `$var_1.result$` and stores JSON as text (layout from its card, not verified against the
Hub).

The calls of the gold turn keep their `label`. No chat template prints it, so a system message
explains which label each call has: they are numbered in the order of the calls.
"""

import json
import re
from typing import Any

from experiments.data.formats import parameter_schemas, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt

RESULT = "var_result"
_LABEL = re.compile(r"\$?(var_?)(\d+)")
_PARAMETERS = ("query_parameters", "path_parameters", "parameters", "arguments")
_CHOICES = ("enum", "allowed_values", "possible_values")


def tools(specifications: list[Row]) -> list[Row]:
    """Return the tools of a specification, the first of each name.

    Some names are described twice, with the same parameters. The result fields of a tool are listed
    in its description, since calls refer to results by field.

    Raises:
        Rejected: malformed_tools.
    """
    made: dict[str, Row] = {}
    for one in specifications:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise Rejected("malformed_tools", f"a tool without a name: {excerpt(one)}")
        made.setdefault(one["name"], _tool(one))
    return list(made.values())


def convert(sample: Row, offered: list[Row], row_id: str) -> Row:
    """Convert one sample.

    Args:
        sample: the published row; not modified.
        offered: tools from `tools`, used if the sample has none.
        row_id: fallback id, used if the sample has no `sample_id`.

    Raises:
        Rejected: the sample does not follow the layout, calls a tool that is not offered, or labels
            its calls in another way than by their order.
    """
    own = _parsed(sample.get("tools"), "malformed_tools")
    offered = tools(own) if isinstance(own, list) else offered
    output = _parsed(turns.column(sample, "output"), "malformed_call")
    if not isinstance(output, list) or not all(isinstance(one, dict) for one in output):
        raise Rejected("malformed_call", f"output is not a list of calls: {excerpt(output)}")
    results = [one for one in output if one.get("name") == RESULT]
    calls = [_call(one) for one in output if one.get("name") != RESULT]
    known = {tool["function"]["name"] for tool in offered}
    for call in calls:
        if call["function"]["name"] not in known:
            raise Rejected("unknown_function", f"{call['function']['name']!r} is not offered")
    asked = turns.text(turns.column(sample, "input"), "input")
    return {
        "id": str(sample.get("sample_id") or row_id),
        "messages": [
            {"role": "system", "content": _instruction(_prefix(calls))},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": "", "tool_calls": calls},
        ],
        "tools": offered,
        "nestful": {"result": results[0].get("arguments") if results else None},
    }


def _parsed(value: Any, reason: str) -> Any:
    """Return a column with JSON, parsed if it is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise Rejected(reason, f"{error}: {excerpt(value)}") from None


def _call(one: Row) -> Row:
    name, arguments, label = one.get("name"), one.get("arguments"), one.get("label")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise Rejected("malformed_call", f"name or arguments missing: {excerpt(one)}")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise Rejected("malformed_call", f"the label of {name!r} is {excerpt(label)}")
    function = {"name": name, "arguments": arguments, "label": label.removeprefix("$")}
    return {"type": "function", "function": function}


def _prefix(calls: list[Row]) -> str:
    """Return the text before the number in the labels of the calls."""
    if not calls:
        raise Rejected("no_gold_answer", "output contains no tool call")
    labels = [call["function"]["label"] for call in calls]
    found = _LABEL.fullmatch(labels[0])
    prefix = found[1] if found else ""
    if labels != [f"{prefix}{number}" for number in range(1, len(labels) + 1)]:
        raise Rejected("malformed_call", f"labels are not in the order of the calls: {labels}")
    return prefix


def _instruction(prefix: str) -> str:
    first, second = f"{prefix}1", f"{prefix}2"
    return (
        "Make all calls that the request needs, in order. Where an argument is a field of the "
        f"result of an earlier call, write it as ${first}.field$: {first} is the result of the "
        f"first call, {second} that of the second, and so on."
    )


def _tool(one: Row) -> Row:
    described: Any = next((one[key] for key in _PARAMETERS if one.get(key)), {})
    if not isinstance(described, dict):
        raise Rejected("malformed_tools", f"the parameters of {one['name']!r} are not an object")
    properties = {name: _property(given) for name, given in described.items()}
    needed = [name for name, given in described.items() if _required(given)]
    returned = ", ".join(one.get("output_parameters") or {})
    text = str(one.get("description") or "")
    function = {
        "name": one["name"],
        "description": f"{text} Fields of the result: {returned}." if returned else text,
        "parameters": {"type": "object", "properties": properties, "required": needed},
    }
    return {"type": "function", "function": function}


def _required(given: Any) -> bool:
    if not isinstance(given, dict):
        return True
    if "required" in given:
        return given["required"] is True
    return not given.get("optional") and not {"default", "default_value"} & set(given)


def _property(given: Any) -> Row:
    described = given if isinstance(given, dict) else {"type": str(given)}
    kind = str(described.get("type") or "string").replace(" or ", " | ")
    if " | " in kind:
        typed: Row = {
            "anyOf": [parameter_schemas.python_type(part)[0] for part in kind.split(" | ")]
        }
    else:
        typed = parameter_schemas.python_type(kind)[0]
    choices = next((described[key] for key in _CHOICES if described.get(key)), None)
    kept = {key: described[key] for key in ("description", "items", "format") if described.get(key)}
    return typed | kept | ({"enum": choices} if isinstance(choices, list) else {})
