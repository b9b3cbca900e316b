"""Derive from a tool's JSON schema which argument names a call may have, for any values.

Whether `{"not": {"properties": {"a": {"const": 1}}}}` allows a call depends on the value of `a`.
Each part is therefore bounded by two schemas: one that holds for some values (`sure=False`) and one
that holds for all values (`sure=True`); `not`, `oneOf` and `if` turn one into the other. Parts that
are too large, refer outside the schema or have a pattern that could take exponential time are left
unconstrained.
"""

import itertools
import re
from functools import cached_property
from typing import Any

from experiments.data.formats.rejection import Row

KEYWORDS = frozenset(
    (
        *("patternProperties", "unevaluatedProperties", "propertyNames", "dependentRequired"),
        *("dependentSchemas", "$ref", "anyOf", "oneOf", "allOf", "if", "not"),
        *("minProperties", "maxProperties"),
    )
)
"""Keywords that constrain names, besides `properties`, `required` and `additionalProperties`."""
_NAME_KEYWORDS = ("type", "required", "minProperties", "maxProperties", "dependentRequired")
_VALUE_KEYWORDS = ("const", "enum", "$dynamicRef")
_ANNOTATION_KEYWORDS = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated")
)
# A repeated group may take exponential time, as in `(a+)+`.
_SLOW_PATTERN = re.compile(r"\)[*+{]")
_MAX_PARTS = 2000
_MAX_BRANCHES = 16


def referred(reference: str, root: Row) -> Any:
    """Return the target of a reference such as `#/$defs/Place`; None if it is not in the schema."""
    target: Any = root if reference.startswith("#/") else None
    for segment in reference[2:].split("/"):
        key = segment.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, dict) else None
    return target


def matches(pattern: str, name: str) -> bool:
    """Return whether a name matches a pattern; False if the pattern is unsafe or invalid."""
    try:
        return not _SLOW_PATTERN.search(pattern) and re.search(pattern, name) is not None
    except re.error:
        return False


class Names:
    """The argument names that calls of one tool may have."""

    def __init__(self, parameters: Row):
        self._parameters = parameters

    @cached_property
    def _validator(self) -> Any:
        import jsonschema

        schema = _NameConstraints(self._parameters).bound(self._parameters, sure=False)
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except (jsonschema.SchemaError, RecursionError):
            schema = True
        return jsonschema.Draft202012Validator(schema)

    def fault(self, names: list[str]) -> tuple[str, str] | None:
        """Return the rejection reason and the problem; None if some values make the names valid."""
        from jsonschema.exceptions import best_match

        placeholder_arguments = dict.fromkeys(names, 0)
        try:
            error = best_match(self._validator.iter_errors(placeholder_arguments))
        except re.error:  # a pattern of the schema
            return None
        if error is None:
            return None
        missing = error.validator in ("required", "dependentRequired", "minProperties")
        reason = "missing_required_argument" if missing else "unknown_argument"
        prefix = (
            f"{error.validator} in its schema: " if error.validator not in _NAME_KEYWORDS else ""
        )
        return reason, f"{prefix}{error.message[:200]}"


class _NameConstraints:
    """One traversal of a schema, with a limited number of parts."""

    def __init__(self, root: Row):
        self._root = root
        self._path: list[str] = []
        self._parts = 0

    def bound(self, schema: Any, *, sure: bool) -> Any:
        """Return a schema of names that are valid for some values, or if `sure` for all values."""
        self._parts += 1
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or self._parts > _MAX_PARTS or not _is_quick(schema):
            return not sure
        if sure and any(key in schema for key in _VALUE_KEYWORDS):
            return False
        constraints = {key: schema[key] for key in _NAME_KEYWORDS if schema.get(key) is not None}
        for key in ("properties", "patternProperties"):
            if isinstance(schema.get(key), dict):
                constraints[key] = {
                    name: _value(subschema, sure) for name, subschema in schema[key].items()
                }
        for key in ("additionalProperties", "unevaluatedProperties"):
            if schema.get(key) is not None:
                constraints[key] = _value(schema[key], sure)
        if schema.get("propertyNames") is not None:
            constraints["propertyNames"] = schema["propertyNames"]
        if subconstraints := self._applied_constraints(schema, sure):
            constraints["allOf"] = subconstraints
        return constraints

    def _applied_constraints(self, schema: Row, sure: bool) -> list[Any]:
        """Return the constraints of the subschemas that apply to the same object."""
        constraints: list[Any] = []
        if isinstance(schema.get("allOf"), list):
            constraints += [self.bound(subschema, sure=sure) for subschema in schema["allOf"]]
        if isinstance(schema.get("anyOf"), list):
            constraints.append(
                {"anyOf": [self.bound(subschema, sure=sure) for subschema in schema["anyOf"]]}
            )
        if isinstance(schema.get("oneOf"), list):
            constraints += self._one_of(schema["oneOf"], sure)
        if schema.get("not") is not None:
            constraints.append({"not": self.bound(schema["not"], sure=not sure)})
        if schema.get("if") is not None:
            constraints.append(self._if(schema, sure))
        if isinstance(schema.get("dependentSchemas"), dict):
            bound = {
                name: self.bound(dependent, sure=sure)
                for name, dependent in schema["dependentSchemas"].items()
            }
            constraints.append({"dependentSchemas": bound})
        if isinstance(schema.get("$ref"), str):
            constraints.append(self._bound_reference(schema["$ref"], sure))
        return constraints

    def _one_of(self, branches: list[Any], sure: bool) -> list[Any]:
        """Return constraints for at least one of the branches and no two of them."""
        negated = [self.bound(branch, sure=not sure) for branch in branches]
        if len(branches) > _MAX_BRANCHES:
            pairs: list[Any] = [{"not": {}}] if sure else []
        else:
            pairs = [{"not": {"allOf": list(pair)}} for pair in itertools.combinations(negated, 2)]
        return [{"anyOf": [self.bound(branch, sure=sure) for branch in branches]}, *pairs]

    def _if(self, schema: Row, sure: bool) -> Row:
        condition_for_then, condition_for_else = (
            self.bound(schema["if"], sure=certainty) for certainty in (sure, not sure)
        )
        then_schema, else_schema = (
            self.bound(schema.get(keyword, True), sure=sure) for keyword in ("then", "else")
        )
        return {
            "anyOf": [
                {"allOf": [condition_for_then, then_schema]},
                {"allOf": [{"not": condition_for_else}, else_schema]},
            ]
        }

    def _bound_reference(self, reference: str, sure: bool) -> Any:
        if reference in self._path:  # a circular reference adds no constraint
            return True
        self._path.append(reference)
        constraints = self.bound(referred(reference, self._root), sure=sure)
        self._path.pop()
        return constraints


def _value(schema: Any, sure: bool) -> bool:
    """Return whether an argument may have some value, or if `sure` any value."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict) or _ANNOTATION_KEYWORDS.issuperset(schema):
        return True
    return schema != {"not": {}} and not sure


def _is_quick(schema: Row) -> bool:
    """Return whether the patterns of a schema can be matched safely on any name."""
    patterns = schema.get("patternProperties")
    pattern_texts = [*patterns] if isinstance(patterns, dict) else []
    property_names = str(schema.get("propertyNames", ""))
    return "$ref" not in property_names and not any(
        map(_SLOW_PATTERN.search, (*pattern_texts, property_names))
    )
