"""Show the scores of the first test rows before the other rows are answered.

On a CPU, the answers of a real model to 300 rows take half an hour. The first rows are answered
first, in a pool of their own; the answers to all rows are the same with and without this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.config import EvalConfig
from experiments.evaluation import item_scores
from experiments.evaluation.batched_generation import Generated
from experiments.runtime import distributed
from experiments.runtime.progress import log
from experiments.toolcalls.parser import CallForm

ROWS = 60
# Parameters x prompt tokens from which answers are long work: about half a minute on two CPU cores.
LONG_WORK = 1e12
_SCORES = (
    *("calls/exact", "calls/name", "restraint/correct", "json_output/exact"),
    *("final_number/exact", "generation/cut_off"),
)


@dataclass(frozen=True)
class FirstLook:
    """The number of rows to answer first, and what to do with their answers."""

    rows: int
    show: Callable[[Sequence[Generated]], None]


def rows(spec: EvalConfig, prompts: Sequence[list[int]], parameters: int) -> int:
    """Return how many prompts to answer first; 0 for none.

    A first look that would contain more than half of the rows saves little, so there is none.
    """
    if not spec.metrics:
        return 0
    count = spec.first_look
    if count is None:
        is_long = parameters * sum(map(len, prompts)) >= LONG_WORK
        count = ROWS if is_long else 0
    return count if 2 * count <= len(prompts) else 0


def show(
    title: str,
    items: list[dict[str, Any]],
    scored_rows: Sequence[dict[str, Any]],
    names: Sequence[str],
    form: CallForm,
) -> None:
    """Print the main scores of answers; only the main process does.

    Args:
        title: the model and the rows.
        items: one per answer, as for `item_scores.score`.
        scored_rows: the rows that the items answer.
        names: the metrics.
        form: the format in which the model writes calls.
    """
    if not distributed.is_main_process():
        return
    scores = item_scores.score(items, scored_rows, names, form)
    prefix = "" if items[0]["split"] == "test" else f"{items[0]['split']}/"
    shown = [
        f"{key} {scores.means[prefix + key]:.0%} of {scores.counts[prefix + key]}"
        for key in _SCORES
        if prefix + key in scores.means
    ]
    log(f"  first look, {title}: {', '.join(shown)}")
