"""The scores of the first test rows, which are printed before the others are answered."""

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import config, data, models
from experiments.evaluation import first_look, scoring
from experiments.evaluation.batched_generation import Generated
from experiments.evaluation.first_look import FirstLook
from experiments.models import Base

WORDS = (*SMOKE, "hardware=cpu", "data.test_rows=18", "eval.limit=null")


@pytest.fixture(scope="module")
def base() -> Base:
    run = load(*WORDS)
    return models.load(run, models.choose_precision(run))


def built(base: Base, *words: str) -> tuple[data.TrainData, Any]:
    run = load(*WORDS, *words)
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    return rows, run.eval


def scored(base: Base, label: str, *words: str) -> scoring.Scores:
    rows, spec = built(base, *words)
    return scoring.score(scoring.Subject(base.model, base, label, spec), rows)


def test_a_first_look_changes_no_answer_and_no_score(
    base: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = scored(base, "base", "eval.first_look=0")
    assert "first look" not in capsys.readouterr().out
    looked = scored(base, "base", "eval.first_look=6")
    lines = capsys.readouterr().out.splitlines()
    assert "answers of the base model, test: 0/18, 6 of them first" in lines
    [line] = [x for x in lines if "first look" in x]
    assert re.search(
        r"first look, base, 6 of 18 test rows: calls/exact \d+% of \d, .*cut_off \d+% of 6$", line
    )
    assert (looked.means, looked.counts) == (plain.means, plain.counts)
    assert looked.items == plain.items


def test_the_first_rows_are_answered_first_and_no_row_twice(base: Base, tmp_path: Path) -> None:
    rows, spec = built(base)
    prompts = [e.asked_ids(own=True) for _, split in rows.evaluated_splits(spec) for e in split]
    subject = scoring.Subject(base.model, base, "base", spec, tmp_path)
    shown: list[list[Generated]] = []
    answered: list[int] = []

    def show(answers: Any) -> None:
        shown.append(list(answers))
        [file] = (tmp_path / "answers").iterdir()
        answered.append(len(file.read_text().splitlines()) - 1)

    answers = scoring.answer(subject, prompts, "test", 8, None, FirstLook(6, show))
    assert shown == [answers[:6]] and answered == [6]
    [file] = (tmp_path / "answers").iterdir()
    lines = [line for line in file.read_text().splitlines() if '"index"' in line]
    assert len(lines) == len(prompts) == 18
    again = scoring.answer(subject, prompts, "test", 8, None, FirstLook(6, show))
    assert again == answers and len(shown) == 1


def test_there_is_a_first_look_only_if_the_answers_take_long() -> None:
    prompts = [[1] * 500] * 300
    assert first_look.rows(load().eval, prompts, 135_000_000) == 60
    assert first_look.rows(load().eval, prompts, 1_000_000) == 0
    assert first_look.rows(load().eval, prompts[:100], 135_000_000) == 0
    assert first_look.rows(load("eval=loss").eval, prompts, 135_000_000) == 0
    assert first_look.rows(load("eval.first_look=9").eval, prompts, 1) == 9


def test_a_first_look_does_not_change_what_a_run_is() -> None:
    assert config.run_id(load("eval.first_look=5")) == config.run_id(load())
