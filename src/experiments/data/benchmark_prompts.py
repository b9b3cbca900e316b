"""The benchmarks of a run -> their rows as tokens, each with room left for the answer.

A row with a gold turn is rendered as a test row of the data is; one without is rendered up to the
place where the model answers, and holds no trained token. In the form `bfcl_raw` a BFCL row has its
published documents printed, not what was converted from them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.config import EvalConfig, RunConfig
from experiments.data import benchmarks, decontamination, evaluation_rows, tally
from experiments.data.benchmarks import Benchmark
from experiments.data.encoding import TOO_LONG
from experiments.data.formats import bfcl
from experiments.data.rendering import Encoded, Renderer
from experiments.data.tally import Tally
from experiments.errors import DataError

Row = dict[str, Any]
# A refusal in a sentence or two, where no gold answer tells how long one is.
_PROSE_TOKENS = 256
# An untuned model writes prose around its calls and calls more than is asked for: a budget that
# follows from the gold answers alone would cut it off and flatter what was trained on them.
ANSWER_TOKENS = 512
THINKING_TOKENS = 2048


@dataclass
class Asked:
    """What the benchmarks of a run ask."""

    splits: dict[str, list[Encoded]] = field(default_factory=dict)
    """Split -> rows, in the order of `eval.benchmarks` and of the files; also those that the model
    cannot hold, without tokens (see `evaluation_rows`)."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Benchmark -> rows that are answered, too_long, template_refused by split, rejected,
    examples, files, commit."""


def answer_budget(rows: Iterable[Encoded], spec: EvalConfig, *, thinks: bool) -> int:
    """Return the longest answer allowed, in tokens, thinking included.

    Args:
        rows: the rows that are answered; a gold answer of theirs raises the budget, none lowers it.
        spec: with `max_new_tokens` the budget itself.
        thinks: whether models are asked with thinking on.
    """
    if spec.max_new_tokens is not None:
        return spec.max_new_tokens
    longest = max((encoded.answer_tokens for encoded in rows), default=0)
    beside = (spec.thinking_tokens or THINKING_TOKENS) if thinks else 0
    return max(ANSWER_TOKENS, 2 * longest) + beside


def _room(rows: Iterable[Encoded], configured: int | None) -> int:
    """Return the tokens that a row must leave in the model's positions for its answer.

    Args:
        rows: those of a benchmark's split.
        configured: `eval.max_new_tokens`; None: 1.25 x the longest gold answer, and at least 256
            where a row has none.
    """
    if configured is not None:
        return configured
    longest, known = 0, True
    for encoded in rows:
        longest = max(longest, encoded.answer_tokens)
        known = known and bool(encoded.trained)
    longest = longest or 8
    budget = longest + (longest + 3) // 4
    return budget if known else max(budget, _PROSE_TOKENS)


def ask(run: RunConfig, renderer: Renderer, documents: Renderer, positions: int) -> Asked:
    """Read and render the benchmarks of a run.

    Args:
        run: its `eval` names the benchmarks.
        renderer: of every row.
        documents: the same with `tools_form="as_given"`, for BFCL's published documents.
        positions: longest sequence of the model, in tokens.

    Raises:
        DataError: a file is missing or unreadable, the chat template fails on a row, or no row of
            a benchmark leaves room for an answer.
    """
    asked = Asked()
    raw = run.data.tools_form == "bfcl_raw"
    for name in run.eval.benchmarks:
        found = read(run, name)
        too_long, kept, left = {}, {}, {}
        for split, rows in found.splits.items():
            shown = documents if raw and name.startswith("bfcl_") else renderer
            left[split] = Tally()
            encoded = _encoded(rows, shown, left[split], as_documents=shown is documents)
            held = _with_room(encoded, run.eval.max_new_tokens, positions)
            asked.splits[split] = _all(rows, encoded, held)
            too_long[split] = len(encoded) - len(held)
            kept[split] = len(held)
        counted = tally.facts(left, found.rows, found.examples)
        where, key = f"eval.benchmarks={name}", "data.max_reject_share"
        if stops := tally.too_many_refused(counted, run.data.max_reject_share, where, key):
            raise DataError(stops)
        if not any(kept.values()):
            raise DataError(
                f"eval.benchmarks={name}: none of its {len(found.rows)} rows leaves room for an "
                f"answer in the model's {positions} positions; use a model with more, lower "
                "eval.max_new_tokens, or take it out."
            )
        asked.facts[name] = {"rows": kept, "too_long": too_long, **_facts(found), **counted}
    return asked


def read(run: RunConfig, name: str) -> Benchmark:
    """Read a benchmark as the run shows it.

    Raises:
        DataError: as `benchmarks.read`.
    """
    return benchmarks.read(
        name,
        run.eval.path,
        dots=run.data.tools_form == "bfcl_raw",
        max_reject_share=run.data.max_reject_share,
    )


def refuse_training_on(asked: Asked, train: Sequence[Encoded]) -> None:
    """Refuse training rows that a benchmark of the run asks.

    Raises:
        DataError: there is an overlap; it names the benchmark and up to three rows.
    """
    rows = [encoded.row for encoded in train]
    for name, facts in asked.facts.items():
        ours = [e.row for split in facts["rows"] for e in asked.splits[split]]
        twins = [_with_published_names(row) for row in ours if "bfcl" in row]
        decontamination.refuse_overlap(rows, [*ours, *twins], evaluation=f"eval.benchmarks.{name}")


def _with_published_names(row: Row) -> Row:
    """Return a BFCL row as other people's copies name its functions: with dots."""
    return row | {"tools": [{"function": {"name": d["name"]}} for d in row["bfcl"]["function"]]}


def _encoded(
    rows: list[Row], renderer: Renderer, left: Tally, *, as_documents: bool
) -> list[Encoded]:
    """Render rows, those without a gold turn as prompts, in their order."""
    shown = [row | {"tools": bfcl.raw_documents(row)} if as_documents else row for row in rows]
    places = {id(one): place for place, one in enumerate(shown)}
    gold = [row for row in shown if row["messages"][-1]["role"] == "assistant"]
    without = [row for row in shown if row["messages"][-1]["role"] != "assistant"]
    encoded = renderer.encode(gold, left) + renderer.encode_prompts(without, left)
    encoded.sort(key=lambda one: places[id(one.row)])
    encoded = renderer.with_own_prompts(encoded, [one.row for one in encoded])
    return [replace(e, row=rows[places[id(e.row)]]) for e in encoded]


def _with_room(rows: list[Encoded], configured: int | None, positions: int) -> list[Encoded]:
    """Return the rows whose prompt leaves the model room for the answers of all of them."""
    whole = [e for e in rows if len(e.ids) <= positions]
    room = _room(whole, configured)
    return [e for e in whole if len(e.asked_ids(own=True)) + room <= positions]


def _all(rows: list[Row], encoded: list[Encoded], held: list[Encoded]) -> list[Encoded]:
    """Return every row in its order, without tokens where the model cannot hold it."""
    rendered = {id(e.row) for e in encoded}
    whole = {id(e.row): e for e in held}
    return [
        whole.get(id(row))
        or evaluation_rows.unheld(row, TOO_LONG if id(row) in rendered else tally.REFUSED)
        for row in rows
    ]


def _facts(found: Benchmark) -> dict[str, Any]:
    return {
        "rejected": dict(found.rejected),
        "files": found.files,
        "commit": found.commit,
    }
