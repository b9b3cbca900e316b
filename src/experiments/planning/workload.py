"""Estimate how many rows and tokens a run trains on, and state the source of the numbers."""

from dataclasses import dataclass
from pathlib import Path

from experiments.config import DataConfig, RunConfig, stated_steps
from experiments.planning import cached_rows

ROWS = 10_000
TOKENS_PER_ROW = 512.0
TRAINED_SHARE = 0.3
# Rows of the built-in tool world (`data=mixed`, 900 rows): mean and longest row in tokens, and the
# trained share, for the embedded base's vocabulary of 2,048 tokens and for Qwen3's of 151,936.
_BUILT_IN = {False: (149.0, 324, 0.21), True: (193.0, 406, 0.18)}
_SMALL_VOCABULARY = 8192
# Bytes of a JSON line per token: about 4 characters of English per token, reduced by the keys.
_BYTES_PER_TOKEN = 4.5
# Larger files are not read for planning.
_LARGEST_FILE_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Workload:
    """The rows and tokens that a run trains on."""

    rows: int
    tokens_per_row: float
    longest_row_tokens: int
    trained_share: float
    """Share of the tokens that have a label, 0-1."""
    known_from: str
    """The source of the numbers in words, including assumptions."""

    def steps(self, run: RunConfig) -> int:
        """Return the optimizer steps of a run, computed as in training."""
        if run.trainer.max_steps is not None:
            return run.trainer.max_steps
        assert run.trainer.num_train_epochs is not None and run.trainer.batch_size, (
            "config.load sets both"
        )
        return max(1, -(-round(run.trainer.num_train_epochs * self.rows) // run.trainer.batch_size))

    def tokens(self, run: RunConfig) -> float:
        """Return the tokens that a run reads in all steps."""
        return self.steps(run) * (run.trainer.batch_size or 1) * self.tokens_per_row

    def evaluation_tokens(self, run: RunConfig) -> float:
        """Return the tokens that a run reads for the losses that it measures while it trains."""
        steps = self.steps(run)
        stated = stated_steps.resolved(run.eval.validation_steps, steps)
        regular = set() if run.eval.validation_steps is not None else _regular_steps(run, steps)
        if run.trainer.eval_steps is not None:
            regular = _regular_steps(run, steps)
        validations = len(regular | set(stated))
        tests = [s for s in stated_steps.resolved(run.eval.test_steps, steps) if s != steps]
        rows = validations * _validation_rows(run, self.rows)
        return (rows + len(tests) * test_rows(run, self.rows)) * self.tokens_per_row

    def scored_tokens(self, run: RunConfig, answered: float) -> float:
        """Return the tokens of a model's final losses: validation rows and answered rows."""
        return _validation_rows(run, self.rows) * self.tokens_per_row + answered


def _regular_steps(run: RunConfig, steps: int) -> set[int]:
    """Return the steps at which the validation loss is measured regularly, and the last step."""
    every = run.trainer.eval_steps or max(1, steps // 5)
    return {*range(every, steps + 1, every), steps} if steps else set()


def _validation_rows(run: RunConfig, train_rows: int) -> int:
    """Return the validation rows of a run, at most; benchmarks are not counted."""
    rows = run.data.validation_rows
    if rows is None and run.data.source != "toolworld":
        rows = _held_back_rows(run.data, run.data.validation_share, train_rows)
    return min(rows or 0, run.eval.loss_rows or rows or 0)


def test_rows(run: RunConfig, train_rows: int) -> int:
    """Return the rows of all evaluated test splits; those of benchmarks are not counted."""
    if run.data.source == "toolworld":
        sizes = [getattr(run.data, f"{split}_rows") or 0 for split in run.eval.splits]
    elif run.data.test_rows is not None:
        sizes = [run.data.test_rows]
    else:
        sizes = [_held_back_rows(run.data, run.data.test_share, train_rows)]
    return sum(min(size, run.eval.limit or size) for size in sizes)


def _held_back_rows(data: DataConfig, share: float | None, train_rows: int) -> int:
    kept = 1 - (data.validation_share or 0.0) - (data.test_share or 0.0)
    return round(train_rows / (data.fraction or 1) / kept * (share or 0.0))


def of(run: RunConfig, *, vocabulary: int, positions: int) -> Workload:
    """Return a run's rows and tokens: user settings first, else from the data, else assumed."""
    limit = min(run.trainer.max_length or positions, positions)
    rows, mean, longest, share, source = _from_data(run.data, vocabulary, limit)
    rows = min(rows, run.data.limit or rows)
    plan = run.plan
    settings = {
        "plan.rows": plan.rows,
        "plan.tokens_per_row": plan.tokens_per_row,
        "plan.longest_row_tokens": plan.longest_row_tokens,
        "plan.trained_share": plan.trained_share,
    }
    set_keys = [key for key, value in settings.items() if value is not None]
    longest = min(plan.longest_row_tokens or longest, limit)
    return Workload(
        rows=plan.rows or rows,
        tokens_per_row=min(plan.tokens_per_row or mean, longest),
        longest_row_tokens=longest,
        trained_share=share if plan.trained_share is None else plan.trained_share,
        known_from=source + (f"; {', '.join(set_keys)} set by you" if set_keys else ""),
    )


def _from_data(data: DataConfig, vocabulary: int, limit: int) -> tuple[int, float, int, float, str]:
    mean, longest, share = _BUILT_IN[vocabulary > _SMALL_VOCABULARY]
    if data.source == "toolworld":
        rows = round((data.train_rows or 0) * (data.fraction or 1))
        return rows, mean, longest, share, "the built-in data: rows exact, tokens as measured"
    cached = cached_rows.find(data, limit)
    if cached is not None:
        source = "rows that an earlier run cached in data.cache, with any tokenizer"
        return cached.rows, cached.mean, cached.longest, cached.trained_share, source
    counted = _count_lines(data)
    if counted is not None:
        rows, mean = counted
        source = (
            "lines of the file; tokens estimated from its bytes, longest row from the run's limit"
        )
        return rows, mean, limit, TRAINED_SHARE, source
    rows = data.total or round(ROWS * (data.fraction or 1))
    assumed = "rows and tokens" if data.total is None else "rows from data.total, tokens"
    source = f"{assumed} assumed: set plan.rows, plan.tokens_per_row and plan.longest_row_tokens"
    return rows, TOKENS_PER_ROW, limit, TRAINED_SHARE, source


def _count_lines(data: DataConfig) -> tuple[int, float] | None:
    """Return the training rows of a JSON-lines file and their mean tokens, by lines and bytes."""
    path = Path(data.path).expanduser() if data.path else None
    if path is None or path.suffix != ".jsonl" or not path.is_file():
        return None
    if not 0 < path.stat().st_size <= _LARGEST_FILE_BYTES:
        return None
    with path.open("rb") as stream:
        lines = sum(1 for line in stream if line.strip())
    held_back = (data.validation_share or 0.0) + (data.test_share or 0.0)
    counted = lines - (data.validation_rows or 0) - (data.test_rows or 0)
    rows = max(1, round((counted - lines * held_back) * (data.fraction or 1)))
    return rows, max(1.0, path.stat().st_size / max(1, lines) / _BYTES_PER_TOKEN)
