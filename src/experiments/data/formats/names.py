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
_OF_NAMES = ("type", "required", "minProperties", "maxProperties", "dependentRequired")
_OF_WHOLE_VALUES = ("const", "enum", "$dynamicRef")
_WORDS_ABOUT = frozenset(("title", "description", "default", "examples", "$comment", "deprecated"))
# A repeated group may take exponential time, as in `(a+)+`.
_SLOW = re.compile(r"\)[*+{]")
_MOST_PARTS = 2000
_MOST_COMPARED = 16


def referred(reference: str, root: Row) -> Any:
    """Return the target of a reference such as `#/$defs/Place`; None if it is not in the schema."""
    found: Any = root if reference.startswith("#/") else None
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def matches(pattern: str, name: str) -> bool:
    """Return whether a name matches a pattern; False if the pattern is unsafe or invalid."""
    try:
        return not _SLOW.search(pattern) and re.search(pattern, name) is not None
    except re.error:
        return False


class Names:
    """The argument names that calls of one tool may have."""

    def __init__(self, parameters: Row):
        self._parameters = parameters

    @cached_property
    def _validator(self) -> Any:
        import jsonschema

        schema = _Reading(self._parameters).bound(self._parameters, sure=False)
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except (jsonschema.SchemaError, RecursionError):
            schema = True
        return jsonschema.Draft202012Validator(schema)

    def fault(self, names: list[str]) -> tuple[str, str] | None:
        """Return the rejection reason and the problem; None if some values make the names valid."""
        from jsonschema.exceptions import best_match

        given = dict.fromkeys(names, 0)
        try:
            error = best_match(self._validator.iter_errors(given))
        except re.error:  # a pattern of the schema
            return None
        if error is None:
            return None
        missing = error.validator in ("required", "dependentRequired", "minProperties")
        reason = "missing_required_argument" if missing else "unknown_argument"
        about = f"{error.validator} in its schema: " if error.validator not in _OF_NAMES else ""
        return reason, f"{about}{error.message[:200]}"


class _Reading:
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
        if not isinstance(schema, dict) or self._parts > _MOST_PARTS or not _is_quick(schema):
            return not sure
        if sure and any(key in schema for key in _OF_WHOLE_VALUES):
            return False
        out = {key: schema[key] for key in _OF_NAMES if schema.get(key) is not None}
        for key in ("properties", "patternProperties"):
            if isinstance(schema.get(key), dict):
                out[key] = {name: _value(one, sure) for name, one in schema[key].items()}
        for key in ("additionalProperties", "unevaluatedProperties"):
            if schema.get(key) is not None:
                out[key] = _value(schema[key], sure)
        if schema.get("propertyNames") is not None:
            out["propertyNames"] = schema["propertyNames"]
        if parts := self._applied(schema, sure):
            out["allOf"] = parts
        return out

    def _applied(self, schema: Row, sure: bool) -> list[Any]:
        """Return the constraints of the subschemas that apply to the same object."""
        found: list[Any] = []
        if isinstance(schema.get("allOf"), list):
            found += [self.bound(one, sure=sure) for one in schema["allOf"]]
        if isinstance(schema.get("anyOf"), list):
            found.append({"anyOf": [self.bound(one, sure=sure) for one in schema["anyOf"]]})
        if isinstance(schema.get("oneOf"), list):
            found += self._one_of(schema["oneOf"], sure)
        if schema.get("not") is not None:
            found.append({"not": self.bound(schema["not"], sure=not sure)})
        if schema.get("if") is not None:
            found.append(self._if(schema, sure))
        if isinstance(schema.get("dependentSchemas"), dict):
            bound = {n: self.bound(v, sure=sure) for n, v in schema["dependentSchemas"].items()}
            found.append({"dependentSchemas": bound})
        if isinstance(schema.get("$ref"), str):
            found.append(self._referred(schema["$ref"], sure))
        return found

    def _one_of(self, branches: list[Any], sure: bool) -> list[Any]:
        """Return constraints for at least one of the branches and no two of them."""
        others = [self.bound(one, sure=not sure) for one in branches]
        if len(branches) > _MOST_COMPARED:
            pairs: list[Any] = [{"not": {}}] if sure else []
        else:
            pairs = [{"not": {"allOf": list(two)}} for two in itertools.combinations(others, 2)]
        return [{"anyOf": [self.bound(one, sure=sure) for one in branches]}, *pairs]

    def _if(self, schema: Row, sure: bool) -> Row:
        holds, fails = (self.bound(schema["if"], sure=one) for one in (sure, not sure))
        then, other = (self.bound(schema.get(k, True), sure=sure) for k in ("then", "else"))
        return {"anyOf": [{"allOf": [holds, then]}, {"allOf": [{"not": fails}, other]}]}

    def _referred(self, reference: str, sure: bool) -> Any:
        if reference in self._path:  # a circular reference adds no constraint
            return True
        self._path.append(reference)
        found = self.bound(referred(reference, self._root), sure=sure)
        self._path.pop()
        return found


def _value(schema: Any, sure: bool) -> bool:
    """Return whether an argument may have some value, or if `sure` any value."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict) or _WORDS_ABOUT.issuperset(schema):
        return True
    return schema != {"not": {}} and not sure


def _is_quick(schema: Row) -> bool:
    """Return whether the patterns of a schema can be matched safely on any name."""
    patterns = schema.get("patternProperties")
    texts = [*patterns] if isinstance(patterns, dict) else []
    of_names = str(schema.get("propertyNames", ""))
    return "$ref" not in of_names and not any(map(_SLOW.search, (*texts, of_names)))
