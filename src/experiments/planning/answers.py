"""Count the answers that a run writes for its scores: rows, tokens to read and tokens to write.

The length of an answer is assumed to be that of the gold answers. An untuned base may go on until
the limit (`eval.max_new_tokens`), which `Answers.at_limit` counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from experiments.config import RunConfig
from experiments.config.benchmarks import split_names
from experiments.data.benchmark_prompts import ANSWER_TOKENS
from experiments.data.benchmark_rows import TOOLWORLD_ROWS
from experiments.planning.workload import Workload, test_rows

BFCL = {
    "simple_python": (400, 283, 41),
    "multiple": (200, 541, 40),
    "parallel": (200, 321, 107),
    "parallel_multiple": (200, 572, 117),
    "irrelevance": (240, 272, 40),
    "live_simple": (258, 353, 46),
    "live_multiple": (1053, 1113, 50),
    "live_parallel": (16, 351, 95),
    "live_parallel_multiple": (24, 1012, 88),
    "live_irrelevance": (884, 748, 40),
    "live_relevance": (16, 880, 40),
}
"""Rows of BFCL v4 by category, and the mean tokens of prompts and gold answers, tokenised for Qwen3
with the template `smollm2`, as `tests/planning/test_memory_and_hours.py` counts them. Where no call
is right, an answer of a sentence is assumed."""


@dataclass(frozen=True)
class Asked:
    """Some rows that are answered."""

    name: str
    """`test`, or a benchmark."""
    rows: int
    prompt_tokens: float
    """Mean tokens of a prompt."""
    answer_tokens: float
    """Mean tokens of an answer, at most as many as are allowed."""
    gold_tokens: float
    """Mean tokens of a gold answer, whose loss is measured."""


@dataclass(frozen=True)
class Answers:
    """All rows that one model of a run answers."""

    sets: tuple[Asked, ...]
    limit_tokens: int
    """The longest answer that is allowed."""
    base: bool
    """Whether the untuned base is scored too."""
    uncounted: tuple[str, ...] = ()
    """Benchmarks whose rows are not known here."""
    losses_only: bool = False
    """Whether no answer is written, because there is no metric (`eval=loss`)."""

    @property
    def rows(self) -> int:
        """Rows that a model answers."""
        return 0 if self.losses_only else sum(asked.rows for asked in self.sets)

    @property
    def prompt_tokens(self) -> float:
        """Tokens that are read."""
        return sum(asked.rows * asked.prompt_tokens for asked in self.sets)

    @property
    def new_tokens(self) -> float:
        """Tokens that are written."""
        return sum(asked.rows * asked.answer_tokens for asked in self.sets)

    @property
    def loss_tokens(self) -> float:
        """Tokens that a model reads for the losses of the gold answers."""
        return sum(asked.rows * (asked.prompt_tokens + asked.gold_tokens) for asked in self.sets)

    def at_limit(self) -> "Answers":
        """Return the same with every answer as long as is allowed."""
        longest = tuple(replace(asked, answer_tokens=self.limit_tokens) for asked in self.sets)
        return replace(self, sets=longest)


def of(run: RunConfig, work: Workload) -> Answers:
    """Return what a run's models answer."""
    limit = run.eval.max_new_tokens or ANSWER_TOKENS
    gold = work.trained_share * work.tokens_per_row
    prompt = max(1.0, work.tokens_per_row - gold)
    own = Asked("test", test_rows(run, work.rows), prompt, min(limit, gold), gold)
    benchmarks = tuple(_of_benchmarks(run, own, limit))
    known = {asked.name for asked in benchmarks}
    uncounted = tuple(name for name in run.eval.benchmarks if name not in known)
    return Answers(
        (own, *benchmarks), limit, run.eval.base, uncounted, losses_only=not run.eval.metrics
    )


def _of_benchmarks(run: RunConfig, own: Asked, limit: int) -> Iterator[Asked]:
    for name in run.eval.benchmarks:
        if name == "toolworld":
            rows = sum(TOOLWORLD_ROWS[split] for split in split_names(name))
            yield replace(own, name=name, rows=rows)
        elif category := BFCL.get(name.removeprefix("bfcl_")):
            rows, prompt, answer = category
            most = (run.eval.benchmark_rows or {}).get(name, rows)
            rows = min(rows, most, run.eval.limit or rows)
            yield Asked(name, rows, prompt, min(limit, answer), answer)
