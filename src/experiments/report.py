"""Records in, tables and figures out: the same records always give the same bytes.

Tables are a function of the records on disk and nothing reads a table back. Only finished runs
are averaged; the others are counted and their errors named. `summarise` is what is printed after a
run or a sweep, `write` makes the committed folder: README.md, runs.csv, table.csv, figures and
`runs/` with the records themselves, from which the folder can be made again.

Runs that share everything but the seed are an arm. Intervals come from `statistics`: over seeds
where an arm has several, over test rows where it has one, and every table says which.
"""

import csv
import dataclasses
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from experiments import metrics, records, statistics
from experiments.config import EXECUTION_KEYS
from experiments.errors import RecordError
from experiments.records import Record
from experiments.statistics import Bounds, Direction, Interval

Kind = Literal["base", "tuned"]

COLUMNS = {
    "calls/exact": "calls exact",
    "unseen_values/calls/exact": "exact, unseen values",
    "unseen_tools/calls/exact": "exact, unseen tools",
    "restraint/correct": "restraint",
    "json_output/valid": "JSON valid",
    "json_output/values": "JSON values",
    "calls/malformed": "malformed",
    "generation/stopped": "stopped",
    "loss/nll": "NLL per token",
    "validation/loss/nll": "validation NLL",
}
HEADLINES = ("calls/exact", "loss/nll", "validation/loss/nll")
CATEGORY_SCORES = ("calls/exact", "restraint/correct", "json_output/valid")
LOG_WIDTH = 140  # characters of a line where the output is no terminal
BASE_COLOUR, TUNED_COLOUR = "#8a8a8a", "#1f5fa8"

# An identity may only differ between runs whose configs differ in these keys.
_IDENTITY = {
    "code_sha256": (),
    "libraries": (),
    "device_class": (),
    "precision": ("trainer.precision",),
    "base_sha256": ("model",),
    "adapter_sha256": ("model",),
    "data_fingerprint": ("model", "data"),
}


@dataclass
class Run:
    """A record with its scores per item, which are read when first asked for."""

    record: Record

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record.config.get("seed", 0))

    @property
    def finished(self) -> bool:
        """Whether the run may be counted."""
        return self.record.status == "finished"

    @cached_property
    def overrides(self) -> dict[str, str]:
        """The overrides that describe the run, without seed and execution keys."""
        pairs = (text.lstrip("+").partition("=")[::2] for text in self.record.overrides)
        hidden = ("seed", "sweeps", *EXECUTION_KEYS)
        return {k: v for k, v in pairs if not any(k == h or k.startswith(f"{h}.") for h in hidden)}

    @cached_property
    def arm_key(self) -> str:
        """The canonical config without the seed."""
        return _dump({k: v for k, v in self.record.config.items() if k != "seed"})

    @cached_property
    def categories(self) -> dict[str, str]:
        """Id of a row of the test split -> its category."""
        return {str(i["id"]): i["category"] for i in self._test_items() if i.get("category")}

    @cached_property
    def per_item(self) -> dict[tuple[str, str], dict[str, float]]:
        """(model, score key) -> id of the row -> value; `loss/nll` by `ratio_values`."""
        found: dict[tuple[str, str], dict[str, float]] = {}
        parts: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        for item in self._items:
            prefix = "" if item["split"] == "test" else f"{item['split']}/"
            model, row = item["model"], str(item["id"])
            for key, value in item["scores"].items():
                found.setdefault((model, prefix + key), {})[row] = float(value)
            if item.get("trained_tokens"):
                nll = (float(item["nll"]), float(item["trained_tokens"]))
                parts.setdefault((model, f"{prefix}loss/nll"), {})[row] = nll
        for at, pairs in parts.items():
            values = statistics.ratio_values(*zip(*pairs.values(), strict=True))
            found[at] = dict(zip(pairs, values, strict=True))
        return found

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        return records.items(self.record)

    def _test_items(self) -> Iterator[dict[str, Any]]:
        return (item for item in self._items if item["split"] == "test")

    def score(self, kind: Kind, key: str) -> float | None:
        """Return one score of the base or the tuned model, None if it was not measured."""
        return self.record.scores.get(kind, {}).get(key)

    def rows_of(self, kind: Kind, key: str) -> dict[str, float]:
        """Return id -> value of the test rows behind a score; empty if they are not there."""
        values, score = self.per_item.get((kind, key), {}), self.score(kind, key)
        if not values or score is None:
            return {}
        # 1e-6: the record's mean and the rows' differ by rounding only, or they do not belong.
        close = math.isclose(_mean(values.values()), score, rel_tol=1e-6, abs_tol=1e-9)
        return values if close else {}

    def over_items(self, kind: Kind, key: str) -> Interval | None:
        """Return a score with its interval over test rows; no interval without the rows."""
        value = self.score(kind, key)
        if value is None:
            return None
        if values := list(self.rows_of(kind, key).values()):
            return statistics.items_interval(values, bounds=_bounds(key))
        n = self.record.counts.get(kind, {}).get(key, 0)
        return Interval(value, None, None, n, "items", "none")

    def gain(self, key: str) -> Interval | None:
        """Return tuned - base of one score, paired by test row where the rows are there."""
        base, tuned = self.score("base", key), self.score("tuned", key)
        if base is None or tuned is None:
            return None
        a, b = self.rows_of("base", key), self.rows_of("tuned", key)
        if not a or a.keys() != b.keys():
            return Interval(tuned - base, None, None, 0, "items", "none")
        return statistics.paired_difference(list(a.values()), [b[row] for row in a], over="items")


@dataclass
class Row:
    """A line of the table: an arm, or the base model."""

    label: str
    runs: list[Run]
    kind: Kind
    scores: dict[str, Interval]
    difference: Interval | None = None

    @property
    def seeds(self) -> list[int]:
        """The seeds behind the row."""
        return sorted(run.seed for run in self.runs)

    def seconds(self) -> float | None:
        """Return the mean training time of a run."""
        times = [run.record.timing.get("train_seconds") for run in self.runs]
        known = [time for time in times if time is not None]
        return _mean(known) if known and self.kind == "tuned" else None

    def parameters(self) -> int | None:
        """Return the number of trained parameters."""
        count = self.runs[0].record.adapter.get("trainable_parameters")
        return count if self.kind == "tuned" else None


@dataclass
class Grid:
    """A table of text: the first column names the rows."""

    header: list[str]
    rows: list[list[str]]


@dataclass
class Report:
    """What is said of a folder of records, before it becomes text."""

    title: str
    runs: list[Run]
    left_out: list[Record]
    arms: dict[str, str]
    """Arm key -> label, in order of first appearance."""
    rows: list[Row]
    headline: str | None
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def single(self) -> Run | None:
        """The run, where there is only one."""
        return self.runs[0] if len(self.runs) == 1 and self.runs[0].finished else None


def summarise(path: Path) -> str:
    """Return the tables of a run, sweep or report folder as plain text.

    Raises:
        RecordError: there is no record, or one cannot be read.
    """
    report = _build(path)
    width = LOG_WIDTH
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    parts = [_text(grid, width) for grid in report.grids]
    notes = [textwrap.fill(n, width, subsequent_indent="  ") for n in report.notes]
    return "\n\n".join([*parts, "\n".join(notes)]) + "\n"


def write(path: Path, out: Path) -> list[Path]:
    """Write the report of a folder into `out` and return the files written.

    A report folder may be its own source: it then comes out as it was.

    Raises:
        RecordError: there is no record, one cannot be read, `out` holds records of other runs, or
            it cannot be written.
    """
    report = _build(path)
    files = dict(_record_files(report))
    _refuse_strangers(out, set(files))
    files["runs.csv"] = _runs_csv(report).encode()
    files["table.csv"] = _table_csv(report).encode()
    figures = dict(_figures(report))
    files |= figures
    files["README.md"] = _readme(report, [f for f in figures if f.endswith(".png")]).encode()
    for name, content in files.items():
        records.write_whole(out / name, content)
    return [out / name for name in files]


def model_card(record: Record) -> str:
    """Return the README.md of a run's adapter: the hub's header, what was trained, its scores.

    Local paths are left out: only a base from the hub is named in the header.
    """
    run, config = Run(record), record.config
    hub_id = config["model"].get("hub_id")
    header = ["library_name: peft", *([f"base_model: {hub_id}"] if hub_id else [])]
    names = [key for key in COLUMNS if run.score("tuned", key) is not None]
    kinds: tuple[Kind, ...] = ("base", "tuned")
    lines = [[_header(key), *(_cell(run.over_items(kind, key)) for kind in kinds)] for key in names]
    made = record.provenance
    tree = " (dirty tree)" if made.get("git_dirty") else ""
    parts = [
        "\n".join(["---", *header, "---"]),
        f"# {_title([run])}",
        _markdown(Grid(["score", *kinds], lines)),
        f"One seed ({run.seed}); the run's record has the number of rows behind each score.",
        f"Code: commit {made.get('git_commit') or 'unknown'}{tree}.",
    ]
    return "\n\n".join(parts) + "\n"


# --- records -> report ---


def _build(path: Path) -> Report:
    found = records.read_all(path)
    if not found:
        raise RecordError(
            f"{path} holds no record: name the folder of a run, of a sweep or of a report, "
            "for example outputs/reports/NAME."
        )
    runs, left_out = _select(found)
    arms = _arm_labels(runs)
    headline = _headline(runs)
    report = Report(_title(runs), runs, left_out, arms, [], headline)
    if (single := report.single) is not None:
        report.rows = _single_rows(single)
        report.grids = [_single_grid(report.rows, single), *_category_grids(single)]
    else:
        report.rows = [*_base_rows(runs), *_arm_rows(runs, arms, headline)]
        report.grids = [_sweep_grid(report)] if report.rows else []
    report.notes = list(_notes(report))
    return report


def _select(found: Iterable[Record]) -> tuple[list[Run], list[Record]]:
    """Return one run per run_id, the newest finished one if there is any, and the others."""
    newest_last = sorted(found, key=lambda r: (r.status == "finished", _time(r)))
    chosen = {record.run_id: record for record in newest_last}
    left_out = [r for r in newest_last if chosen[r.run_id] is not r]
    order = sorted(
        chosen.values(), key=lambda r: (r.job is None, r.job or 0, r.started_at, r.run_id)
    )
    return [Run(record) for record in order], left_out


def _time(record: Record) -> str:
    return record.finished_at or record.started_at


def _arm_labels(runs: Sequence[Run]) -> dict[str, str]:
    """Name each arm by the overrides that are not the same in all of them."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.arm_key, run)
    varying = _varying([run.overrides for run in first.values()])
    labels = {}
    for key, run in first.items():
        own = [f"{name}={run.overrides[name]}" for name in varying if name in run.overrides]
        labels[key] = " ".join(own) or ("defaults" if varying else _labels(run))
    return _told_apart(labels, first)


def _told_apart(labels: dict[str, str], first: dict[str, Run]) -> dict[str, str]:
    """Add config values to labels that two arms share: the same line, another config file."""
    shared = [key for key, label in labels.items() if list(labels.values()).count(label) > 1]
    flat = {key: dict(_leaves(first[key].record.config)) for key in shared}
    varying = [name for name in _varying(list(flat.values())) if name != "seed"][:3]
    for key in shared:
        own = " ".join(f"{name}={flat[key].get(name)}" for name in varying)
        labels[key] = f"{labels[key]} ({own})"
    return labels


def _varying(tables: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for table in tables for name in table)
    return [n for n in names if any(t.get(n, ...) != tables[0].get(n, ...) for t in tables)]


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _labels(run: Run) -> str:
    groups = ((name, run.record.config.get(name, {})) for name in ("model", "data", "lora"))
    return " ".join(f"{name}={group['label']}" for name, group in groups if group.get("label"))


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"Run {runs[0].record.run_id}: {_labels(runs[0])}"
    varied = [f"`{name}`" for name in _varying([run.overrides for run in runs])]
    seeds = ["`seed`"] if len({run.seed for run in runs}) > 1 else []
    return f"{len(runs)} runs" + (f" over {', '.join(varied + seeds)}" if varied + seeds else "")


def _headline(runs: Sequence[Run]) -> str | None:
    """Return the score that arms are compared by: the first of HEADLINES that any run has."""
    there = {key for run in runs if run.finished for key in run.record.scores.get("tuned", {})}
    return next((key for key in HEADLINES if key in there), None)


def _base_rows(runs: Sequence[Run]) -> list[Row]:
    """Return a row per untuned model and data: it has no seed, one run's measurement is enough."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.finished and run.record.scores.get("base"):
            what = [run.record.config.get(key) for key in ("model", "data", "eval")]
            first.setdefault(_dump(what), run)
    rows = []
    for run in first.values():
        names = " ".join(_labels(run).split()[:2])
        label = "base (untuned)" + (f" {names}" if len(first) > 1 else "")
        rows.append(_row(label, [run], "base"))
    return rows


def _arm_rows(runs: Sequence[Run], arms: dict[str, str], headline: str | None) -> list[Row]:
    rows = []
    for key, label in arms.items():
        own = [run for run in runs if run.finished and run.arm_key == key]
        if own:
            rows.append(_row(label, own, "tuned"))
    for row in rows[1:]:
        row.difference = _difference(rows[0], row, headline) if headline else None
    return rows


def _single_rows(run: Run) -> list[Row]:
    kinds: tuple[Kind, ...] = ("base", "tuned")
    return [_row(kind, [run], kind) for kind in kinds if run.record.scores.get(kind)]


def _row(label: str, runs: list[Run], kind: Kind) -> Row:
    keys = dict.fromkeys(key for run in runs for key in run.record.scores.get(kind, {}))
    intervals = {key: _interval(runs, kind, key) for key in keys}
    return Row(label, runs, kind, {key: i for key, i in intervals.items() if i is not None})


def _interval(runs: Sequence[Run], kind: Kind, key: str) -> Interval | None:
    if len(runs) == 1:
        return runs[0].over_items(kind, key)
    values = [v for run in runs if (v := run.score(kind, key)) is not None]
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, None, None, len(values), "seeds", "none")
    return statistics.mean_interval(values, bounds=_bounds(key)) if values else None


def _difference(reference: Row, row: Row, key: str) -> Interval | None:
    """Return row - reference in one score, paired by the seeds that both have."""
    a, b = ({run.seed: run.score("tuned", key) for run in r.runs} for r in (reference, row))
    pairs = [(x, y) for s in a if (x := a[s]) is not None and (y := b.get(s)) is not None]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if not pairs:
        return None
    return statistics.paired_difference([x for x, _ in pairs], [y for _, y in pairs])


def _bounds(key: str) -> Bounds | None:
    """Return the range of a score: the shares among the main scores lie within 0 and 1."""
    return (0.0, 1.0) if key in COLUMNS and "loss/" not in key else None


def _direction(key: str) -> Direction:
    return "minimize" if metrics.direction(key) == "minimize" else "maximize"


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values)


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


# --- report -> tables of text ---


def _columns(rows: Sequence[Row]) -> dict[str, str]:
    """Return the main scores that any row has; the validation loss only where no test loss is."""
    there = {key for row in rows for key in row.scores}
    if "loss/nll" in there:
        there.discard("validation/loss/nll")
    return {key: _header(key) for key in COLUMNS if key in there}


def _header(key: str) -> str:
    return COLUMNS[key] + (" (lower is better)" if _direction(key) == "minimize" else "")


def _cell(interval: Interval | None, sign: str = "") -> str:
    """Return `0.852 [0.81, 0.89]`: two decimals, or three where two would hide the interval."""
    if interval is None:
        return "-"
    text = f"{interval.estimate:{sign}.3f}"
    if interval.low is None or interval.high is None or _flat(interval):
        return text
    ends = (interval.low, interval.high)
    near_zero = any(0 < abs(end) < 0.005 for end in ends)
    digits = 3 if near_zero or ends[1] - ends[0] < 0.02 else 2
    return f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _flat(interval: Interval) -> bool:
    """Tell whether all values were the same: an interval without width."""
    low, high = interval.low, interval.high
    return low is not None and high is not None and high - low < statistics.ROUNDING


def _verdict(difference: Interval | None, key: str) -> str:
    """Return the words for a difference, `-` where it rests on nothing that can be judged."""
    if difference is None or difference.n == 0:
        return "-"
    return statistics.verdict_words(difference, _direction(key))


def _single_grid(rows: Sequence[Row], run: Run) -> Grid:
    columns = _columns(rows)
    lines = [[row.label, *(_cell(row.scores.get(key)) for key in columns)] for row in rows]
    if len(rows) > 1:
        gains = {key: run.gain(key) for key in columns}
        lines.append(["tuned - base", *(_cell(gain, "+") for gain in gains.values())])
        lines.append(["tuned is", *(_verdict(gain, key) for key, gain in gains.items())])
    counts = [rows[-1].scores.get(key) for key in columns]
    lines.append(["test rows", *(str(i.n) if i and i.n else "-" for i in counts)])
    return Grid(["model", *columns.values()], lines)


def _category_grids(run: Run) -> list[Grid]:
    """Return the table of the test split by category; none where rows have no category."""
    lines = []
    for (category, key), cells in _by_category(run).items():
        n = max(cell.n for cell in cells.values())
        line = [category, COLUMNS[key], str(n)]
        lines.append(line + [_cell(cells.get(kind)) for kind in ("base", "tuned")])
    return [Grid(["category", "score", "test rows", "base", "tuned"], lines)] if lines else []


def _by_category(run: Run) -> dict[tuple[str, str], dict[str, Interval]]:
    """Return (category, score) -> model -> interval over the category's test rows."""
    found: dict[tuple[str, str], dict[str, Interval]] = {}
    for key in CATEGORY_SCORES:
        for kind in ("base", "tuned"):
            groups: dict[str, list[float]] = {}
            for row, value in run.per_item.get((kind, key), {}).items():
                if row in run.categories:
                    groups.setdefault(run.categories[row], []).append(value)
            for category in sorted(groups):
                interval = statistics.items_interval(groups[category], bounds=(0, 1))
                found.setdefault((category, key), {})[kind] = interval
    return found


def _sweep_grid(report: Report) -> Grid:
    """Return the table of arms: the score they are compared by first, then the others."""
    columns, key = _columns(report.rows), report.headline
    first = {key: columns.pop(key)} if key else {}
    tuned = [row for row in report.rows if row.kind == "tuned"]
    compared = first if len(tuned) > 1 else {}
    header = ["arm", "seeds", *first.values(), *("difference to first arm" for _ in compared)]
    header += ["train seconds", *columns.values()]
    lines = []
    for row in report.rows:
        line = [row.label, str(len(row.runs)) if row.kind == "tuned" else "-"]
        line += [_cell(row.scores.get(one)) for one in first]
        line += ["reference" if row is tuned[0] else _compared(row, one) for one in compared]
        seconds = row.seconds()
        line.append("-" if seconds is None else f"{seconds:.0f}")
        lines.append(line + [_cell(row.scores.get(one)) for one in columns])
    return Grid(header, lines)


def _compared(row: Row, key: str) -> str:
    if row.difference is None:
        return "-"
    return f"{_cell(row.difference, '+')} {_verdict(row.difference, key)}"


def _text(grid: Grid, width: int) -> str:
    """Align the columns; those that do not fit follow below, with the first column repeated."""
    cells = [_split_header(grid.header), *([[c, ""] for c in row] for row in grid.rows)]
    sizes = [
        max(len(line) for cell in column for line in cell) for column in zip(*cells, strict=True)
    ]
    blocks: list[list[int]] = []
    for at in range(1, len(sizes)):
        if blocks and sizes[0] + sum(sizes[i] + 2 for i in [*blocks[-1], at]) <= width:
            blocks[-1].append(at)
        else:
            blocks.append([at])
    return "\n\n".join(_block(grid, [0, *block], sizes) for block in blocks)


def _block(grid: Grid, columns: Sequence[int], sizes: Sequence[int]) -> str:
    split = _split_header(grid.header)
    above = [[cell[0] for cell in split], [cell[1] for cell in split]]
    rule = ["-" * size for size in sizes]
    lines = []
    for row in [*(line for line in above if any(line[i] for i in columns)), rule, *grid.rows]:
        cells = [row[i].ljust(sizes[i]) if i == 0 else row[i].rjust(sizes[i]) for i in columns]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _split_header(header: Sequence[str]) -> list[list[str]]:
    """Break "NLL per token (lower is better)" into two lines, the second one at the rule."""
    parts = [name.partition(" (") for name in header]
    return [[name, f"({rest}"] if rest else ["", name] for name, _, rest in parts]


# --- report -> sentences below the tables ---


def _notes(report: Report) -> Iterator[str]:
    if report.single is not None:
        yield _single_caption(report.rows)
    elif report.rows:
        yield from _sweep_captions(report)
    yield from _warnings(report.runs)
    if report.single is None:
        yield _footer([run.record.status for run in report.runs])
    for run in report.runs:
        if run.record.status == "failed":
            yield f"Failed: {_failure(run.record)}"
    if report.left_out:
        yield (
            f"{_number(len(report.left_out), 'other record')} of the same runs left out: "
            "the newest finished one counts."
        )


def _footer(statuses: Sequence[str]) -> str:
    order = sorted(records.STATUSES, key=lambda status: status != "finished")
    return ", ".join(f"{statuses.count(s)} {s}" for s in order if s in statuses) + "."


def _single_caption(rows: Sequence[Row]) -> str:
    cells = [row.scores[key] for row in rows for key in _columns(rows) if key in row.scores]
    shown = [cell.n for cell in cells if cell.low is not None]
    if not shown:
        return "No intervals: the scores per test row (items.jsonl.gz) are not beside the record."
    n = f"{min(shown)} to {max(shown)}" if min(shown) < max(shown) else str(max(shown))
    return (
        f"95 % intervals over {n} test rows (Wilson for shares of right rows, Student t "
        "otherwise; differences paired by row), one seed: they do not cover what another seed "
        "would change."
    )


def _sweep_captions(report: Report) -> Iterator[str]:
    tuned = [row for row in report.rows if row.kind == "tuned"]
    if any(len(row.runs) > 1 for row in tuned):
        yield "Mean over seeds with the 95 % Student t interval over seeds."
    alone = [row.label for row in tuned if len(row.runs) == 1]
    if alone:
        who = "Every arm has" if len(alone) == len(tuned) else f"{_listed(alone)}:"
        yield (
            f"{who} one seed: the 95 % interval is over test rows and does not cover what "
            "another seed would change."
        )
    shown = [row.scores.get(key) for row in tuned for key in _columns(tuned)]
    shown += [row.difference for row in tuned]
    if any(interval and interval.over == "seeds" and _flat(interval) for interval in shown):
        yield (
            "No interval is shown where all seeds gave the same number, which few test rows can "
            "do by chance; such a difference counts as not separable."
        )
    if len(tuned) < len(report.rows):
        yield "The untuned base has no seed: its 95 % interval is over test rows."
    if len(tuned) > 1 and report.headline:
        yield (
            f"Difference: {COLUMNS[report.headline]} minus that of {tuned[0].label}, paired by "
            "seed, with its 95 % Student t interval; not separable: the interval contains 0. "
            "Each arm is compared on its own, without a correction for the number of arms."
        )
    yield from _unequal(tuned)


def _unequal(tuned: Sequence[Row]) -> Iterator[str]:
    if len({tuple(row.seeds) for row in tuned}) > 1:
        own = "; ".join(f"{row.label} has {', '.join(map(str, row.seeds))}" for row in tuned)
        yield f"Unequal seeds: {own}. Differences use the seeds that both arms have."


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    finished = [run.record for run in runs if run.finished]
    found = [name for name, apart in _IDENTITY.items() if _differs(finished, name, apart)]
    if found:
        yield (
            f"Warning: the runs do not share one {', '.join(found)}: a difference between them "
            "may come from that."
        )
    if len({_dump(record.config.get("data")) for record in finished}) > 1:
        yield "Warning: the arms differ in their data, and each was scored on its own test rows."
    dirty = sum(bool(record.provenance.get("git_dirty")) for record in finished)
    if dirty:
        yield f"Warning: made from a dirty tree: {dirty} of {_number(len(finished), 'run')}."


def _differs(finished: Iterable[Record], name: str, apart: tuple[str, ...]) -> bool:
    groups: dict[str, set[str]] = {}
    for record in finished:
        key = _dump([_lookup(record.config, path) for path in apart])
        groups.setdefault(key, set()).add(_dump(record.identity.get(name)))
    return any(len(values) > 1 for values in groups.values())


def _lookup(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part, {})
    return tree


def _failure(record: Record) -> str:
    error = record.error or {}
    message = " ".join(str(error.get("message", "no message")).split())
    what = " ".join(record.overrides) or record.run_id
    job = "" if record.job is None else f"job {record.job}, "
    return f"{job}{what}: {error.get('type', 'error')}: {message}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


# --- report -> files ---


def _record_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield every record, those left out as well, and the items of the runs in the tables."""
    for run in report.runs:
        yield f"runs/{run.record.run_id}.json", _as_json(run.record)
        if run.finished and (items := _items_file(run.record)):
            yield f"runs/{run.record.run_id}.{records.ITEMS_NAME}", items.read_bytes()
    seen: dict[str, int] = {}
    for record in report.left_out:
        seen[record.run_id] = seen.get(record.run_id, 1) + 1
        yield f"runs/{record.run_id}.{seen[record.run_id]}.json", _as_json(record)


def _items_file(record: Record) -> Path | None:
    names = (records.ITEMS_NAME, f"{record.run_id}.{records.ITEMS_NAME}")
    return next((f for name in names if (f := record.folder / name).is_file()), None)


def _as_json(record: Record) -> bytes:
    stored = (f.name for f in dataclasses.fields(record) if f.metadata.get("stored", True))
    tree = {name: getattr(record, name) for name in stored}
    return (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()


def _refuse_strangers(out: Path, own: set[str]) -> None:
    """Keep reports apart: from other reports, and from the runs that they are made of."""
    if any(out.glob(records.FILE_NAME)) or any(out.glob(f"*/{records.FILE_NAME}")):
        raise RecordError(
            f"{out} is a folder of runs: write the report elsewhere, for example to "
            f"outputs/reports/{out.resolve().name}."
        )
    strangers = [f for f in (out / "runs").glob("*.json") if f"runs/{f.name}" not in own]
    if strangers:
        raise RecordError(
            f"{out / 'runs'} holds {_number(len(strangers), 'record')} that the report would not "
            f"contain (first: {strangers[0].name}): choose another folder, or remove that one."
        )


def _runs_csv(report: Report) -> str:
    """Return a line a run; only finished runs have scores."""
    tuned = [run.record.scores.get("tuned", {}) for run in report.runs if run.finished]
    keys = _sorted_keys(key for scores in tuned for key in scores)
    header = ["run_id", "status", "job", "arm", "seed", "overrides"]
    header += [*keys, "base calls/exact", "total_seconds", "train_seconds"]
    header += ["trainable_parameters", "git_commit", "git_dirty"]
    return _csv([header, *(_run_line(run, report.arms[run.arm_key], keys) for run in report.runs)])


def _run_line(run: Run, arm: str, keys: Sequence[str]) -> list[Any]:
    record, made = run.record, run.record.provenance
    scores = [run.score("tuned", key) for key in keys] + [run.score("base", "calls/exact")]
    return [
        *(record.run_id, record.status, record.job, arm, run.seed, " ".join(record.overrides)),
        *(scores if run.finished else [None] * len(scores)),
        *(record.timing.get(key) for key in ("total_seconds", "train_seconds")),
        record.adapter.get("trainable_parameters"),
        *(made.get(key) for key in ("git_commit", "git_dirty")),
    ]


def _table_csv(report: Report) -> str:
    """Return a line an arm: each score with its interval, and the difference to the first arm."""
    every = {key for row in report.rows for key in row.scores}
    keys = _sorted_keys(key for key in every if key.rpartition("/")[0] not in every)
    header = ["arm", "seeds", "interval over"]
    header += [f"{key}{end}" for key in keys for end in ("", " low", " high", " n")]
    header += [f"difference{end}" for end in (" in", "", " low", " high", " n", " verdict")]
    header += ["train_seconds", "trainable_parameters"]
    lines = []
    for row in report.rows:
        over = next((interval.over for interval in row.scores.values()), None)
        line: list[Any] = [row.label, len(row.runs) if row.kind == "tuned" else None, over]
        for key in keys:
            line += _ends(row.scores.get(key))
        lines.append([*line, *_difference_cells(report, row), row.seconds(), row.parameters()])
    return _csv([header, *lines])


def _difference_cells(report: Report, row: Row) -> list[Any]:
    key, difference = report.headline, row.difference
    if report.single is not None and row.kind == "tuned" and key:
        difference = report.single.gain(key)  # to the base, paired by test row
    if key is None or difference is None:
        return [None] * 6
    return [key, *_ends(difference), _verdict(difference, key)]


def _ends(interval: Interval | None) -> list[Any]:
    return [interval.estimate, interval.low, interval.high, interval.n] if interval else [None] * 4


def _sorted_keys(keys: Iterable[str]) -> list[str]:
    """Return the main scores in the order of the table, then the others by name."""
    there = set(keys)
    return [key for key in COLUMNS if key in there] + sorted(there - COLUMNS.keys())


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _readme(report: Report, figures: Sequence[str]) -> str:
    parts = [f"# {report.title}", *map(_markdown, report.grids)]
    parts.append("\n".join(f"- {_escaped(note)}" for note in report.notes))
    parts += [f"![{Path(name).stem}]({name})" for name in figures]
    parts.append(
        "`runs.csv` has a line a run, `table.csv` a line an arm, `runs/` the records; "
        "`figures/` has each figure as SVG too."
    )
    return "\n\n".join([*parts, _reproduce(report)]) + "\n"


def _markdown(grid: Grid) -> str:
    lines = [grid.header, [":---"] + ["---:"] * (len(grid.header) - 1), *grid.rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _reproduce(report: Report) -> str:
    """Return the folded block with every command that made a run, and the commit it ran on."""
    lines = []
    for run in report.runs:
        made = run.record.provenance
        commit = made.get("git_commit") or "unknown"
        tree = " (dirty tree)" if made.get("git_dirty") else ""
        lines.append(f"# commit {commit}{tree}\n{made.get('command', '# command unknown')}")
    block = "\n".join(dict.fromkeys(lines))
    head = "<details>\n<summary>Reproduce</summary>"
    return f"{head}\n\n```bash\n{block}\n```\n\n</details>"


# --- report -> figures ---


def _figures(report: Report) -> Iterator[tuple[str, bytes]]:
    run = report.single
    if run is not None and run.record.curve:
        yield from _drawn("curve", _curve(run.record.curve))
    if run is not None and (groups := _by_category(run)):
        yield from _drawn("categories", _bars(groups))
    if run is None and report.headline is not None:
        yield from _drawn("arms", _dots(report.rows, report.headline))


def _drawn(name: str, figure: Any) -> Iterator[tuple[str, bytes]]:
    """Yield a figure as PNG and SVG, without dates and random ids: the same bytes each time."""
    import matplotlib

    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        content = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "experiments"}):
            figure.savefig(content, format=ending, dpi=150, metadata=metadata)
        yield f"figures/{name}.{ending}", content.getvalue()


def _axes(width: float, height: float, grid: Literal["x", "y"]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _curve(curve: Sequence[dict[str, float]]) -> Any:
    figure, axes = _axes(7, 4, "y")
    lines = (
        ("loss", "training", BASE_COLOUR, ""),
        ("validation_nll", "validation", TUNED_COLOUR, "o"),
    )
    for key, label, colour, marker in lines:
        points = [(p["step"], p[key]) for p in curve if p.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("NLL, nats per token")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(frameon=False)
    return figure


def _bars(groups: dict[tuple[str, str], dict[str, Interval]]) -> Any:
    """Draw base and tuned side by side, with intervals over the category's test rows."""
    figure, axes = _axes(7, 1.2 + 0.55 * len(groups), "x")
    for kind, offset, colour in (("base", -0.19, BASE_COLOUR), ("tuned", 0.19, TUNED_COLOUR)):
        cells = [
            (at + offset, cell[kind]) for at, cell in enumerate(groups.values()) if kind in cell
        ]
        if not cells:
            continue
        shares, errors = [cell.estimate for _, cell in cells], _errors([cell for _, cell in cells])
        axes.barh([at for at, _ in cells], shares, height=0.36, color=colour, label=kind)
        axes.errorbar(
            shares, [at for at, _ in cells], xerr=errors, fmt="none", ecolor="black", capsize=2
        )
    names = [f"{category}\n{COLUMNS[key]}" for category, key in groups]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of test rows, 95 % interval over rows")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def _dots(rows: Sequence[Row], key: str) -> Any:
    """Draw each arm's mean with its interval, and under it a dot for each seed."""
    shown = [row for row in rows if key in row.scores]
    figure, axes = _axes(7, 1.2 + 0.45 * len(shown), "x")
    for at, row in enumerate(shown):
        interval = row.scores[key]
        colour = TUNED_COLOUR if row.kind == "tuned" else BASE_COLOUR
        seeds = [run.score(row.kind, key) for run in row.runs]
        if len(seeds) > 1:
            axes.plot(seeds, [at + 0.2] * len(seeds), "o", color=colour, alpha=0.45, ms=4, mew=0)
        errors = _errors([interval]) if interval.low is not None else None
        axes.errorbar([interval.estimate], [at], xerr=errors, fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(shown)), [textwrap.fill(row.label, 36) for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{_header(key)}: 95 % intervals as in the table, small dots are seeds")
    return figure


def _errors(intervals: Sequence[Interval]) -> list[list[float]]:
    """Return the distances to both ends, shape (2, n), as matplotlib wants them."""
    ends = [(i.estimate, i.estimate if i.low is None else i.low, i.high) for i in intervals]
    below = [estimate - low for estimate, low, _ in ends]
    return [below, [(estimate if high is None else high) - estimate for estimate, _, high in ends]]
