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
    tools_by_name: dict[str, Row] = {}
    for specification in specifications:
        if not isinstance(specification, dict) or not isinstance(specification.get("name"), str):
            raise Rejected("malformed_tools", f"a tool without a name: {excerpt(specification)}")
        tools_by_name.setdefault(specification["name"], _tool(specification))
    return list(tools_by_name.values())


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
    sample_tools = _parsed(sample.get("tools"), "malformed_tools")
    offered = tools(sample_tools) if isinstance(sample_tools, list) else offered
    output = _parsed(turns.column(sample, "output"), "malformed_call")
    if not isinstance(output, list) or not all(isinstance(entry, dict) for entry in output):
        raise Rejected("malformed_call", f"output is not a list of calls: {excerpt(output)}")
    results = [entry for entry in output if entry.get("name") == RESULT]
    calls = [_call(entry) for entry in output if entry.get("name") != RESULT]
    known = {tool["function"]["name"] for tool in offered}
    for call in calls:
        if call["function"]["name"] not in known:
            raise Rejected("unknown_function", f"{call['function']['name']!r} is not offered")
    question = turns.text(turns.column(sample, "input"), "input")
    return {
        "id": str(sample.get("sample_id") or row_id),
        "messages": [
            {"role": "system", "content": _instruction(_prefix(calls))},
            {"role": "user", "content": question},
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


def _call(entry: Row) -> Row:
    name, arguments, label = entry.get("name"), entry.get("arguments"), entry.get("label")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise Rejected("malformed_call", f"name or arguments missing: {excerpt(entry)}")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise Rejected("malformed_call", f"the label of {name!r} is {excerpt(label)}")
    function = {"name": name, "arguments": arguments, "label": label.removeprefix("$")}
    return {"type": "function", "function": function}


def _prefix(calls: list[Row]) -> str:
    """Return the text before the number in the labels of the calls."""
    if not calls:
        raise Rejected("no_gold_answer", "output contains no tool call")
    labels = [call["function"]["label"] for call in calls]
    match = _LABEL.fullmatch(labels[0])
    prefix = match[1] if match else ""
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


def _tool(specification: Row) -> Row:
    parameters: Any = next(
        (specification[key] for key in _PARAMETERS if specification.get(key)), {}
    )
    if not isinstance(parameters, dict):
        raise Rejected(
            "malformed_tools", f"the parameters of {specification['name']!r} are not an object"
        )
    properties = {name: _property(parameter) for name, parameter in parameters.items()}
    required = [name for name, parameter in parameters.items() if _required(parameter)]
    result_fields = ", ".join(specification.get("output_parameters") or {})
    text = str(specification.get("description") or "")
    function = {
        "name": specification["name"],
        "description": f"{text} Fields of the result: {result_fields}." if result_fields else text,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    return {"type": "function", "function": function}


def _required(parameter: Any) -> bool:
    if not isinstance(parameter, dict):
        return True
    if "required" in parameter:
        return parameter["required"] is True
    return not parameter.get("optional") and not {"default", "default_value"} & set(parameter)


def _property(parameter: Any) -> Row:
    specification = parameter if isinstance(parameter, dict) else {"type": str(parameter)}
    kind = str(specification.get("type") or "string").replace(" or ", " | ")
    if " | " in kind:
        schema: Row = {
            "anyOf": [parameter_schemas.python_type(part)[0] for part in kind.split(" | ")]
        }
    else:
        schema = parameter_schemas.python_type(kind)[0]
    choices = next((specification[key] for key in _CHOICES if specification.get(key)), None)
    copied = {
        key: specification[key]
        for key in ("description", "items", "format")
        if specification.get(key)
    }
    return schema | copied | ({"enum": choices} if isinstance(choices, list) else {})
