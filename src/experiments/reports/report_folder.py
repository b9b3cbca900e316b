"""Build the files of a report folder, including the records from which it can be regenerated."""

import csv
import io
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import records
from experiments.analysis.statistics import Interval
from experiments.errors import RecordError
from experiments.records import Record, archive, provenance
from experiments.reports import base_models, memory_table, sentences, trained_shares
from experiments.reports.arm_report import ArmRow, Report
from experiments.reports.scores import COLUMNS, Run
from experiments.reports.sentences import counted
from experiments.reports.tables import escaped, grids, markdown, verdict

NOT_COUNTED = "runs/not_counted.txt"

_TOKEN = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+""")
_START = r"""(?<![^\s=,:\[({'"])"""  # start of an argument or of a value in it
# Absolute paths start with / or ~, unlike the // of https: or a deletion such as ~hydra/launcher.
_ABSOLUTE = re.compile(_START + r"""(?:(?!(?<=:)//[^/])~?/|(?<=[=,:\[({'"])~[\w.-]+/)[^,\])}'"]*""")


def record_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield every record, including those left out, and the items of the runs in the tables."""
    shown = {run.record.run_id for row in report.rows for run in row.runs if run.finished}
    yield from archive.files(named(report), shown)
    if report.unreadable:
        yield NOT_COUNTED, "".join(f"{sentence}\n" for sentence in report.unreadable).encode()


def not_counted(folder: Path) -> list[str]:
    """Return the sentences of a report folder on broken records, which it does not contain."""
    file = folder / NOT_COUNTED
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def named(report: Report) -> list[tuple[str, Record]]:
    """Return the file name and record of every run, those in the tables first."""
    return archive.named([*(run.record for run in report.runs), *report.left_out])


def refuse_records_of_other_reports(out: Path, own: set[str]) -> None:
    """Refuse an output folder with other runs or with records of another report.

    A committed report may be replaced by another one, because git still has it.
    """
    if any(out.glob(records.FILE_NAME)) or any(out.glob(f"*/{records.FILE_NAME}")):
        raise RecordError(
            f"{out} is a folder of runs: write the report to another folder, for example "
            f"outputs/reports/{out.resolve().name}."
        )
    strangers = [name for name in archive.record_files(out) if name not in own]
    if strangers and not provenance.is_committed(out):
        raise RecordError(
            f"{out / 'runs'} has {counted(len(strangers), 'record')} outside this report (first: "
            f"{strangers[0]}): choose another folder, or commit or remove that one."
        )


def runs_csv(report: Report) -> str:
    """Return one CSV line per run; only finished runs have scores."""
    tuned = [run.record.scores.get("tuned", {}) for run in report.runs if run.finished]
    keys = _sorted_keys(key for scores in tuned for key in scores)
    header = ["run_id", "status", "job", "arm", "seed", "overrides"]
    header += [*keys, "base calls/exact", "total_seconds", "train_seconds"]
    header += ["trainable_parameters", "trainable_share", "linear_share", "git_commit", "git_dirty"]
    return _csv([header, *(_run_line(run, report.arm_of(run), keys) for run in report.runs)])


def _run_line(run: Run, arm: str, keys: Sequence[str]) -> list[Any]:
    record, made = run.record, run.record.provenance
    trained = trained_shares.of(record)
    scores = [run.score("tuned", key) for key in keys] + [run.score("base", "calls/exact")]
    return [
        *(record.run_id, record.status, record.job, arm, run.seed, " ".join(record.overrides)),
        *(scores if run.finished else [None] * len(scores)),
        *(record.timing.get(key) for key in ("total_seconds", "train_seconds")),
        *(trained.parameters, trained.of_all, trained.of_linear),
        *(made.get(key) for key in ("git_commit", "git_dirty")),
    ]


def table_csv(report: Report) -> str:
    """Return one CSV line per arm: scores with intervals, and the difference to the first arm."""
    every = {key for row in report.rows for key in row.scores}
    keys = _sorted_keys(key for key in every if key.rpartition("/")[0] not in every)
    header = ["arm", "seeds", "interval over"]
    header += [f"{key}{end}" for key in keys for end in ("", " low", " high", " n")]
    header += [f"difference{end}" for end in (" in", "", " low", " high", " n", " verdict")]
    header += ["train_seconds", "trainable_parameters", "trainable_share", "linear_share"]
    header += _RATES if report.tuning else []
    lines = []
    for row in report.rows:
        over = next((interval.over for interval in row.scores.values()), None)
        line: list[Any] = [row.label, len(row.runs) if row.kind == "tuned" else None, over]
        for key in keys:
            line += _ends(row.scores.get(key))
        trained = row.trained()
        line += [*_difference_cells(report, row), row.seconds()]
        line += [trained.parameters, trained.of_all, trained.of_linear]
        lines.append(line + (_rate_cells(row) if report.tuning else []))
    return _csv([header, *lines])


def _difference_cells(report: Report, row: ArmRow) -> list[Any]:
    key, difference = report.headline, row.difference
    if report.single is not None and row.kind == "tuned" and key:
        difference = report.single.gain(key)  # tuned minus base, paired by test row
    if key is None or difference is None:
        return [None] * 6
    found = verdict(difference, key) if row.contrast is None else row.contrast.finding
    return [key, *_ends(difference), found]


_RATES = ["best_rate", "optimum_rate", "optimum_rate low", "optimum_rate high", "rates_tried"]


def _rate_cells(row: ArmRow) -> list[Any]:
    if row.tuned is None:
        return [None] * len(_RATES)
    best = row.tuned.optimum
    ends = [None] * 3 if best is None else [best.estimate, best.low, best.high]
    return [row.tuned.best, *ends, len(row.tuned.curve)]


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


def readme(report: Report, figures: Sequence[str]) -> str:
    """Return the page of a report folder: tables, sentences, figures, and how to reproduce it."""
    parts = [f"# {report.title}", *map(markdown, grids(report))]
    for grid in memory_table.grids(report):
        parts += ["Peak memory of training, predicted and measured:", markdown(grid)]
    for caption, grid in base_models.sections(report):
        parts += [escaped(caption), markdown(grid)]
    parts.append("\n".join(f"- {escaped(note)}" for note in sentences.write(report)))
    parts += [f"![{name}](figures/{name}.svg)" for name in figures]
    parts.append(
        "`runs/` has the records. `python -m experiments report FOLDER` also writes `runs.csv` "
        "(one line per run), `table.csv` and `table.tex` (one line per arm), and with `--html` "
        "this page as a single file."
    )
    return "\n\n".join([*parts, _reproduce(report)]) + "\n"


def _reproduce(report: Report) -> str:
    """Return the folded block with the command of every run and the commit it ran on."""
    lines = []
    for run in report.runs:
        if run.record.status == records.NOT_BEGUN:
            continue  # it is started by the command of the other runs
        made = run.record.provenance
        commit = made.get("git_commit") or "unknown"
        tree = " (dirty tree)" if made.get("git_dirty") else ""
        lines.append(f"# commit {commit}{tree}\n{_command(made.get('command'))}")
    block = "\n".join(dict.fromkeys(lines))
    head = "<details>\n<summary>Reproduce</summary>"
    return f"{head}\n\n```bash\n{block}\n```\n\n</details>"


def _command(command: str | None) -> str:
    """Return the command with the user's absolute folders removed.

    >>> print(_command("python train.py data.path=/home/me/rows.jsonl ~tracker"))
    python train.py 'data.path=<your path>/rows.jsonl' ~tracker
    """
    return _TOKEN.sub(_without_folder, command) if command else "# command unknown"


def _without_folder(token: re.Match[str]) -> str:
    argument = shlex.split(token[0])[0]
    shown = _ABSOLUTE.sub(lambda path: f"<your path>/{Path(path[0]).name}", argument)
    return token[0] if shown == argument else shlex.quote(shown)
