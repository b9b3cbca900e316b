"""Build the data of a run: read, render, mask, mix and fingerprint its rows."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from experiments.config import DataConfig, RunConfig
from experiments.data import (
    benchmark_prompts,
    decontamination,
    evaluation_rows,
    remarks,
    round_trip,
    sources,
    tally,
    weighted_sources,
)
from experiments.data import thinking as thinking_modes
from experiments.data.benchmark_prompts import BenchmarkPrompts
from experiments.data.encoding import EncodedSource
from experiments.data.rendering import Encoded, Renderer
from experiments.data.source_encoder import SourceEncoder, vocabulary
from experiments.data.train_data import TrainData, fingerprint, train_rows_hash
from experiments.errors import DataError

# Counters that every source has and that are summed over a run.
_COUNTED = ("rejected", "too_long", "template_refused", "not_trained")


def build(
    run: RunConfig,
    tokenizer: Any,
    *,
    end_ids: list[int],
    positions: int,
    may_be_empty: bool = False,
) -> TrainData:
    """Read, render, mix and count the rows of a run.

    Args:
        run: the run.
        tokenizer: the tokenizer with the chat template in use.
        end_ids: token ids that end an assistant turn.
        positions: the model's maximum sequence length in tokens.
        may_be_empty: for inspection only; neither an empty training split nor too many refused rows
            are an error.

    Raises:
        DataError: the data are missing or unreadable or overlap with an evaluation set, nothing
            would be trained, or the chat template omits parts of the rows or refuses too many.
        ConfigError: `eval.thinking` requires something that the chat template does not support.
    """
    spec = run.data.with_train_seed(run.seed)
    limit = min(run.trainer.max_length or positions, positions)
    new_renderer = _renderers(run, tokenizer, end_ids)
    renderer = new_renderer(tools_form=spec.tools_form)
    encoder = SourceEncoder(spec, renderer, limit, vocabulary(tokenizer, end_ids), may_be_empty)
    sources_by_name, test_sources = _encoded(encoder)
    splits, mixture_facts = _combined(sources_by_name, spec)
    counts: dict[str, Any] = (
        _facts(sources_by_name | test_sources) | {"max_length": limit} | mixture_facts
    )
    _add_tests(splits, test_sources)
    splits.setdefault("train", [])
    for split in (name for name in run.eval.splits if name in splits):
        rows = splits[split]
        splits[split] = renderer.with_own_prompts(rows, [e.row for e in rows])
    if run.eval.benchmarks:
        documents = new_renderer(tools_form="as_given")
        prompts = benchmark_prompts.ask(run, renderer, documents, positions)
        benchmark_prompts.refuse_training_on(prompts, splits["train"])
        splits |= prompts.splits
        counts |= _benchmark_facts(prompts, renderer, spec)
    evaluated = evaluation_rows.separate({k: v for k, v in splits.items() if k != "train"})
    splits |= evaluated.splits
    if "validation" in splits:
        splits["validation"] = evaluated.asked("validation", run.eval.loss_rows)
    if not may_be_empty:
        _check_trainable(splits, counts)
    counts |= {
        "training_rows": {
            "seed": spec.seed if spec.train_seed is None else spec.train_seed,
            "sha256": train_rows_hash(splits["train"]),
        },
        "unheld": evaluated.reasons(),
        "warnings": remarks.on_rows(spec, counts, evaluated),
        **_totals(splits),
        "call_form": renderer.call_form and renderer.call_form.facts(),
    }
    return TrainData(splits, fingerprint(splits, evaluated), counts, renderer, evaluated)


def _renderers(run: RunConfig, tokenizer: Any, end_ids: list[int]) -> Callable[..., Renderer]:
    """Return a constructor of renderers that differ only in `tools_form`."""
    thinking: Any = run.data.thinking
    eval_thinking: Any = run.eval.thinking
    mode = thinking_modes.mode(tokenizer, eval_thinking, keeps=thinking == "keep")
    return partial(Renderer, tokenizer, end_ids, thinking=thinking, mode=mode)


def _encoded(
    encoder: SourceEncoder,
) -> tuple[dict[str, EncodedSource], dict[str, EncodedSource]]:
    """Encode the sources and the test sources of a run, by name."""
    spec = encoder.spec
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    encoded = {
        name: encoder.encode(source, shares) for name, source in sources.locate(spec).items()
    }
    tests = {
        name: encoder.encode(source, {"validation": 0.0, "test": 1.0})
        for name, source in sources.locate_tests(spec).items()
    }
    return encoded, tests


def _combined(
    sources_by_name: dict[str, EncodedSource], spec: DataConfig
) -> tuple[dict[str, list[Encoded]], dict[str, Any]]:
    """Return the rows of all sources by split, and the facts about the mixture, if it is one."""
    if spec.source == "mixture":
        splits, facts = weighted_sources.combine(sources_by_name, spec)
        return splits, {"mixture": facts}
    [source] = sources_by_name.values()
    return dict(source.splits), {}


def _add_tests(splits: dict[str, list[Encoded]], tests: dict[str, EncodedSource]) -> None:
    """Add the rows of the test sources to the test split; refuse those that are trained on."""
    for name, source in tests.items():
        rows = source.splits.get("test", [])
        decontamination.refuse_overlap(
            [e.row for e in splits.get("train", [])],
            [e.row for e in rows],
            evaluation=f"data.test_sources.{name}",
        )
        splits["test"] = splits.get("test", []) + rows


def _benchmark_facts(
    prompts: BenchmarkPrompts, renderer: Renderer, spec: DataConfig
) -> dict[str, Any]:
    """Return the facts of the benchmarks; their calls must be parsed back from rendered text."""
    rows = {split: [e.row for e in rows if e.ids] for split, rows in prompts.splits.items()}
    check = round_trip.check(rows, renderer, spec.max_reject_share)
    return {"benchmarks": prompts.facts, "benchmark_calls_read_back": check.facts()}


def _totals(splits: dict[str, list[Encoded]]) -> dict[str, Any]:
    return {
        "rows": {split: len(rows) for split, rows in splits.items()},
        "tokens": {
            name: sum(len(e.ids) for e in encoded_rows) for name, encoded_rows in splits.items()
        },
        "trained_tokens": {
            name: sum(e.trained_tokens for e in encoded_rows)
            for name, encoded_rows in splits.items()
        },
        "categories": dict(Counter(str(e.row.get("category", "")) for e in splits["train"])),
    }


def _facts(sources_by_name: dict[str, EncodedSource]) -> dict[str, Any]:
    """Sum the counters over all sources, and keep the facts of each source."""
    counted: dict[str, Counter[str]] = {key: Counter() for key in _COUNTED}
    for source in sources_by_name.values():
        for key, counter in counted.items():
            counter.update(source.facts[key])
    files = [source.facts["files"] for source in sources_by_name.values()]
    return {
        **{key: dict(counter) for key, counter in counted.items()},
        "fully_masked": sum(source.facts["fully_masked"] for source in sources_by_name.values()),
        "files": {name: digest for digests in files for name, digest in digests.items()},
        "sources": {name: source.facts for name, source in sources_by_name.items()},
    }


def _check_trainable(splits: dict[str, list[Encoded]], counts: dict[str, Any]) -> None:
    if splits["train"]:
        return
    fully_masked, too_long = counts["fully_masked"], sum(counts["too_long"].values())
    if fully_masked:
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in counts["not_trained"].items())
        raise DataError(
            f"all {fully_masked} rows that fit have no trained token: "
            f"{reasons or 'no turn has text'}; check data.columns, the flags of the turns and the "
            "chat template."
        )
    if too_long:
        limit = counts["max_length"]
        raise DataError(
            f"no training rows are left: {too_long} rows are longer than {limit} tokens; raise "
            "trainer.max_length or use a model with more positions."
        )
    if counts["template_refused"]:
        refused = sum(counts["template_refused"].values())
        raise DataError(
            f"no training rows are left: the chat template refuses {refused}; {tally.remedy()}, or "
            "inspect the rows with `python -m experiments data`."
        )
    if counts["rejected"]:
        raise DataError(
            f"no training rows are left: all {counts['rejected']} were rejected; inspect them with "
            "`python -m experiments data`."
        )
    twins = sum(facts["held_back_twins"] for facts in counts["sources"].values())
    if twins:
        raise DataError(
            f"no training rows are left: {twins} rows have the same prompt as a held-out row; "
            "remove repeated rows, or set data.validation_share=0 data.test_share=0."
        )
    raise DataError("no training rows are left: lower data.validation_share and data.test_share.")
