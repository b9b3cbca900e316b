"""Compare one value with a parameter's allowed values, first its type and then the value.

Types are compared exactly, so true is not an integer. Values are compared with Python's equality,
after removing the characters that upstream ignores from text.
"""

from typing import Any

from experiments.toolcalls.bfcl.verdicts import VALID, NotScorable, Verdict, invalid

_IGNORED = str.maketrans("", "", " ,./-_*^")


def check_value(value: Any, allowed: list[Any], kind: type, nested: type | None) -> Verdict:
    """Check type and value of one argument.

    Args:
        value: the argument.
        allowed: the gold values for this parameter; "" means that it may be omitted.
        kind: the Python type that corresponds to the schema's type.
        nested: the Python type of the items if the schema's type is an array or a tuple.

    Raises:
        NotScorable: gold or value has a format on which upstream stops with an error.
    """
    error_type, is_variable = _check_type(value, allowed, kind, nested)
    if error_type:
        return invalid(error_type, f"a value of type {type(value).__name__}")
    if not is_variable:
        if kind is dict:
            return _check_dict(value, allowed)
        if kind is list and nested is dict:
            return _check_dicts(value, allowed)
        if kind is str:
            return _check_text(value, allowed)
        if kind is list:
            return _check_list(value, allowed)
    return VALID if value in allowed else invalid("value_error:others", "not an allowed value")


def normalise(value: Any) -> Any:
    """Return text without ` ,./-_*^`, in lower case and with one type of quote; others unchanged.

    >>> normalise("Oslo, *North*-East's")
    'oslonortheast"s'
    """
    if type(value) is not str:
        return value
    return value.translate(_IGNORED).lower().replace("'", '"')


def _gold_type(allowed: Any) -> type | None:
    """Return the type of the first allowed value that is not "", or None if there is none."""
    return next((type(value) for value in allowed if value != ""), None)


def _check_type(
    value: Any, allowed: list[Any], kind: type, nested: type | None
) -> tuple[str | None, bool]:
    """Return the error type, if any, and whether gold has a variable in place of such a value."""
    gold = _gold_type(allowed)
    if type(value) is kind:
        if nested is None or _items_have_allowed_type(value, allowed, nested):
            return None, gold is not None and gold is not kind
        # Without any gold type, upstream reports that the outer type is wrong.
        return ("type_error:nested" if gold is kind else "type_error:simple"), False
    if gold is not None and type(value) is gold:
        return None, True
    return "type_error:simple", False


def _items_have_allowed_type(value: Any, allowed: list[Any], nested: type) -> bool:
    """Return whether all items have the schema's type or that of one of the allowed lists.

    An allowed value that is not a list, such as "", puts no constraint on the items.
    """
    for option in allowed:
        if type(option) is not list:
            return True
        types = (nested, _gold_type(option))
        if all(type(item) in types for item in value):
            return True
    return False


def _check_text(value: str, allowed: list[Any]) -> Verdict:
    normalised = normalise(value)
    if any(type(option) is str and normalise(option) == normalised for option in allowed):
        return VALID
    return invalid("value_error:string", "not an allowed string")


def _check_list(value: list[Any], allowed: list[Any]) -> Verdict:
    options = [[normalise(item) for item in _sequence(option)] for option in allowed]
    if [normalise(item) for item in value] in options:
        return VALID
    return invalid("value_error:list/tuple", "not an allowed list")


def _sequence(option: Any) -> list[Any] | str:
    """Return what upstream iterates over: a list, or the letters of a text (none for "")."""
    if isinstance(option, list | str):
        return option
    if option == {}:
        return []
    raise NotScorable("not_scorable:gold")


def _check_dict(value: Any, allowed: list[Any]) -> Verdict:
    """Check against each allowed dict in turn; the error is that of the last one."""
    verdict = invalid("dict_checker:unclear", "no allowed value is a dict")
    for option in allowed:
        if option == "":
            continue
        verdict = _check_one_dict(value, option)
        if verdict.valid:
            return verdict
    return verdict


def _check_one_dict(value: Any, option: Any) -> Verdict:
    if not isinstance(value, dict):
        raise NotScorable("not_scorable:value")
    if not isinstance(option, dict):
        raise NotScorable("not_scorable:gold")
    verdict = VALID
    for key, item in value.items():
        if key not in option:
            verdict = invalid("value_error:dict_key", f"{_describe_key(key)} is not expected")
            break
        if normalise(item) not in [
            normalise(allowed_value) for allowed_value in _sequence(option[key])
        ]:
            verdict = invalid("value_error:dict_value", f"wrong value of {_describe_key(key)}")
            break
    for key, values in option.items():
        # Missing keys are always checked, so their error replaces the one above.
        if key not in value and "" not in _checked_container(values):
            return invalid("value_error:dict_key", f"{_describe_key(key)} is missing")
    return verdict


def _describe_key(key: Any) -> str:
    """Describe a key briefly: a number may have more digits than Python prints."""
    return f"the key {key[:60]!r}" if isinstance(key, str) else f"a {type(key).__name__} as a key"


def _checked_container(values: Any) -> list[Any] | str | dict[Any, Any]:
    if isinstance(values, list | str | dict):
        return values
    raise NotScorable("not_scorable:gold")


def _check_dicts(value: list[Any], allowed: list[Any]) -> Verdict:
    """Check pairwise, in order, against each allowed list; the error is that of the last one."""
    verdict = invalid("list_dict_checker:unclear", "no allowed value is a list")
    for option in allowed:
        if len(value) != len(_checked_container(option)):
            verdict = invalid("value_error:list_dict_count", f"{len(value)} dicts")
            continue
        verdict = VALID
        for item, gold in zip(value, _sequence(option), strict=True):
            verdict = _check_dict(item, [gold])
            if not verdict.valid:
                break
        if verdict.valid:
            return VALID
    return verdict
