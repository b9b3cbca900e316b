"""Every report row states what was trained, also where an older record has only the number."""

import pytest

from conftest import load
from experiments import config
from experiments.records import Record
from experiments.reports import trained_shares


def recorded(*overrides: str, **adapter: object) -> Record:
    record = Record(run_id="a", name=None, job=None)
    record.config = config.canonical(load("hardware=cpu", *overrides))
    record.adapter = dict(adapter)
    record.model = {"parameters": 1_049_984}
    return record


def test_the_shares_of_a_record_are_shown_as_recorded() -> None:
    record = recorded(trainable_parameters=23_808, trainable_share=0.02267, linear_share=0.0247)
    assert trained_shares.of(record).text == "23,808 (2.27 %, 2.47 %)"


@pytest.mark.parametrize(
    ("overrides", "trained", "text"),
    [
        (("lora=none",), 1_049_984, "1,049,984 (100 %, 100 %)"),
        (("lora=all_linear", "lora.r=2"), 19_456, "19,456 (1.85 %, 2.47 %)"),
    ],
)
def test_an_older_record_gives_the_shares_through_its_config(
    overrides: tuple[str, ...], trained: int, text: str
) -> None:
    assert trained_shares.of(recorded(*overrides, trainable_parameters=trained)).text == text


def test_a_record_that_does_not_tell_shows_none() -> None:
    assert trained_shares.of(recorded()).text == "-"
    unknown = recorded(trainable_parameters=1000)
    unknown.config, unknown.model = {"model": {"label": "gone", "path": "/nowhere"}}, {}
    assert trained_shares.of(unknown).text == "1,000 (?, ?)"
