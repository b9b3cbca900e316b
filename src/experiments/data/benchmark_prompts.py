"""Render the benchmarks of a run into tokens, leaving room in the context for each answer.

A row with a gold turn is rendered like a test row of the data. A row without one is rendered up to
the point where the model answers, and has no trained tokens. With `tools_form=bfcl_raw`, a BFCL row
is rendered with its published function documents, not with the tools converted from them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.config import EvalConfig, RunConfig
from experiments.data import benchmark_rows, decontamination, evaluation_rows, tally
from experiments.data.benchmark_rows import Benchmark
from experiments.data.encoding import TOO_LONG
from experiments.data.formats import bfcl_rows
from experiments.data.rendering import Encoded, Renderer
from experiments.data.tally import Tally
from experiments.errors import DataError

Row = dict[str, Any]
# Tokens reserved for a refusal of a sentence or two, where no gold answer tells its length.
_PROSE_TOKENS = 256
# An untuned model writes prose around its calls and makes more calls than requested. A budget based
# only on the gold answers would truncate it and favour models trained on them.
ANSWER_TOKENS = 512
THINKING_TOKENS = 2048


@dataclass
class BenchmarkPrompts:
    """The rendered benchmarks of a run."""

    splits: dict[str, list[Encoded]] = field(default_factory=dict)
    """Rows by split, in the order of `eval.benchmarks` and of the files. Rows that do not fit into
    the model's context are included without tokens (see `evaluation_rows`)."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts by benchmark: rows answered, too_long and template_refused by split, rejected,
    examples, files, commit, and the package if the files are those of one."""


def answer_budget(rows: Iterable[Encoded], spec: EvalConfig, *, thinks: bool) -> int:
    """Return the maximum answer length in tokens, thinking included.

    Args:
        rows: the rows to be answered; their gold answers can raise the budget but never lower it.
        spec: evaluation config; `max_new_tokens`, if set, is the budget.
        thinks: whether the models generate with thinking on.
    """
    if spec.max_new_tokens is not None:
        return spec.max_new_tokens
    longest_answer = max((encoded.answer_tokens for encoded in rows), default=0)
    thinking_budget = (spec.thinking_tokens or THINKING_TOKENS) if thinks else 0
    return max(ANSWER_TOKENS, 2 * longest_answer) + thinking_budget


def _answer_room(rows: Iterable[Encoded], configured: int | None) -> int:
    """Return how many positions of the context a row must leave free for its answer.

    Args:
        rows: the rows of one benchmark split.
        configured: `eval.max_new_tokens`; None means 1.25 times the longest gold answer, and at
            least 256 tokens if any row has no gold answer.
    """
    if configured is not None:
        return configured
    longest_answer, lengths_known = 0, True
    for encoded in rows:
        longest_answer = max(longest_answer, encoded.answer_tokens)
        lengths_known = lengths_known and bool(encoded.trained)
    longest_answer = longest_answer or 8
    budget = longest_answer + (longest_answer + 3) // 4
    return budget if lengths_known else max(budget, _PROSE_TOKENS)


def ask(
    run: RunConfig, renderer: Renderer, documents: Renderer, positions: int
) -> BenchmarkPrompts:
    """Read and render the benchmarks of a run.

    Args:
        run: the run; its `eval` names the benchmarks.
        renderer: renders every row.
        documents: the same renderer with `tools_form="as_given"`, for BFCL's published documents.
        positions: the model's maximum sequence length in tokens.

    Raises:
        DataError: a file is missing or unreadable, the chat template fails on too many rows, or no
            row of a benchmark leaves room for an answer.
    """
    prompts = BenchmarkPrompts()
    raw_documents = run.data.tools_form == "bfcl_raw"
    for name in run.eval.benchmarks:
        benchmark = read(run, name)
        too_long, row_counts, refusals = {}, {}, {}
        for split, rows in benchmark.splits.items():
            benchmark_renderer = (
                documents if raw_documents and name.startswith("bfcl_") else renderer
            )
            refusals[split] = Tally()
            encoded = _encoded(
                rows,
                benchmark_renderer,
                refusals[split],
                as_documents=benchmark_renderer is documents,
            )
            fitting = _with_room(encoded, run.eval.max_new_tokens, positions)
            prompts.splits[split] = _in_file_order(rows, encoded, fitting)
            too_long[split] = len(encoded) - len(fitting)
            row_counts[split] = len(fitting)
        counts = tally.facts(refusals, benchmark.rows, benchmark.examples)
        where, key = f"eval.benchmarks={name}", "data.max_reject_share"
        if problem := tally.too_many_refused(counts, run.data.max_reject_share, where, key):
            raise DataError(problem)
        if not any(row_counts.values()):
            raise DataError(
                f"eval.benchmarks={name}: none of its {len(benchmark.rows)} prompts leaves room "
                f"for an answer in the model's {positions} positions; use a model with more, lower "
                "eval.max_new_tokens, or remove the benchmark."
            )
        prompts.facts[name] = {
            "rows": row_counts,
            "too_long": too_long,
            **_benchmark_facts(benchmark),
            **counts,
        }
    return prompts


def read(run: RunConfig, name: str) -> Benchmark:
    """Read a benchmark in the format that the run shows to the model.

    Raises:
        DataError: as in `benchmark_rows.read` and `benchmark_rows.keep`.
    """
    benchmark = benchmark_rows.read(
        name,
        run.eval.path,
        dots=run.data.tools_form == "bfcl_raw",
        max_reject_share=run.data.max_reject_share,
    )
    count = (run.eval.benchmark_rows or {}).get(name)
    if count is not None:
        benchmark_rows.keep(benchmark, count)
    return benchmark


def refuse_training_on(prompts: BenchmarkPrompts, train: Sequence[Encoded]) -> None:
    """Refuse training rows that also occur in a benchmark of the run.

    Raises:
        DataError: there is an overlap; the message names the benchmark and up to three rows.
    """
    rows = [encoded.row for encoded in train]
    for name, facts in prompts.facts.items():
        evaluated_rows = [e.row for split in facts["rows"] for e in prompts.splits[split]]
        published_rows = [_with_published_names(row) for row in evaluated_rows if "bfcl" in row]
        decontamination.refuse_overlap(
            rows, [*evaluated_rows, *published_rows], evaluation=f"eval.benchmarks.{name}"
        )


def _with_published_names(row: Row) -> Row:
    """Return a BFCL row with dots in its function names, as other copies of BFCL have them."""
    return row | {
        "tools": [{"function": {"name": document["name"]}} for document in row["bfcl"]["function"]]
    }


def _encoded(
    rows: list[Row], renderer: Renderer, refusals: Tally, *, as_documents: bool
) -> list[Encoded]:
    """Render rows in their order, those without a gold turn as prompts."""
    shown_rows = [
        row | {"tools": bfcl_rows.raw_documents(row)} if as_documents else row for row in rows
    ]
    positions = {id(item): position for position, item in enumerate(shown_rows)}
    gold = [row for row in shown_rows if row["messages"][-1]["role"] == "assistant"]
    without_gold = [row for row in shown_rows if row["messages"][-1]["role"] != "assistant"]
    encoded = renderer.encode(gold, refusals) + renderer.encode_prompts(without_gold, refusals)
    encoded.sort(key=lambda item: positions[id(item.row)])
    encoded = renderer.with_own_prompts(encoded, [item.row for item in encoded])
    return [replace(e, row=rows[positions[id(e.row)]]) for e in encoded]


def _with_room(rows: list[Encoded], configured: int | None, positions: int) -> list[Encoded]:
    """Return the rows whose prompts leave room for the longest answer of the split."""
    rendered_whole = [e for e in rows if len(e.ids) <= positions]
    answer_room = _answer_room(rendered_whole, configured)
    return [e for e in rendered_whole if len(e.asked_ids(own=True)) + answer_room <= positions]


def _in_file_order(
    rows: list[Row], encoded: list[Encoded], fitting: list[Encoded]
) -> list[Encoded]:
    """Return all rows in their order; those that do not fit into the context have no tokens."""
    rendered_ids = {id(e.row) for e in encoded}
    fitting_by_id = {id(e.row): e for e in fitting}
    return [
        fitting_by_id.get(id(row))
        or evaluation_rows.unheld(row, TOO_LONG if id(row) in rendered_ids else tally.REFUSED)
        for row in rows
    ]


def _benchmark_facts(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "rejected": dict(benchmark.rejected),
        "files": benchmark.files,
        "commit": benchmark.commit,
        **({"package": benchmark.package} if benchmark.package else {}),
    }
