"""Print a summary of the data for inspection: sample rows, trained tokens and counts."""

import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from experiments.data import round_trip, sources, tally
from experiments.data.benchmark_rows import Benchmark
from experiments.data.rendering import Encoded
from experiments.data.sources import Row, SourceRows
from experiments.data.train_data import TrainData
from experiments.runtime import disk
from experiments.runtime.progress import log
from experiments.toolcalls.parser import forms

# Delimiters of trained text without colours; neither occurs in JSON or in a chat template.
OPEN, CLOSE = "\u27e6", "\u27e7"


def show_rows(rows: Sequence[Encoded], tokenizer: Any, count: int) -> None:
    """Print the first conversations as the model sees them, with trained tokens highlighted.

    Trained tokens are coloured on a terminal and set between `OPEN` and `CLOSE` in a pipe.
    """
    colours = sys.stdout.isatty()
    console = Console(highlight=False, soft_wrap=True)
    for encoded in rows[:count]:
        log(f"--- {encoded.row['id']} of {encoded.row['source']}")
        for text, trained in _pieces(encoded, tokenizer):
            if colours:
                console.print(Text(text, style="bold green" if trained else "dim"), end="")
            else:
                print(f"{OPEN}{text}{CLOSE}" if trained else text, end="")
        print(flush=True)


def _pieces(encoded: Encoded, tokenizer: Any) -> Iterable[tuple[str, bool]]:
    """Yield the text of each run of trained or untrained tokens."""
    trained = [label != -100 for label in encoded.labels]
    start = 0
    for end in range(1, len(trained) + 1):
        if end == len(trained) or trained[end] != trained[start]:
            yield tokenizer.decode(encoded.input_ids[start:end]), trained[start]
            start = end


def show_messages(rows: Sequence[Row], count: int) -> None:
    """Print the first conversations as canonical rows, for use without a tokenizer."""
    for row in rows[:count]:
        log(f"--- {row['id']} of {row['source']}")
        log(json.dumps({k: row[k] for k in ("messages", "tools")}, indent=2, ensure_ascii=False))


def describe(sources_by_name: dict[str, SourceRows]) -> list[str]:
    """Return lines on the rows kept and rejected per source, with examples."""
    lines = []
    for name, source in sources_by_name.items():
        rows = source.rows
        rejected = source.rejected.total()
        lines.append(f"{name}: {len(rows):,} rows kept, {rejected:,} rejected")
        if source.commit:
            lines.append(f"  commit {source.commit}")
        for reason, number in source.rejected.most_common():
            lines.append(f"  rejected, {reason}: {number:,}")
            lines += [f"    {example}" for example in source.examples[reason]]
        if source.held_back_twins:
            lines.append(f"  left out, same prompt as a held-out row: {source.held_back_twins:,}")
        if rows:
            lines.append("  " + ", ".join(f"{k} {v}" for k, v in counts(rows).items()))
    return lines


def describe_unused(sources_by_name: dict[str, SourceRows]) -> list[str]:
    """Return lines on the data that the formats ignore, for use without a chat template."""
    return [
        line
        for name, source in sources_by_name.items()
        for line in tally.lines(name, vars(source))
        if source.not_trained or source.unused_columns
    ]


def describe_benchmark(benchmark: Benchmark) -> list[str]:
    """Return lines on the rows kept and rejected of a benchmark of the run, with examples."""
    rows, rejected = benchmark.rows, benchmark.rejected.total()
    lines = [f"benchmark {benchmark.name}: {len(rows):,} rows, {rejected:,} rejected"]
    if benchmark.commit:
        lines.append(f"  commit {benchmark.commit}")
    if benchmark.package:
        lines.append(f"  of the installed {benchmark.package}")
    lines += [f"  file {name}, sha256 {digest[:16]}" for name, digest in benchmark.files.items()]
    for reason, number in benchmark.rejected.most_common():
        lines.append(f"  rejected, {reason}: {number:,}")
        lines += [f"    {example}" for example in benchmark.examples[reason]]
    if rows:
        lines.append("  " + ", ".join(f"{k} {v}" for k, v in counts(rows).items()))
    return lines


def counts(rows: Sequence[Row]) -> dict[str, str]:
    """Return turn and call counts and the shares of rows with parallel calls and with no call."""
    turns = sum(len(row["messages"]) for row in rows)
    calls = [
        [
            len(message.get("tool_calls") or [])
            for message in row["messages"]
            if message["role"] == "assistant"
        ]
        for row in rows
    ]
    parallel = sum(max(row, default=0) > 1 for row in calls)
    without_calls = sum(not any(row) for row in calls)
    return {
        "turns": f"{turns:,}",
        "calls": f"{sum(map(sum, calls)):,}",
        "parallel-call rows": f"{parallel / len(rows):.1%}",
        "no-call rows": f"{without_calls / len(rows):.1%}",
        "system prompts": f"{len({_system(row) for row in rows}):,}",
    }


def _system(row: Row) -> str:
    first = row["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def describe_tokens(data: TrainData) -> list[str]:
    """Return lines on the lengths of the rendered rows and on the number of trained tokens."""
    lines = [forms.describe(data.counts["call_form"]), *round_trip.describe(data.counts)]
    too_long = dict(data.counts["too_long"])
    for facts in data.counts.get("benchmarks", {}).values():
        too_long |= facts["too_long"]
    for split, rows in data.splits.items():
        if not rows:
            continue
        lengths = np.array([len(encoded.input_ids) for encoded in rows])
        p50, p95 = np.percentile(lengths, [50, 95])
        trained = sum(encoded.trained_tokens for encoded in rows)
        consequence = "dropped as" if split == "train" else "not answered because"
        lines.append(
            f"{split}: {len(rows):,} rows, tokens p50 {p50:,.0f}, p95 {p95:,.0f}, max "
            f"{lengths.max():,}; trained {trained:,} of {lengths.sum():,} tokens; {consequence} "
            f"too long {too_long.get(split, 0):,}, truncated 0"
        )
    for name, facts in (data.counts["sources"] | data.counts.get("benchmarks", {})).items():
        lines += tally.lines(name, facts)
    limit = data.counts["max_length"]
    if limit < sys.maxsize:
        lines.append(f"limit {limit:,} tokens: longer training rows are dropped, never truncated")
    mixture = data.counts.get("mixture", {"shares": {}, "duplicates": {}})
    for name, share in mixture["shares"].items():
        lines.append(
            f"mixture: {name} {share['share_drawn']:.1%} of the {mixture['weight_by']}, "
            f"{share['rows_drawn']:,} rows, {share['epochs']:.2f} epochs"
        )
    for pair, number in mixture["duplicates"].items():
        lines.append(f"near-duplicates {pair}: {number:,}")
    return lines


def describe_left_out(counts: dict[str, Any]) -> list[str]:
    """Return lines on rows left out, on calls that do not parse back, and warnings."""
    lines = round_trip.describe(counts)
    if dropped_rows := counts["too_long"].get("train"):
        lines.append(f"dropped, longer than {counts['max_length']} tokens: train {dropped_rows:,}")
    for split, reasons in counts.get("unheld", {}).items():
        reason_counts = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        consequence = "have no loss" if split == "validation" else "count as unanswered"
        lines.append(
            f"{split} rows that do not fit into the context and {consequence}: {reason_counts}"
        )
    return lines + [f"warning: {text}" for text in counts.get("warnings", ())]


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write canonical rows as JSON lines, gzipped if the name ends in .gz; return their number."""
    lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
    content = "".join(lines).encode()
    packed = gzip.compress(content) if path.suffix == ".gz" else content
    disk.write_atomically(path, packed, advice="choose another file")
    return len(lines)


def all_rows(sources_by_name: dict[str, sources.SourceRows]) -> list[Row]:
    """Return the rows of all sources in order."""
    return [row for source in sources_by_name.values() for row in source.rows]
