"""Each rule of the checker by hand, with the error type of the first check that fails."""

from typing import Any

import pytest

from experiments.errors import ConfigError
from experiments.toolcalls import bfcl
from experiments.toolcalls.bfcl.argument_checks import normalise

Row = dict[str, Any]
SIMPLE = "simple_function_checker:"
PARALLEL = "parallel_function_checker_no_order:"


def doc(name: str = "f", required: tuple[str, ...] = (), **types: Any) -> Row:
    """Describe a function; a pair of types is an array or tuple with its items' type."""
    properties = {
        key: {"type": kind[0], "items": {"type": kind[1]}}
        if isinstance(kind, tuple)
        else {"type": kind}
        for key, kind in types.items()
    }
    parameters = {"type": "dict", "properties": properties, "required": list(required)}
    return {"name": name, "parameters": parameters}


def error_type(
    functions: Any, gold: Any, *calls: Row, category: str = "simple_python", dots: bool = False
) -> str | None:
    """Check calls given as Python values, by way of their source text."""
    written = ", ".join(
        f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"
        for call in calls
        for name, given in call.items()
    )
    verdict = bfcl.check(category, functions, gold, f"[{written}]", "python", dots)
    assert verdict.valid == (verdict.error_type is None)
    return verdict.error_type


def of_value(kind: Any, allowed: list[Any], value: Any) -> str | None:
    """Check one argument."""
    return error_type([doc(x=kind)], [{"f": {"x": allowed}}], {"f": {"x": value}})


def test_the_checks_of_one_call_have_an_order() -> None:
    docs, gold = [doc(required=("x",), x="integer", y="integer")], [{"f": {"x": [1], "y": [2]}}]
    for given, wanted in (
        ({"g": {"z": "a"}}, SIMPLE + "wrong_func_name"),
        ({"f": {"z": "a", "y": 3}}, SIMPLE + "missing_required"),
        ({"f": {"x": 1, "y": "a", "z": 0}}, "type_error:simple"),
        ({"f": {"x": 3, "z": 0}}, "value_error:others"),
        ({"f": {"z": 0, "x": 3}}, SIMPLE + "unexpected_param"),
        ({"f": {"x": 1}}, SIMPLE + "missing_optional"),
        ({"f": {"y": 2, "x": 1}}, None),
    ):
        assert error_type(docs, gold, given) == wanted


def test_a_parameter_must_be_in_the_schema_and_in_gold() -> None:
    docs = [doc(x="integer", y="integer")]
    assert error_type(docs, [{"f": {"x": [1]}}], {"f": {"x": 1, "y": 1}}) == (
        SIMPLE + "unexpected_param"
    )
    assert error_type(docs, [{"f": {"x": [1], "z": [1]}}], {"f": {"x": 1, "z": 1}}) == (
        SIMPLE + "unexpected_param"
    )


def test_a_parameter_may_be_left_out_only_where_gold_lists_the_empty_text() -> None:
    docs = [doc(x="integer")]
    assert error_type(docs, [{"f": {"x": [1, ""]}}], {"f": {}}) is None
    assert error_type(docs, [{"f": {"x": [1]}}], {"f": {}}) == SIMPLE + "missing_optional"
    assert error_type(docs, [{"f": {"x": []}}], {"f": {}}) == SIMPLE + "missing_optional"
    required = [doc(required=("x",), x="string")]
    assert error_type(required, [{"f": {"x": [""]}}], {"f": {}}) == SIMPLE + "missing_required"
    assert error_type(required, [{"f": {"x": [""]}}], {"f": {"x": " -"}}) is None


@pytest.mark.parametrize(
    ("kind", "allowed", "value", "wanted"),
    [
        ("integer", [1], 1, None),
        ("integer", [1], 2, "value_error:others"),
        ("integer", [1], 1.0, "type_error:simple"),
        ("integer", [1], True, "type_error:simple"),
        ("integer", [1], "1", "type_error:simple"),
        ("integer", [1.0], 1.0, None),  # gold's type is a variable's
        ("integer", [1.0], 1, None),  # the schema's type; 1 == 1.0
        ("float", [1.5], 1.5, None),
        ("float", [1.0], 1, None),
        ("float", [1], 1, None),
        ("float", [1.0], True, "type_error:simple"),
        ("float", [0.5], "0.5", "type_error:simple"),
        ("float", [0.5], 10**400, "not_scorable:value"),
        ("boolean", [True], True, None),
        ("boolean", [True], False, "value_error:others"),
        ("boolean", [True], 1, "type_error:simple"),
        ("boolean", [True], "True", "type_error:simple"),
        ("boolean", ["flag"], "flag", None),
        ("boolean", ["flag"], "Flag", "value_error:others"),
        ("boolean", ["flag"], True, "value_error:others"),
        ("integer", ["n", 1], 1, None),
        ("integer", [1, "n"], "n", "type_error:simple"),
        ("integer", ["", 1], "", "type_error:simple"),
        ("integer", [""], 3, "value_error:others"),
        ("integer", [], 3, "value_error:others"),
        ("string", ["New York"], "new-york", None),
        ("string", ["New York"], "New York City", "value_error:string"),
        ("string", ["it's"], 'IT"S', None),
        ("string", ["a"], None, "type_error:simple"),
        ("string", [3], 3, None),
        ("string", [3], "3", "value_error:others"),
        ("string", ["a", 3], "3", "value_error:string"),
        ("string", [], "a", "value_error:string"),
        ("any", ["A b"], "ab", None),
        ("any", [3], 3, None),
        ("any", [3], 4, "value_error:others"),
        ("any", [[1]], [1], None),
        ("any", ["a"], 3, "type_error:simple"),
        ("any", [{"a": 1}], {"a": 1}, None),
        ("any", [{"a": 1}], {"a": 2}, "value_error:others"),
    ],
)
def test_simple_values(kind: str, allowed: list[Any], value: Any, wanted: str | None) -> None:
    assert of_value(kind, allowed, value) == wanted


@pytest.mark.parametrize(
    ("kind", "allowed", "value", "wanted"),
    [
        (("array", "integer"), [[1, 2]], [1, 2], None),
        (("array", "integer"), [[1, 2]], [2, 1], "value_error:list/tuple"),
        (("array", "integer"), [[1, 2]], [1], "value_error:list/tuple"),
        (("array", "integer"), [[1], [2, 3]], [2, 3], None),
        (("array", "integer"), [[1, 2]], [1, "2"], "type_error:nested"),
        (("array", "integer"), [[1, 2]], [1, True], "type_error:nested"),
        (("array", "integer"), [["a"], [1]], ["a"], None),
        (("array", "integer"), [["a", 1]], [1, "a"], "value_error:list/tuple"),
        (("array", "integer"), [[1, 2]], (1, 2), "type_error:simple"),
        (("array", "integer"), [[1, 2]], "1, 2", "type_error:simple"),
        (("array", "integer"), [[1, 2]], 1, "type_error:simple"),
        (("array", "integer"), ["", [1]], ["x"], "value_error:list/tuple"),
        (("array", "integer"), [[1], ""], [], None),
        (("array", "integer"), [[1]], [], "value_error:list/tuple"),
        (("array", "integer"), [], [1], "type_error:simple"),
        (("array", "integer"), [""], [1], "value_error:list/tuple"),
        (("array", "integer"), ["numbers"], "numbers", None),
        (("array", "integer"), ["numbers"], [1], "value_error:others"),
        (("array", "integer"), [[1], 3], [1], "not_scorable:gold"),
        (("array", "float"), [[1.0, 3.0]], [1.0, 3.0], None),
        (("array", "float"), [[1.0, 3.0]], [1, 3], "type_error:nested"),
        (("array", "float"), [[1, 3]], [1, 3], None),
        (("array", "float"), [[1, 3]], [1.0, 3.0], None),
        (("array", "string"), [["A b", "c"]], ["a-B", "C"], None),
        (("array", "string"), [["ab"]], [" "], "value_error:list/tuple"),
        (("array", "any"), [["ab"]], ["AB"], None),
        (("array", "array"), [[[1, 2], [3]]], [[1, 2], [3]], None),
        (("array", "array"), [[["A"]]], [["a"]], "value_error:list/tuple"),
        (("array", "array"), [[[1, 2]]], [(1, 2)], "type_error:nested"),
        (("tuple", "float"), [[1.5, 2.5]], (1.5, 2.5), None),
        (("tuple", "float"), [[1.5, 2.5]], [1.5, 2.5], None),
        (("tuple", "string"), [["A"]], ("a",), None),
        (("tuple", "float"), [[1.5, 2.5]], (1, 2), "type_error:nested"),
    ],
)
def test_lists_and_tuples(kind: Any, allowed: list[Any], value: Any, wanted: str | None) -> None:
    assert of_value(kind, allowed, value) == wanted


@pytest.mark.parametrize(
    ("allowed", "value", "wanted"),
    [
        ([{"a": [1], "b": ["X y", ""]}], {"a": 1, "b": "xy"}, None),
        ([{"a": [1], "b": ["x", ""]}], {"a": 1}, None),
        ([{"a": [1], "b": ["x"]}], {"a": 1}, "value_error:dict_key"),
        ([{"a": [1]}], {"a": 1, "c": 1}, "value_error:dict_key"),
        ([{"a": [1]}], {"a": 2}, "value_error:dict_value"),
        ([{"a": [1], "b": [2]}], {"a": 2}, "value_error:dict_key"),  # the missing key wins
        ([{"a": [1]}], {"a": True}, None),  # no types inside dicts
        ([{"a": [1]}, {"a": [2]}], {"a": 2}, None),
        ([{"a": [1]}, {"b": [2]}], {"a": 3}, "value_error:dict_key"),  # of the last dict
        ([{"a": [[1, "A"]]}], {"a": [1, "a"]}, "value_error:dict_value"),  # one level only
        ([{"a": [{"b": 1}]}], {"a": {"b": 1}}, None),
        ([{"a": ["", 1]}, ""], {}, None),
        (["", {"a": [1]}], {}, "value_error:dict_key"),
        ([""], {"a": 1}, "dict_checker:unclear"),
        ([], {"a": 1}, "dict_checker:unclear"),
        (["settings"], "settings", None),
        (["settings"], {"a": 1}, "value_error:others"),
        ([{"a": [1]}], [("a", 1)], "type_error:simple"),
        ([{"a": 1}], {"a": 1}, "not_scorable:gold"),
        ([{"a": "xy"}], {"a": "x"}, None),  # upstream reads the letters of a text
        ([{"a": {"b": [1]}}], {"a": {"b": 1}}, "not_scorable:gold"),
        ([{"a": [1]}, 3], {"a": 2}, "not_scorable:gold"),
    ],
)
def test_dicts(allowed: list[Any], value: Any, wanted: str | None) -> None:
    assert of_value("dict", allowed, value) == wanted


def test_a_key_with_more_digits_than_python_prints_is_an_unexpected_key() -> None:
    answer = f"[f(x={{0x{'f' * 5000}: 1}})]"
    verdict = bfcl.check("simple_python", [doc(x="dict")], [{"f": {"x": [{}]}}], answer, "python")
    assert verdict.error_type == "value_error:dict_key"


@pytest.mark.parametrize(
    ("allowed", "value", "wanted"),
    [
        ([[{"a": [1]}, {"b": [2, ""]}]], [{"a": 1}, {}], None),
        ([[{"a": [1]}, {"a": [2]}]], [{"a": 2}, {"a": 1}], "value_error:dict_value"),
        ([[{"a": [1]}]], [{"a": 1}, {"a": 1}], "value_error:list_dict_count"),
        ([[{"a": [1]}, {"a": [2]}], [{"a": [3]}]], [{"a": 4}], "value_error:dict_value"),
        ([[{"a": [3]}], [{"a": [1]}, {"a": [2]}]], [{"a": 4}], "value_error:list_dict_count"),
        ([[{"a": [3]}], [{"a": [4]}]], [{"a": 4}], None),
        ([[{"a": [1]}], ""], [], None),
        ([[{"a": [1]}]], [{"b": 1}], "value_error:dict_key"),
        ([[{"a": [1]}]], [1], "type_error:nested"),
        ([[{"a": [1]}]], {"a": 1}, "type_error:simple"),
        (["", [{"a": [1]}]], [1], "not_scorable:value"),
        ([[""]], [{"a": 1}], "dict_checker:unclear"),
        (["", [""]], [3], "dict_checker:unclear"),
        ([[{"a": [1]}], {"a": [1], "b": [2]}], [{"a": 2}], "value_error:list_dict_count"),
        ([[{"a": [1]}], {"a": [1]}], [{"a": 2}], "not_scorable:gold"),
        (["records"], "records", None),
    ],
)
def test_lists_of_dicts(allowed: list[Any], value: Any, wanted: str | None) -> None:
    assert of_value(("array", "dict"), allowed, value) == wanted


def test_text_is_compared_without_marks_case_and_kind_of_quote() -> None:
    assert normalise(" A,b./-_*^C'") == 'abc"'
    for kept in ("é", ":", "(", ")", "\n", '"', "!", "$"):
        assert normalise(kept) == kept


def test_simple_wants_exactly_one_call_of_the_first_function() -> None:
    docs, gold = [doc(x="integer"), doc("g")], [{"f": {"x": [1]}}]
    right = {"f": {"x": 1}}
    for category in ("simple_python", "live_simple"):
        assert error_type(docs, gold, category=category) == SIMPLE + "wrong_count"
        assert error_type(docs, gold, right, right, category=category) == SIMPLE + "wrong_count"
        assert error_type(docs, gold, {"g": {}}, category=category) == SIMPLE + "wrong_func_name"


def test_multiple_finds_the_function_by_the_name_of_gold() -> None:
    docs, gold = [doc("g"), doc(x="integer")], [{"f": {"x": [1]}}]
    for category in ("multiple", "live_multiple"):
        assert error_type(docs, gold, {"f": {"x": 1}}, category=category) is None
        assert error_type(docs, gold, {"g": {}}, category=category) == SIMPLE + "wrong_func_name"
        assert error_type(docs, gold, category=category) == "multiple_function_checker:wrong_count"


def test_parallel_calls_have_no_order_and_their_matching_takes_nothing_back() -> None:
    docs, gold = [doc(x="integer"), doc("g")], [{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}, {"g": {}}]
    one, two = {"f": {"x": 1}}, {"f": {"x": 2}}
    g: Row = {"g": {}}
    for category in ("parallel", "parallel_multiple", "live_parallel", "live_parallel_multiple"):
        assert error_type(docs, gold, g, two, one, category=category) is None
        # The first gold call takes x=1, which is the only one that fits the second.
        assert error_type(docs, gold, one, two, g, category=category) == (
            PARALLEL + "cannot_find_match"
        )
        assert error_type(docs, gold, two, two, g, category=category) == (
            PARALLEL + "cannot_find_match"
        )
        assert error_type(docs, gold, one, two, category=category) == PARALLEL + "wrong_count"
        assert error_type(docs, gold, one, two, g, g, category=category) == (
            PARALLEL + "wrong_count"
        )


def test_dots_in_a_name_are_underscores_only_where_the_model_saw_them_so() -> None:
    docs, gold = [doc("a.b.c")], [Row({"a.b.c": {}})]
    assert error_type(docs, gold, {"a.b.c": {}}) is None
    assert error_type(docs, gold, {"a_b_c": {}}) == SIMPLE + "wrong_func_name"
    assert error_type(docs, gold, {"a_b_c": {}}, dots=True) is None
    assert error_type(docs, gold, {"a.b.c": {}}, dots=True) == SIMPLE + "wrong_func_name"
    assert error_type([doc("a_b")], [{"a_b": {}}], {"a_b": {}}, dots=True) is None


@pytest.mark.parametrize("category", ["simple_python", "multiple", "parallel", "live_simple"])
def test_an_answer_that_cannot_be_read_has_the_decoders_error(category: str) -> None:
    def of(output: Any, format: str) -> str | None:
        return bfcl.check(category, [doc()], [{"f": {}}], output, format).error_type

    assert of("What?", "python") == "ast_decoder:decoder_failed"
    assert of([{"f": "3"}], "fc") == "ast_decoder:decoder_wrong_output_format"


@pytest.mark.parametrize(
    "docs",
    [
        None, [], {}, ["f"], [{"name": "f"}], [{"name": "f", "parameters": 3}],
        [{"name": "f", "parameters": {"properties": {}}}],
        [{"name": "f", "parameters": {"properties": [], "required": []}}],
        [{"name": "f", "parameters": {"properties": {}, "required": [[]]}}],
        [{"name": ["f"], "parameters": {"properties": {}, "required": []}}],
        [doc(x="number")], [doc(x=["string"])], [doc(x="array")], [doc(x=("array", "list"))],
    ],
)  # fmt: skip
@pytest.mark.parametrize("category", ["simple_python", "multiple", "parallel"])
def test_a_broken_description_is_named_and_never_right(docs: Any, category: str) -> None:
    found = error_type(docs, [{"f": {}}], {"f": {}}, category=category)
    assert found in ("not_scorable:schema", "not_scorable:gold")


@pytest.mark.parametrize(
    "gold", [None, [], {}, [3], [{}], [{"f": {}, "g": {}}], [{"f": []}], [{"f": {"x": 1}}]]
)
def test_broken_gold_is_named_and_never_right(gold: Any) -> None:
    assert error_type([doc(x="integer")], gold, {"f": {"x": 1}}) == "not_scorable:gold"


def test_categories_that_are_not_scored_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'simple_java': its values are Java literals, which"):
        bfcl.check("simple_java", [], [], [])
    with pytest.raises(ConfigError, match="'simple_javascript': its values are JavaScript lit"):
        bfcl.check("simple_javascript", [], [], [])
    with pytest.raises(ConfigError, match="category 'simple': did you mean 'live_simple'"):
        bfcl.check("simple", [], [], [])
