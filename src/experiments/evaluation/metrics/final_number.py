r"""Answers that end in a number, as in GSM8K: whether it is the right one.

Example: gold "... so 48 + 24 = 72 clips.\n#### 72"; the answer "48+24=72\n#### 72" is exact. The
answer "She sold 72 clips." is not, because it has no line `#### NUMBER`, but its last number is
right, so it is exact_tolerant. Numbers are compared as decimals: 1,000 equals 1000.0.

`exact` is GSM8K's own rule (openai/grade-school-math, `dataset.py`); the last number is the rule of
lm-evaluation-harness for answers in other forms (`flexible-extract`). The metric is not in the
default `eval.metrics`.
"""

import re
from decimal import Decimal

from experiments.evaluation.metric_files import Item

DIRECTION = {"exact": "maximize", "exact_tolerant": "maximize"}
_NUMBER = r"-?[$]?\d[\d,]*(?:\.\d+)?|-?[$]?\.\d+"
_FINAL = re.compile(rf"^#### *({_NUMBER})", re.MULTILINE)
_ANY = re.compile(_NUMBER)


def score(item: Item) -> dict[str, float]:
    """Return `exact` and `exact_tolerant` for rows whose gold answer has a line `#### NUMBER`."""
    last = item.row["messages"][-1]
    gold = _value(_FINAL, last["content"]) if last["role"] == "assistant" else None
    if gold is None:
        return {}
    exact = _value(_FINAL, item.text)
    tolerant = exact if exact is not None else _value(_ANY, item.text)
    return {"exact": float(exact == gold), "exact_tolerant": float(tolerant == gold)}


def _value(pattern: re.Pattern[str], text: str) -> Decimal | None:
    """Return the last number that the pattern finds, or None."""
    numbers = pattern.findall(text)
    return Decimal(re.sub(r"[$,]", "", numbers[-1])) if numbers else None
