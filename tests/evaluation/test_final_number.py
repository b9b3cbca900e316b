"""The final number of an answer, as GSM8K scores it."""

from typing import Any

import pytest

from experiments.evaluation.metric_files import Item
from experiments.evaluation.metrics import final_number
from experiments.toolcalls import parser

GOLD = "She sold 48 + 24 = 1,072 clips.\n#### 1,072"


def scored(text: str, gold: str = GOLD) -> dict[str, float]:
    row: dict[str, Any] = {"messages": [{"role": "assistant", "content": gold}], "tools": []}
    return final_number.score(Item(row, parser.parse(text), True, 1, text))


@pytest.mark.parametrize(
    ("text", "exact", "tolerant"),
    [
        ("48+24\n#### 1072", 1.0, 1.0),
        ("#### $1,072.00", 1.0, 1.0),
        ("She sold 1072 clips.", 0.0, 1.0),
        ("She sold 1072 of 2000 clips.", 0.0, 0.0),
        ("1072\n#### 9", 0.0, 0.0),
        ("no number", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_final_number_is_compared_as_a_number(text: str, exact: float, tolerant: float) -> None:
    assert scored(text) == {"exact": exact, "exact_tolerant": tolerant}


def test_rows_without_a_final_number_have_no_score() -> None:
    assert scored("#### 3", gold="Hello 3") == {}
