"""The official checker's verdicts on a published model, and the benchmark's gold on itself."""

from collections import Counter
from pathlib import Path

import pytest

from experiments.toolcalls import bfcl
from experiments.toolcalls.bfcl import FORMATS
from support.bfcl_golds import answer, as_fc, as_python, as_tags, questions, rows

MODEL = "glyphh-ada-1.1"
# By upstream's own rules no call is right for these rows of the benchmark.
UNREACHABLE = {
    "live_simple_106-63-0": "gold allows no value at all (an empty list) for a required parameter",
    "live_simple_112-68-0": "gold allows no value at all (an empty list) for a required parameter",
    "live_multiple_862-181-3": "gold asks for a parameter that the function does not have",
    "live_multiple_964-207-0": "the function requires a parameter that gold does not know",
}


@pytest.mark.slow
def test_every_shared_verdict_and_error_type_is_reproduced(shared: Path) -> None:
    official = {row["id"]: row for row in rows(shared / "bfcl_verdicts" / f"{MODEL}.jsonl")}
    found, differing = Counter[str | None](), []
    for category in bfcl.categories():
        files = list((shared / "bfcl_outputs" / MODEL).glob(f"*/BFCL_v4_{category}_result.json"))
        answers = {row["id"]: row["result"] for file in files for row in rows(file)}
        for row, gold in questions(shared, category):
            if row["id"] in answers:
                verdict = bfcl.check(category, row["function"], gold, answers[row["id"]], "fc")
                found[verdict.error_type] += 1
                wanted = official.pop(row["id"])
                if (verdict.valid, verdict.error_type) != (wanted["valid"], wanted["error_type"]):
                    differing.append((row["id"], verdict, wanted["error_type"]))
    assert not differing
    assert not official
    assert found.total() == 3475 and found.total() - found[None] == 547
    assert found["irrelevance_error:decoder_success"] == 126


@pytest.mark.parametrize("format", FORMATS)
def test_official_gold_is_right_against_itself_in_every_format(shared: Path, format: str) -> None:
    write = {"fc": as_fc, "tool_call": as_tags, "python": as_python}[format]
    wrong, n = set(), 0
    for category in filter(bfcl.needs_gold, bfcl.categories()):
        for row, gold in questions(shared, category):
            assert gold is not None
            n += 1
            output = write(answer(row["function"], gold))
            if not bfcl.check(category, row["function"], gold, output, format).valid:
                wrong.add(row["id"])
    assert n == 2351
    assert wrong == set(UNREACHABLE)


def test_official_gold_of_java_and_javascript_is_refused(shared: Path) -> None:
    del shared
    for category in ("simple_java", "simple_javascript"):
        with pytest.raises(ValueError, match=f"category '{category}': its values are Java"):
            bfcl.check(category, [], [], [], "fc")
