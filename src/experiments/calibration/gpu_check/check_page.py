"""Write the report of a check: a page and the results that it is made from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.reports import tables

Entry = dict[str, Any]
_GIB = 2**30


def write(state: Mapping[str, Any], reports: Path) -> Path:
    """Write `<card>.json` and `<card>.md` into a folder, and return the page."""
    reports.mkdir(parents=True, exist_ok=True)
    name = file_name(state)
    text = json.dumps(state, indent=1) + "\n"
    (reports / f"{name}.json").write_text(text, encoding="utf-8")
    path = reports / f"{name}.md"
    path.write_text(page(state), encoding="utf-8")
    return path


def file_name(state: Mapping[str, Any]) -> str:
    """Return the name of the report's files: the card's name, and `_small` for a small check."""
    card = str(state["steps"].get("facts", {}).get("result", {}).get("card", "unknown"))
    name = "".join(c if c.isalnum() else "_" for c in card.lower()).strip("_")
    return f"{name}_small" if state["identity"]["small"] else name


def sentence(entry: Entry) -> str:
    """Return a step's outcome in one line."""
    seconds = f" in {entry['seconds']:.0f} s" if "seconds" in entry else ""
    if entry["status"] == "done":
        return f"done{seconds}"
    return f"{entry['status']}{seconds}: {entry['error']}"


def page(state: Mapping[str, Any]) -> str:
    """Return the page of a check."""
    steps: dict[str, Entry] = dict(state["steps"])
    done = {name: entry["result"] for name, entry in steps.items() if "result" in entry}
    facts, small = done.get("facts", {}), state["identity"]["small"]
    libraries = ", ".join(f"{k} {v}" for k, v in state["identity"]["libraries"].items())
    parts = [
        f"# {facts.get('card', 'A card that could not be read')}",
        _head(small, facts),
        f"{_commit(state['identity'])}Libraries: {libraries}.",
        *_sections(done),
        _outcomes(steps),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commit(identity: Mapping[str, Any]) -> str:
    if identity["commit"] is None:
        return ""
    changed = " with uncommitted changes" if identity["uncommitted_changes"] else ""
    return f"Commit {identity['commit'][:12]}{changed}. "


def _head(small: bool, facts: Mapping[str, Any]) -> str:
    lines = ["`make gpu-check` wrote this page; `docs/gpu_check.md` explains it."]
    if small:
        lines = [
            "`python -m experiments gpu-check --small` wrote this page with a tiny base: it shows "
            "that every step works, and its speeds mean nothing."
        ]
    if "compute_capability" in facts:
        lines.append(
            f"Compute capability {facts['compute_capability']}, {facts['memory_gib']} GiB, CUDA "
            f"{facts['cuda']}."
        )
    if "tflops" in facts:
        rates = ", ".join(f"{name} {rate:.3g} TFLOPS" for name, rate in facts["tflops"].items())
        lines.append(f"Measured: {rates}, memory {facts['memory_gbs']:.3g} GB/s.")
    return "\n".join(lines)


def _sections(done: Mapping[str, Any]) -> Iterator[str]:
    trained = {name: r for name, r in done.items() if "predicted_bytes" in r}
    if trained:
        yield "## Memory and speed of training\n\n" + _training_table(
            trained, done.get("facts", {}).get("tflops", {})
        )
    if ratio := _trl_sentence(done):
        yield ratio
    written = {name: r for name, r in done.items() if "answers_per_second" in r}
    if written:
        yield "## Answers\n\n" + _answers_table(written)
    if recovered := list(_recovery(done)):
        yield "## Recovery\n\n" + "\n".join(f"- {line}" for line in recovered)


def _training_table(trained: Mapping[str, Any], rates: Mapping[str, float]) -> str:
    header = [
        *("step", "precision", "rows x tokens", "activations", "tensors, predicted GiB"),
        *("measured", "error", "resident, predicted GiB", "measured", "error", "context GiB"),
        *("tokens/s", "TFLOPS", "of the matrix rate"),
    ]
    rows = [_training_row(name, result, rates) for name, result in trained.items()]
    return tables.markdown(tables.Grid(header, rows))


def _training_row(name: str, result: Mapping[str, Any], rates: Mapping[str, float]) -> list[str]:
    context, rate = result["context_bytes"], rates.get(result["precision"])
    return [
        *(name, result["precision"], f"{result['rows']} x {result['length']}"),
        "recomputed" if result["gradient_checkpointing"] else "kept",
        *_compared(result["predicted_bytes"], result["measured_bytes"]),
        *_compared(result["predicted_resident_bytes"], result["resident_bytes"]),
        "-" if context is None else f"{context / _GIB:.2f}",
        f"{result['tokens_per_second']:,.0f}",
        f"{result['tflops']:.3g}",
        "-" if rate is None else f"{result['tflops'] / rate:.0%}",
    ]


def _compared(predicted: float, measured: float) -> list[str]:
    """Return a prediction, the measured value, and the prediction's relative error."""
    error = "-" if not measured else f"{predicted / measured - 1:+.1%}"
    return [f"{predicted / _GIB:.3g}", f"{measured / _GIB:.3g}", error]


def _trl_sentence(done: Mapping[str, Any]) -> str | None:
    ours, stock = done.get("train_auto"), done.get("train_stock_trl")
    if ours is None or stock is None:
        return None
    ratio = ours["tokens_per_second"] / stock["tokens_per_second"]
    memory = "" if stock["measured_bytes"] is None else f" in {stock['measured_bytes'] / _GIB:.3g}"
    memory += " GiB" if memory else ""
    return (
        f"Stock TRL (`loss_type={stock['loss_type']}`) trains the same rows at "
        f"{stock['tokens_per_second']:,.0f} tokens/s{memory}; `train_auto` is {ratio:.2f} times as "
        "fast."
    )


def _answers_table(written: Mapping[str, Any]) -> str:
    best = written.get("answers", {}).get("answers_per_second")
    rows = []
    for name, result in written.items():
        speed = result["answers_per_second"]
        rows.append(
            [
                name + (f", batches of {result['batch_size']}" if "batch_size" in result else ""),
                f"{result['prompt_tokens']:,}",
                f"{result['new_tokens']:,}",
                f"{speed:.3g}",
                "-" if best is None else f"{best / speed:.2f}",
            ]
        )
    header = ["step", "tokens read", "tokens written", "answers/s", "`answers` is faster by"]
    return tables.markdown(tables.Grid(header, rows))


def _recovery(done: Mapping[str, Any]) -> Iterator[str]:
    if found := done.get("kill_and_resume"):
        yield (
            f"A run killed after step {found['killed_after_step']} resumed from step "
            f"{found['resumed_from_step']} and ended as `{found['status']}`; the repeated step had "
            f"the loss {found['loss_before']:.4f} before and {found['loss_after']:.4f} after."
        )
    if found := done.get("out_of_memory"):
        yield (
            f"Memory ran out with {found['rows_per_pass']} rows per pass; the run went on with "
            f"{found['rows_afterwards']} and finished its {found['steps']} steps."
        )
    if found := done.get("two_at_once"):
        share = found["of_one_alone"]
        compared = "" if share is None else f", {share:.2f} times the speed of one alone"
        speed = f"{found['tokens_per_second']:,.0f} tokens/s together"
        yield f"Two runs at once on the card train {speed}{compared}."


def _outcomes(steps: Mapping[str, Entry]) -> str:
    rows = [[name, sentence(entry)] for name, entry in steps.items()]
    return "## Steps\n\n" + tables.markdown(tables.Grid(["step", "outcome"], rows))
