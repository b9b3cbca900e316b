"""Compare calls with gold calls; the verdict has the error type of the first failing check.

Rules: ShishirPatil/gorilla@6ea5797, `bfcl_eval/eval_checker/ast_eval/ast_checker.py` (Apache-2.0),
re-implemented. Where upstream stops with a Python error (a broken function description, gold in
another format, a value that its comparison does not support), the verdict here is "not valid" with
an error type that begins with `not_scorable:` and does not exist upstream.
"""

from collections.abc import Sequence
from typing import Any

from experiments.toolcalls.bfcl.argument_checks import check_value
from experiments.toolcalls.bfcl.decoding import Call
from experiments.toolcalls.bfcl.verdicts import VALID, NotScorable, Verdict, invalid

# Any other type makes a description invalid; tuples become lists in JSON.
TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}


def check_calls(
    category: str,
    functions: object,
    ground_truth: object,
    calls: Sequence[Call],
    *,
    underscore_to_dot: bool,
) -> Verdict:
    """Check decoded calls by the rules of the category, which follow from its name.

    Raises:
        NotScorable: a description or gold answer is unusable; the message is the error type.
    """
    problem = gold_problem(ground_truth)
    if problem or not isinstance(ground_truth, list):
        raise NotScorable("not_scorable:gold")
    if "parallel" in category:
        return _check_parallel(functions, ground_truth, calls, underscore_to_dot)
    if "multiple" in category:
        if len(calls) != len(ground_truth):
            return invalid("multiple_function_checker:wrong_count", f"{len(calls)} calls")
        description = _find_function(functions, next(iter(ground_truth[0])))
    else:
        if len(calls) != 1:
            return invalid("simple_function_checker:wrong_count", f"{len(calls)} calls")
        description = functions[0] if isinstance(functions, list) and functions else None
    return _check_call(description, ground_truth[0], calls[0], underscore_to_dot)


def gold_problem(ground_truth: object) -> str | None:
    """Return why this is not a gold answer (a list of `{name: {parameter: [values]}}`), or None.

    >>> gold_problem([{"add": {"a": [1, ""]}}])
    """
    if not isinstance(ground_truth, list) or not ground_truth:
        return "ground_truth is not a list of calls"
    for call in ground_truth:
        if not isinstance(call, dict) or len(call) != 1:
            return "a gold call is not an object with one name"
        (parameters,) = call.values()
        if not isinstance(parameters, dict):
            return "the parameters of a gold call are not an object"
        if not all(isinstance(allowed, list) for allowed in parameters.values()):
            return "a gold parameter has no list of allowed values"
    return None


def _check_parallel(
    functions: object, ground_truth: list[Call], calls: Sequence[Call], underscore_to_dot: bool
) -> Verdict:
    """Match each gold call, in order, with the first unused call that passes (greedily)."""
    if len(calls) != len(ground_truth):
        return invalid("parallel_function_checker_no_order:wrong_count", f"{len(calls)} calls")
    unused = list(calls)
    for gold in ground_truth:
        description = _find_function(functions, next(iter(gold)))
        for index, call in enumerate(unused):
            if _check_call(description, gold, call, underscore_to_dot).valid:
                del unused[index]
                break
        else:
            error_type = "parallel_function_checker_no_order:cannot_find_match"
            return invalid(error_type, f"no call matches the gold call of {next(iter(gold))!r}")
    return VALID


def _find_function(functions: object, name: str) -> object:
    for description in functions if isinstance(functions, list) else []:
        if isinstance(description, dict) and description.get("name") == name:
            return description
    raise NotScorable("not_scorable:gold")  # gold calls a function that is not offered


def _check_call(description: object, gold: Call, call: Call, underscore_to_dot: bool) -> Verdict:
    name, properties, required = _read_description(description)
    (allowed_values,) = gold.values()
    expected = name.replace(".", "_") if underscore_to_dot else name
    if expected not in call:
        return invalid("simple_function_checker:wrong_func_name", f"{expected!r} is not called")
    arguments = call[expected]
    for parameter in required:
        if parameter not in arguments:
            return invalid("simple_function_checker:missing_required", f"{parameter!r} is missing")
    for parameter, value in arguments.items():
        if parameter not in properties or parameter not in allowed_values:
            return invalid(
                "simple_function_checker:unexpected_param",
                f"{str(parameter)[:60]!r} is not expected",
            )
        kind, nested = _python_types(properties[parameter])
        converted = _convert(value, properties[parameter]["type"])
        verdict = check_value(converted, allowed_values[parameter], kind, nested)
        if not verdict.valid:
            return invalid(str(verdict.error_type), f"{parameter!r}: {verdict.error}")
    for parameter, allowed in allowed_values.items():
        if parameter not in arguments and "" not in allowed:
            return invalid(
                "simple_function_checker:missing_optional", f"{parameter!r} must not be omitted"
            )
    return VALID


def _convert(value: Any, kind: str) -> Any:
    """Convert a tuple to a list and an int to a float where the schema requires that."""
    if kind == "tuple" and type(value) is tuple:
        return list(value)
    if kind == "float" and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise NotScorable("not_scorable:value") from error
    return value


def _read_description(description: object) -> tuple[str, dict[str, Any], list[Any]]:
    """Return name, properties and required parameters; all types must be known."""
    parameters = description.get("parameters") if isinstance(description, dict) else None
    if not isinstance(description, dict) or not isinstance(parameters, dict):
        raise NotScorable("not_scorable:schema")
    name, properties = description.get("name"), parameters.get("properties")
    required = parameters.get("required")
    if not isinstance(name, str) or not isinstance(properties, dict):
        raise NotScorable("not_scorable:schema")
    if not isinstance(required, list) or not all(isinstance(item, str) for item in required):
        raise NotScorable("not_scorable:schema")
    for parameter in properties.values():
        _python_types(parameter)
    return name, properties, required


def _python_types(description: object) -> tuple[type, type | None]:
    """Return the Python type of a parameter and, for a list, that of its items."""
    kind = _python_type(description)
    if not isinstance(description, dict) or description["type"] not in ("array", "tuple"):
        return kind, None
    return kind, _python_type(description.get("items"))


def _python_type(description: object) -> type:
    type_name = description.get("type") if isinstance(description, dict) else None
    if not isinstance(type_name, str) or type_name not in TYPES:
        raise NotScorable("not_scorable:schema")
    return TYPES[type_name]
