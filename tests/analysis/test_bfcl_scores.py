"""Saved outputs of any model: one line per question, and a broken file is named, not scored."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import environment
from experiments.analysis import bfcl_scores
from experiments.analysis.bfcl_scores import BfclFiles
from experiments.cli.main import main
from experiments.errors import ConfigError, DataError
from experiments.toolcalls import bfcl
from support.bfcl_golds import DOC, gold, lines, question, rows

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "trackio")
RIGHT, WRONG = [{"f": '{"x": 1}'}], [{"f": '{"x": 2}'}]

Score = Callable[..., tuple[list[dict[str, Any]], str]]


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """Score predictions of three questions a, b and c of the category simple_python."""

    def run(*predictions: object, category: str = "simple_python", format: str = "fc") -> Any:
        given = BfclFiles(
            category,
            lines(tmp_path / "q", *(question(i) for i in "abc")),
            lines(tmp_path / "a", *(gold(i) for i in "cba")) if bfcl.needs_gold(category) else None,
            lines(tmp_path / "p", *predictions),
            format,
        )
        printed = bfcl_scores.score_bfcl(given, tmp_path / "new" / "out.jsonl")
        return rows(tmp_path / "new" / "out.jsonl"), "\n".join(printed)

    return run


def test_items_are_written_in_the_order_of_the_questions(score: Score) -> None:
    found, printed = score(
        {"id": "c", "result": RIGHT}, {"id": "a", "result": RIGHT}, {"id": "b", "result": WRONG}
    )
    assert found == [
        {"id": "a", "valid": True, "error_type": None},
        {"id": "b", "valid": False, "error_type": "value_error:others"},
        {"id": "c", "valid": True, "error_type": None},
    ]
    assert "bfcl simple_python: 2 of 3 valid, 0.6667 [0.2077, 0.9385] (95 %, n = 3)" in printed
    assert "     1  value_error:others" in printed


def types(found: list[dict[str, Any]]) -> list[str | None]:
    assert all(row["valid"] == (row["error_type"] is None) for row in found)
    return [row["error_type"] for row in found]


def test_missing_duplicate_and_extra_ids_are_counted_and_never_right(score: Score) -> None:
    found, printed = score(
        {"id": "a", "result": RIGHT},
        {"id": "a", "result": RIGHT},
        {"id": "z\ud800", "result": RIGHT},
        {"id": "c"},
    )
    assert types(found) == ["prediction:duplicate", "prediction:missing", "prediction:no_result"]
    assert r"1 ids match no question and are not counted: 'z\ud800'" in printed


def test_broken_lines_are_named_with_their_number_and_cost_their_own_item(score: Score) -> None:
    found, printed = score(
        {"id": "a", "result": RIGHT},
        '{"id": "b", "result": ' + "[" * 10_000 + "]" * 10_000 + "}",
        "",
        "[]",
        '{"result": []}',
        b'{"id": "\xff", "result": []}',
        '{"id": "c", "result": [{"f": "{\\"x\\"',
    )
    assert types(found) == [None, "prediction:unreadable", "prediction:unreadable"]
    assert (
        "5 lines are not predictions: line 2 (nested too deeply), line 4 (not a JSON object)"
        in (printed)
    )
    assert "line 5 ('id' is missing or not a string), line 6 (not a complete JSON" in printed
    assert "line 7 (not a complete JSON" in printed


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance", "live_relevance"])
def test_a_missing_prediction_is_not_right_where_no_call_is(score: Score, category: str) -> None:
    found, printed = score({"id": "a", "result": []}, "{", category=category)
    assert types(found)[1:] == ["prediction:missing"] * 2
    assert "1 lines are not predictions" in printed


@pytest.mark.parametrize("result", [None, 3, {}, {"f": 1}, [[]], "text", [{"f": 3}], [None]])
@pytest.mark.parametrize("format", bfcl.FORMATS)
def test_results_of_a_wrong_shape_are_not_right(score: Score, result: Any, format: str) -> None:
    found, _ = score(*({"id": i, "result": result} for i in "abc"), format=format)
    assert not any(row["valid"] for row in found)


def test_a_broken_call_is_counted_beside_the_official_refusal(score: Score) -> None:
    text = "<tool_call>\n{"
    predictions = [{"id": "a", "result": text}, {"id": "b", "result": "No."}, {"id": "c"}]
    found, printed = score(*predictions, category="irrelevance", format="tool_call")
    assert types(found) == [None, None, "prediction:no_result"]
    assert "     1  answers have a malformed call; 1 still count as valid" in printed


def test_broken_descriptions_are_counted_and_never_right(tmp_path: Path) -> None:
    functions: list[Any] = [[], [3], [{"name": "f"}], [DOC | {"parameters": {"properties": 3}}]]
    given = BfclFiles(
        "simple_python",
        lines(tmp_path / "q", *(question(f"q{i}", function=f) for i, f in enumerate(functions))),
        lines(tmp_path / "a", *(gold(f"q{i}") for i in range(4))),
        lines(tmp_path / "p", *({"id": f"q{i}", "result": RIGHT} for i in range(4))),
        "fc",
    )
    bfcl_scores.score_bfcl(given, tmp_path / "out")
    assert types(rows(tmp_path / "out")) == ["not_scorable:schema"] * 4


@pytest.mark.parametrize(
    ("questions", "answers", "sentence"),
    [
        ([], [gold("a")], r"--questions .*q: the file is empty; give BFCL's own file\."),
        (["{"], [gold("a")], r"--questions .*q, line 1: not a complete JSON object in UTF-8; give"),
        (["[" * 9999], [gold("a")], "--questions .*q, line 1: nested too deeply"),
        ([question("a"), {"function": []}], [gold("a")], "line 2: 'id' is missing or not a string"),
        ([question("a"), question("a")], [gold("a")], "line 2: duplicate id 'a'"),
        ([question("a", function=3)], [gold("a")], "id 'a': 'function' is not a list"),
        ([question("multiple_1")], [gold("a")], "id 'multiple_1': it belongs to category 'mul"),
        ([question("simple_java_1")], [gold("a")], "it belongs to category 'simple_java'"),
        ([question("a")], ['{"id": '], "--answers .*a, line 1: not a complete JSON object"),
        ([question("a"), question("b")], [gold("b")], "no answer to 1 of 2 questions .first: "
         "'a'.; give the answers of the same category"),
        ([question("a")], [{"id": "a"}], "--answers .*, id 'a': ground_truth is not a list of"),
        ([question("a")], [{"id": "a", "ground_truth": [{"f": {"x": 1}}]}], "no list of allowed"),
    ],
)  # fmt: skip
def test_broken_questions_and_answers_stop_with_one_sentence(
    tmp_path: Path, questions: list[object], answers: list[object], sentence: str
) -> None:
    q, a = lines(tmp_path / "q", *questions), lines(tmp_path / "a", *answers)
    with pytest.raises(DataError, match=sentence):
        bfcl_scores.score_bfcl(BfclFiles("simple_python", q, a, q, "fc"), tmp_path / "out")


def test_answers_are_needed_where_there_is_gold_and_refused_where_there_is_none(
    tmp_path: Path,
) -> None:
    q = lines(tmp_path / "q", question("a"))
    with pytest.raises(ConfigError, match="category 'multiple' needs --answers FILE"):
        bfcl_scores.score_bfcl(BfclFiles("multiple", q, None, q, "fc"), tmp_path / "out")
    with pytest.raises(
        ConfigError, match="category 'irrelevance' has no gold answers: omit --answers"
    ):
        bfcl_scores.score_bfcl(BfclFiles("irrelevance", q, q, q, "fc"), tmp_path / "out")


def test_answers_to_other_questions_are_counted_and_not_used(tmp_path: Path) -> None:
    q, a = lines(tmp_path / "q", question("a")), lines(tmp_path / "g", *map(gold, "abc"))
    p = lines(tmp_path / "p", {"id": "a", "result": RIGHT})
    printed = bfcl_scores.score_bfcl(BfclFiles("multiple", q, a, p, "fc"), tmp_path / "out")
    assert printed[1].endswith("g: 2 answers match no question and are ignored: 'b', 'c'")
    assert rows(tmp_path / "out") == [{"id": "a", "valid": True, "error_type": None}]


BASE = ("score", "--benchmark", "bfcl", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--category", "simple_java"], "category 'simple_java': its values are Java literals"),
        (["--category", "simple_javascript"], "its values are JavaScript literals"),
        (["--category", "simple_pyton"], "did you mean 'simple_python'?"),
        (["--format", "xml"], "format 'xml': Allowed: fc, tool_call, python"),
        (["--predictions", "nowhere"], "--predictions nowhere: No such file or directory"),
        (["--answers", "q"], "category 'irrelevance' has no gold"),
        (["--benchmark", "bfc"], "--benchmark bfc: did you mean 'bfcl'?"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "q", question("a"))
    whole = ["--category", "irrelevance", "--questions", "q", "--predictions", "q"]
    assert main([*BASE, *whole, "--format", "fc", *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and len(printed.splitlines()) == 1
    assert sentence in printed
    assert not (tmp_path / "out").exists()


def test_what_a_benchmark_needs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--category", "multiple"]) == 1
    assert capsys.readouterr().err == (
        "error: --benchmark bfcl needs --questions, --predictions, --format: see score --help.\n"
    )


@pytest.mark.slow
def test_scoring_loads_nothing_heavy(tmp_path: Path) -> None:
    lines(tmp_path / "q", question("a"))
    lines(tmp_path / "p", {"id": "a", "result": []})
    arguments = [*BASE, "--category", "irrelevance", "--questions", "q", "--predictions", "p"]
    code = (
        "import sys; from experiments.cli.main import main; "
        f"assert main({[*arguments, '--format', 'fc']!r}) == 0; "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert rows(tmp_path / "out") == [{"id": "a", "valid": True, "error_type": None}]


def test_published_result_files_give_the_published_counts(shared: Path, tmp_path: Path) -> None:
    published = {
        "simple_python": 378, "multiple": 189, "parallel": 183, "parallel_multiple": 176,
        "irrelevance": 205, "live_simple": 217, "live_multiple": 757, "live_parallel": 12,
        "live_parallel_multiple": 18, "live_irrelevance": 793,
    }  # fmt: skip
    for category, right in published.items():
        part = "live" if category.startswith("live") else "non_live"
        folder = shared / "bfcl_outputs" / "glyphh-ada-1.1" / part
        name = f"BFCL_v4_{category}.json"
        answers = shared / "bfcl" / "possible_answer" / name
        given = BfclFiles(
            category,
            shared / "bfcl" / name,
            answers if answers.is_file() else None,
            folder / f"BFCL_v4_{category}_result.json",
            "fc",
        )
        printed = bfcl_scores.score_bfcl(given, tmp_path / category)
        found = rows(tmp_path / category)
        assert sum(row["valid"] for row in found) == right
        assert f"{right} of {len(found)} valid" in printed[0]
