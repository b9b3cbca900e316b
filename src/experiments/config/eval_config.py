"""Schema of `eval`: what is evaluated after training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.config import benchmarks, stated_steps
from experiments.config.value_checks import at_least, one_of

SPLITS = ("test", "unseen_values", "unseen_tools")
DIRECTIONS = ("minimize", "maximize")
THINKING = ("off", "on", "as_data")


@dataclass
class EvalConfig:
    """What is evaluated after training."""

    splits: list[str] = field(default_factory=lambda: list(SPLITS))
    """Test splits to evaluate; splits that the data do not have are skipped."""
    benchmarks: list[str] = field(default_factory=list)
    """Published test sets to evaluate in addition to the splits: `toolworld`, `bfcl_<category>`
    (such as `bfcl_live_simple`), `nestful`, `nestful_executable`, `nestful_glaive`, `nestful_sgd`,
    `when2call_test`, `seal_tools_test_in_domain`, `seal_tools_test_out_domain`. Their rows are
    rendered as published; of the keys in `data`, only `thinking` and `tools_form` apply to them."""
    benchmark_rows: Any = None
    """Evaluate only a fixed number of a benchmark's rows, by benchmark, such as
    `{bfcl_simple_python: 100}`; they are drawn by a hash of their ids, so they are the same in
    every run, and 60 rows are the first of 100. null = all rows."""
    path: str | None = None
    """Folder (searched with its subfolders) or file with the benchmarks; null = BFCL's questions
    are those of an installed `bfcl-eval` package, and the others are downloaded from the hub."""
    metrics: list[str] = field(
        default_factory=lambda: ["calls", "plan_graph", "restraint", "json_output", "bfcl_ast"]
    )
    """Files of `evaluation/metrics/` that score the answers; `loss` is always computed."""
    base: bool = True
    """Also evaluate the base model without an adapter, so that tables have a row for it."""
    batch_size: int | None = None
    """Rows generated in one batch; null = as many as memory allows, at most 128 on a CPU and 256 on
    a GPU. The answers do not depend on it."""
    thinking: str | None = None
    """How thinking is prompted: `off`, through the switch of the chat template
    (`enable_thinking=false` or similar); training rows then have an empty thinking block before
    each answer, which is not trained; `on`, with the template's thinking prompt; `as_data`, as
    training rows are rendered; null = `off` where the template has a switch and the thinking in the
    rows is not kept, else `as_data`."""
    max_new_tokens: int | None = None
    """Longest answer in tokens, including its thinking; null = 512, or twice the longest gold
    answer of the test splits if that is more, plus `thinking_tokens` if thinking is on."""
    thinking_tokens: int | None = None
    """Tokens allowed for thinking with `thinking=on`; null = 2,048 tokens."""
    limit: int | None = None
    """Evaluate at most this many rows of each split; null = all."""
    first_look: int | None = None
    """Answer this many test rows first and print their scores before the others are answered; the
    results do not depend on it. 0 = no first look; null = 60 rows if the answers take long."""
    loss_rows: int | None = None
    """Compute the loss on at most this many validation rows, and on as many windows of the held-out
    text; null = all."""
    validation_steps: list[float] | None = None
    """Steps at which the validation loss is measured, such as [8,16,32,0.8]; below 1 a share of all
    steps. null = every `trainer.eval_steps`; both, if both are set."""
    test_steps: list[float] | None = None
    """Steps at which the losses of the final scores are also measured, on the same rows and without
    answers; below 1 a share of all steps."""
    held_out_text: str | None = None
    """A text file (or JSON Lines with a `text` column) whose loss measures forgetting; null = the
    text shipped with an embedded base model, none for other models."""
    objective: str | None = None
    """The score that a sweeper optimises, for example `calls/exact`; null =
    `validation/loss/nll`."""
    direction: str | None = None
    """`minimize` or `maximize`; null = as the metric declares."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        for split in self.splits:
            yield from one_of("eval.splits", split, SPLITS)
        yield from benchmarks.problems(self.benchmarks, self.path)
        yield from benchmarks.row_problems(self.benchmark_rows, self.benchmarks)
        for key in ("batch_size", "max_new_tokens", "thinking_tokens", "limit", "loss_rows"):
            yield from at_least(f"eval.{key}", getattr(self, key), 1)
        yield from at_least("eval.first_look", self.first_look, 0)
        for key in ("validation_steps", "test_steps"):
            yield from stated_steps.problems(f"eval.{key}", getattr(self, key))
        if self.thinking is not None:
            yield from one_of("eval.thinking", self.thinking, THINKING)
        if self.thinking_tokens is not None and self.thinking != "on":
            yield (
                f"eval.thinking_tokens={self.thinking_tokens} is only used with eval.thinking=on: "
                "set that, or remove eval.thinking_tokens"
            )
        if self.direction is not None:
            yield from one_of("eval.direction", self.direction, DIRECTIONS)
