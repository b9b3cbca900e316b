"""Rows and sets of an evaluation are never trained on without a refusal."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.data import decontamination
from experiments.errors import DataError

Row = dict[str, Any]
TOOLS = [{"type": "function", "function": {"name": "look_up"}}]


def row(name: str, *texts: str, tools: Any = TOOLS, answer: str = "fine") -> Row:
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
    messages[-1]["content"] = answer
    return {"id": name, "source": "test", "messages": messages, "tools": tools}


def test_the_same_prompt_is_an_overlap_whatever_its_answer() -> None:
    found = decontamination.overlap(
        [row("t", "a", answer="1")], [row("e", "b"), row("e2", "a", answer="2")]
    )
    assert found == [decontamination.Overlap("t", "e2", "same prompt")]


def test_the_same_question_in_another_spelling_is_a_near_duplicate() -> None:
    system = {"role": "system", "content": "Be kind."}
    other = row("t", "Who is  HERE?")
    other["messages"].insert(0, system)
    assert decontamination.overlap([other], [row("e", "who is here?")]) == [
        decontamination.Overlap("t", "e", "near-duplicate")
    ]
    assert not decontamination.overlap(
        [row("t", "who is here?", tools=[])], [row("e", "who is here?")]
    )


def test_a_common_last_sentence_does_not_make_two_dialogues_one() -> None:
    train = [row("t", "book a table", "No, thanks.")]
    assert not decontamination.overlap(train, [row("e", "book a room", "No, thanks.")])
    assert decontamination.overlap(train, [row("e", "book a table", "no, thanks.")])


def test_an_overlap_is_refused_with_its_size_and_three_examples() -> None:
    train = [row(f"t{i}", f"question {i}") for i in range(10)]
    evaluation = [row(f"e{i}", f"Question {i}") for i in range(5)]
    with pytest.raises(DataError) as caught:
        decontamination.refuse_overlap(train, evaluation, evaluation="the test split")
    text = str(caught.value)
    assert text.startswith("5 of 10 training rows also occur in the test split")
    assert "t0 is e0 (near-duplicate); t1 is e1 (near-duplicate); t2" in text
    assert "and 2 more. Remove them" in text
    decontamination.refuse_overlap(train[5:], evaluation, evaluation="the test split")


def test_overlapping_rows_can_be_taken_out_even_where_ids_repeat() -> None:
    train = [row("same", "question 1"), row("same", "question 2"), row("same", "question 3")]
    kept, removed = decontamination.without_overlap(train, [row("e", "question 2")])
    assert kept == [train[0], train[2]]
    assert removed == 1


@pytest.mark.parametrize(
    ("name", "hub_id", "split"),
    [
        ("bench", "gorilla-llm/Berkeley-Function-Calling-Leaderboard", None),
        ("bench", "Gorilla-LLM/berkeley-function-calling-leaderboard", "train"),
        ("bench", "somebody/BFCL_v3", None),
        ("BFCL_v4_live_simple.json", None, None),
        ("w", "nvidia/When2Call", "test"),
        ("w", "nvidia/When2Call", "test_mcq"),
        ("when2call_test_llm_judge.jsonl", None, None),
        ("n", "ibm-research/nestful", None),
        ("NESTFUL.jsonl", None, None),
        ("ACEBench", None, None),
        ("ace-bench", "somebody/ACEBench", "train"),
        ("tau-bench", None, None),
        ("tau2-bench", None, None),
        ("api-bank", None, "test"),
        ("seal_tools_test_in_domain.jsonl", None, None),
        ("gsm8k", "openai/gsm8k", "test"),
    ],
)
def test_published_evaluation_sets_are_refused(
    name: str, hub_id: str | None, split: str | None
) -> None:
    with pytest.raises(DataError, match="it is for evaluation only"):
        decontamination.refuse_evaluation_sets(name, hub_id, split)


@pytest.mark.parametrize(
    ("name", "hub_id", "split"),
    [
        ("glaive_v2", "glaiveai/glaive-function-calling-v2", None),
        ("when2call", "nvidia/When2Call", "train_sft"),
        ("when2call", "nvidia/When2Call", None),
        ("apigen_mt", "Salesforce/APIGen-MT-5k", None),
        ("xlam_60k", "Salesforce/xlam-function-calling-60k", "train"),
        ("gsm8k", "openai/gsm8k", "train"),
        ("api_bank.jsonl", None, "train"),
        ("seal_tools_dev.jsonl", None, None),
        ("my_bfcl_style_rows.jsonl", None, None),
        ("toolace", "Team-ACE/ToolACE", None),
        ("formatted", "togethercomputer/glaive-function-calling-v2-formatted", "test"),
    ],
)
def test_training_sets_are_not(name: str, hub_id: str | None, split: str | None) -> None:
    decontamination.refuse_evaluation_sets(name, hub_id, split)


@pytest.mark.slow
def test_real_sets_do_not_overlap_where_they_should_not(shared: Path) -> None:
    def read(name: str) -> list[Row]:
        lines = (shared / "converted" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return [{**row, "tools": json.loads(row["tools"])} for row in map(json.loads, lines)]

    xlam, seal = read("xlam_822"), read("seal_tools_dev")
    assert not decontamination.overlap(xlam, seal)
    assert not decontamination.overlap(read("sgd_dev_300"), read("sgd_train_2000"))
    assert len(decontamination.overlap(xlam, xlam[:40])) == 40
