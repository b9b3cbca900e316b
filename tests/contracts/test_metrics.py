"""Every file in metrics/ keeps one contract."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config.categories import CATEGORIES
from experiments.data import toolworld
from experiments.errors import ConfigError
from experiments.evaluation import metrics
from experiments.evaluation.metrics import Item
from experiments.toolcalls.parser import parse

NAMES = metrics.names()
ROWS: list[dict[str, Any]] = [
    dict(row) for row in toolworld.rows("test", 27, seed=0, weights=dict.fromkeys(CATEGORIES, 1.0))
]


def gold_text(row: dict[str, Any]) -> str:
    last = row["messages"][-1]
    calls = [
        "<tool_call>\n" + json.dumps(call["function"]) + "\n</tool_call>"
        for call in last.get("tool_calls") or []
    ]
    return str(last.get("content") or "") + "\n".join(calls)


def item(row: dict[str, Any], text: str, *, stopped: bool = True) -> Item:
    return Item(row, parse(text), stopped, len(text), text)


@pytest.mark.parametrize("name", NAMES)
class TestMetricContract:
    def test_declares_a_direction_for_each_score(self, name: str) -> None:
        module = metrics.load(name)
        assert module.DIRECTION
        assert set(module.DIRECTION.values()) <= {"maximize", "minimize"}
        for row in ROWS:
            assert set(module.score(item(row, gold_text(row)))) <= set(module.DIRECTION)

    def test_names_an_example_and_a_reason_in_its_docstring(self, name: str) -> None:
        assert "Example:" in (metrics.load(name).__doc__ or "")

    def test_gold_gets_the_best_score(self, name: str) -> None:
        if name in ("generation", "loss"):
            return
        module = metrics.load(name)
        for row in ROWS:
            for key, value in module.score(item(row, gold_text(row))).items():
                assert value == (1.0 if module.DIRECTION[key] == "maximize" else 0.0), (row, key)

    def test_an_empty_answer_is_never_right(self, name: str) -> None:
        module = metrics.load(name)
        for row in ROWS:
            scores = module.score(item(row, "", stopped=False))
            for key in ("exact", "correct", "valid", "name", "stopped"):
                assert scores.get(key, 0.0) == 0.0

    @given(text=st.text(max_size=80), index=st.integers(0, len(ROWS) - 1))
    def test_any_answer_is_scored_between_0_and_1(self, name: str, text: str, index: int) -> None:
        for key, value in metrics.load(name).score(item(ROWS[index], text)).items():
            assert key == "new_tokens" or 0.0 <= value <= 1.0


def test_an_unknown_metric_lists_the_folder() -> None:
    with pytest.raises(ConfigError, match=r"eval\.metrics contains 'cals': did you mean 'calls'\?"):
        metrics.load("cals")


def parallel_row(*calls: dict[str, Any]) -> dict[str, Any]:
    turn = {"role": "assistant", "content": "", "tool_calls": [{"function": c} for c in calls]}
    return {"messages": [turn], "tools": []}


A = {"name": "a", "arguments": {"x": 1}}
B = {"name": "b", "arguments": {"y": "$1"}}
C = {"name": "c", "arguments": {"y": 2.0}}


def exact(row: dict[str, Any], *calls: dict[str, Any]) -> float:
    other = parallel_row(*calls)
    found: float = metrics.load("calls").score(item(row, gold_text(other)))["exact"]
    return found


def test_independent_calls_have_no_order() -> None:
    assert exact(parallel_row(A, C), C, A) == 1.0
    assert exact(parallel_row(A, A), A) == 0.0


def test_calls_that_refer_to_each_other_keep_their_order() -> None:
    assert exact(parallel_row(A, B), A, B) == 1.0
    assert exact(parallel_row(A, B), B, A) == 0.0


def test_a_changed_renamed_or_dropped_argument_is_noticed() -> None:
    for wrong in ({"x": 2}, {"z": 1}, {}, {"x": "1"}, {"x": True}, {"x": 1, "w": 0}):
        assert exact(parallel_row(A), {"name": "a", "arguments": wrong}) == 0.0


def test_a_malformed_call_is_neither_a_refusal_nor_an_exact_call() -> None:
    refusal = {
        "messages": [{"role": "assistant", "content": "No."}],
        "tools": [{}],
        "expects": "refusal",
    }
    broken = "<tool_call>{broken"
    scores = metrics.load("restraint").score(item(refusal, broken))
    assert scores == {"correct": 0.0, "overcall": 0.0, "malformed": 1.0}
    assert metrics.load("calls").score(item(refusal, broken)) == {"malformed": 1.0}


def test_asking_back_needs_a_question() -> None:
    ask = {
        "messages": [{"role": "assistant", "content": "When?"}],
        "tools": [{}],
        "expects": "question",
    }
    right = {"correct": 1.0, "asked": 1.0, "overcall": 0.0, "malformed": 0.0}
    assert metrics.load("restraint").score(item(ask, "For what time?")) == right
    wrong = metrics.load("restraint").score(item(ask, "Done."))
    assert (wrong["correct"], wrong["asked"], wrong["overcall"]) == (0.0, 0.0, 0.0)


def test_loss_is_a_true_token_mean() -> None:
    assert metrics.load("loss").mean_nll([(6.0, 3), (1.0, 1)]) == 1.75


def test_json_validity_and_values_are_two_scores() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
              "required": ["a", "b"]}  # fmt: skip
    row = {"messages": [{"role": "assistant", "content": '{"a": 1, "b": 2}'}], "schema": schema}
    score = metrics.load("json_output").score
    assert score(item(row, '{"a": 1, "b": 3}')) == {"valid": 1.0, "values": 0.5, "exact": 0.0}
    assert score(item(row, '{"a": 1}')) == {"valid": 0.0, "values": 0.5, "exact": 0.0}


TOOL = {
    "type": "function",
    "function": {
        "name": "a",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "string"}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
}


def calls_scores(row: dict[str, Any], text: str) -> dict[str, float]:
    found: dict[str, float] = metrics.load("calls").score(item({"tools": [TOOL], **row}, text))
    return found


def test_format_and_meaning_are_two_scores() -> None:
    row = parallel_row(A) | {"tools": [TOOL]}
    forgiven = calls_scores(row, "<tool_call>\n{'name': 'a', 'arguments': {'x': 1}}")
    assert (forgiven["exact"], forgiven["parsed"], forgiven["malformed"]) == (0.0, 0.0, 1.0)
    assert (forgiven["exact_tolerant"], forgiven["parsed_tolerant"]) == (1.0, 1.0)
    untagged = calls_scores(row, '{"name": "a", "parameters": {"x": 1}}')
    assert (untagged["parsed"], untagged["exact_tolerant"]) == (0.0, 1.0)


def test_arguments_belong_to_their_call() -> None:
    one, other = {"x": 1, "y": "p"}, {"x": 2, "y": "q"}
    row = parallel_row({"name": "a", "arguments": one}, {"name": "a", "arguments": other})
    crossed = parallel_row(
        {"name": "a", "arguments": {"x": 2, "y": "p"}},
        {"name": "a", "arguments": {"x": 1, "y": "q"}},
    )
    scores = calls_scores(row, gold_text(crossed))
    assert (scores["argument_precision"], scores["argument_recall"]) == (0.5, 0.5)
    swapped = parallel_row(
        {"name": "a", "arguments": other},
        {"name": "a", "arguments": one},
        {"name": "a", "arguments": {"x": 3}},
    )
    scores = calls_scores(row, gold_text(swapped))
    assert (scores["argument_precision"], scores["argument_recall"]) == (0.8, 1.0)


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [({"x": 1}, 1.0), ({"x": "1"}, 0.0), ({"y": "p"}, 0.0), ({"x": 1, "z": 0}, 0.0)],
)
def test_calls_are_held_against_their_schema(arguments: dict[str, Any], valid: float) -> None:
    other = gold_text(parallel_row({"name": "a", "arguments": arguments}))
    assert calls_scores(parallel_row(A) | {"tools": [TOOL]}, other)["schema_valid"] == valid


def test_under_a_broken_schema_nothing_is_valid() -> None:
    broken = {"type": "function", "function": {"name": "a", "parameters": {"type": "objekt"}}}
    row = parallel_row(A) | {"tools": [broken]}
    assert calls_scores(row, gold_text(parallel_row(A)))["schema_valid"] == 0.0
    asked = {"messages": [{"role": "assistant", "content": "{}"}], "schema": {"type": "objekt"}}
    assert metrics.load("json_output").score(item(asked, "{}"))["valid"] == 0.0


def test_prose_where_a_call_is_due_and_a_call_where_none_is() -> None:
    wants = parallel_row(A) | {"tools": [TOOL]}
    score = metrics.load("restraint").score
    assert score(item(wants, "No.")) == {"undercall": 1.0}
    assert score(item(wants, "<tool_call>{")) == {"undercall": 0.0}
    refuses = {"messages": [{"role": "assistant", "content": "No."}], "tools": [TOOL]}
    called = score(item(refuses, gold_text(parallel_row(A))))
    assert (called["correct"], called["overcall"]) == (0.0, 1.0)
    hidden = score(item(refuses, '{"name": "a", "arguments": {"x": 1}}'))
    assert (hidden["correct"], hidden["overcall"], hidden["malformed"]) == (0.0, 1.0, 0.0)


def test_an_empty_list_is_a_value_of_its_own() -> None:
    row = {"messages": [{"role": "assistant", "content": '{"a": []}'}], "schema": {}}
    score = metrics.load("json_output").score
    assert score(item(row, '{"a": []}'))["values"] == 1.0
    assert score(item(row, '{"a": {}}'))["values"] == 0.0


def bfcl_row(category: str, **extra: Any) -> dict[str, Any]:
    properties = {"x": {"type": "integer"}}
    doc = {"name": "a.b", "parameters": {"properties": properties, "required": ["x"]}}
    gold = [{"a.b": {"x": [1, 2]}}]
    return {"bfcl": {"category": category, "function": [doc], "ground_truth": gold} | extra}


def bfcl_call(name: str, x: object) -> str:
    call = {"name": name, "arguments": {"x": x}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def test_bfcl_scores_the_text_of_rows_that_carry_its_gold() -> None:
    score = metrics.load("bfcl_ast").score
    row = bfcl_row("simple_python")
    assert score(item(row, bfcl_call("a.b", 2))) == {"valid": 1.0, "malformed": 0.0}
    assert score(item(row, bfcl_call("a.b", 3))) == {"valid": 0.0, "malformed": 0.0}
    assert score(item(row, "<tool_call>\n{")) == {"valid": 0.0, "malformed": 1.0}
    assert score(item({"messages": []}, "text")) == {}


def test_bfcl_reports_a_broken_call_beside_the_official_refusal() -> None:
    score, row = metrics.load("bfcl_ast").score, bfcl_row("irrelevance", ground_truth=None)
    assert score(item(row, "No tool fits.")) == {"valid": 1.0, "malformed": 0.0}
    assert score(item(row, "<tool_call>\n{")) == {"valid": 1.0, "malformed": 1.0}
    assert score(item(row, bfcl_call("a.b", 1))) == {"valid": 0.0, "malformed": 0.0}


def test_bfcl_compares_dots_as_underscores_where_the_row_says_so() -> None:
    score, row = metrics.load("bfcl_ast").score, bfcl_row("multiple", underscore_to_dot=True)
    assert score(item(row, bfcl_call("a_b", 1)))["valid"] == 1.0
    assert score(item(row, bfcl_call("a.b", 1)))["valid"] == 0.0
