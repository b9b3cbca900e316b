"""Tables say how many answers were cut off, where answers are scored."""

from pathlib import Path
from typing import Any

import pytest

from experiments import reports
from support.report_records import config, put, record


def sweep(folder: Path, metrics: list[str]) -> str:
    """Return the table of two arms whose answers have all been cut off."""
    scores: dict[str, Any] = {"loss/nll": 0.2, "generation/cut_off": 1.0}
    facts = {
        "asked": {"thinking": "as_data", "switch": False, "given": None},
        "stop_reasons": {"test": {"max_new_tokens": 10}},
        "max_new_tokens": {"test": 1},
    }
    for at, lora in enumerate(("all_linear", "qv")):
        own = config(0, lora)
        own["eval"]["metrics"] = metrics
        made = record(
            lora, lora=lora, job=at, config=own, scores={"tuned": scores},
            counts={"tuned": {"loss/nll": 10, "generation/cut_off": 10}},
            evaluation={"tuned": facts},
        )  # fmt: skip
        put(folder / str(at), made)
    return reports.summarise(folder)


@pytest.mark.parametrize(("metrics", "shown"), [(["calls"], True), ([], False)])
def test_the_share_of_answers_cut_off_is_shown_only_where_answers_are_scored(
    tmp_path: Path, metrics: list[str], shown: bool
) -> None:
    text = sweep(tmp_path, metrics)
    assert "NLL" in text
    assert ("cut off" in text.splitlines()[0]) == shown, text
    assert ("Answers cut off at" in text) == shown
