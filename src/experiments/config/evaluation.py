"""What is scored after training."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.config import benchmarks
from experiments.config.checks import at_least, one_of

SPLITS = ("test", "unseen_values", "unseen_tools")
DIRECTIONS = ("minimize", "maximize")
THINKING = ("off", "on", "as_data")


@dataclass
class EvalConfig:
    """What is scored after training."""

    splits: list[str] = field(default_factory=lambda: list(SPLITS))
    """Test splits to answer; those that the data do not have are skipped."""
    benchmarks: list[str] = field(default_factory=list)
    """Published test sets answered beside the splits: `toolworld`, `bfcl_<category>` (such as
    `bfcl_live_simple`), `nestful`, `nestful_executable`, `nestful_glaive`, `nestful_sgd`,
    `when2call_test`, `seal_tools_test_in_domain`, `seal_tools_test_out_domain`. Their rows are
    shown as published; of `data` only `thinking` and `tools_form` apply to them."""
    path: str | None = None
    """Folder (or file) with the benchmarks' files, looked through with its subfolders; null = they
    are fetched from the hub."""
    metrics: list[str] = field(
        default_factory=lambda: ["calls", "plan_graph", "restraint", "json_output", "bfcl_ast"]
    )
    """Files of `experiments/metrics/` applied to the answers; `loss` is always there."""
    base: bool = True
    """Score the untuned base too, so that its row stands in the table."""
    batch_size: int | None = None
    """Answers that are written at a time; null = as memory allows, at most 128 on a CPU and 256 on
    a GPU. The answers do not depend on it."""
    thinking: str | None = None
    """How models are asked: `off`, by the switch of the chat template (`enable_thinking=false` and
    the like), an empty thinking block then stands untrained before the answers that are trained;
    `on`, by the template's own thinking prompt; `as_data`, as training rows are rendered; null =
    `off` where the template has a switch and the rows' thinking is not kept, else `as_data`."""
    max_new_tokens: int | None = None
    """Longest answer, its thinking included; null = 512 tokens, or twice the longest gold answer of
    the test splits where that is more, and with thinking on `thinking_tokens` beside it."""
    thinking_tokens: int | None = None
    """What thinking may take with `thinking=on`; null = 2,048 tokens."""
    limit: int | None = None
    """Answer at most this many rows of each split; null = all."""
    loss_rows: int | None = None
    """Take the loss of at most this many validation rows, and of as many windows of the held-out
    text; null = all."""
    held_out_text: str | None = None
    """A text file (or JSON lines with a column text) whose loss shows what was forgotten;
    null = the embedded base's own, none for other models."""
    objective: str | None = None
    """The score a sweeper sees, for example `calls/exact`; null = `validation/loss/nll`."""
    direction: str | None = None
    """`minimize` or `maximize`; null = as the metric declares."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        for split in self.splits:
            yield from one_of("eval.splits", split, SPLITS)
        yield from benchmarks.problems(self.benchmarks, self.path)
        for key in ("batch_size", "max_new_tokens", "thinking_tokens", "limit", "loss_rows"):
            yield from at_least(f"eval.{key}", getattr(self, key), 1)
        if self.thinking is not None:
            yield from one_of("eval.thinking", self.thinking, THINKING)
        if self.thinking_tokens is not None and self.thinking != "on":
            yield (
                f"eval.thinking_tokens={self.thinking_tokens} is used with eval.thinking=on alone: "
                "set that, or leave it out"
            )
        if self.direction is not None:
            yield from one_of("eval.direction", self.direction, DIRECTIONS)
