"""Score a file of plan pairs from any model, without loading a model.

Each input line is `{"label": PLAN, "pred": PLAN}`, where a plan is plan text or a list of calls
(`experiments.toolcalls.plan_graphs`); other keys are ignored. The output has one line for each
input line, in the same order: `{"success": bool, "error": text or null}`. An invalid line counts
as a failure with a named error, so that the lines stay aligned.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import records
from experiments.errors import DataError
from experiments.toolcalls import plan_graphs

BROKEN = "BrokenLine"


def score_pairs(pairs: Path, out: Path, *, quirks: bool = False) -> str:
    """Score a file of pairs, write the verdicts to `out`, and return the counts as text.

    Args:
        pairs: JSON lines with `label` and `pred`; blank lines are skipped.
        out: the output file, replaced atomically.
        quirks: score plan text exactly as TinyAgent does.

    Raises:
        DataError: the file of pairs cannot be read or has no lines.
        RecordError: `out` cannot be written.
    """
    try:
        content = pairs.read_bytes()
    except OSError as error:
        raise DataError(f"--pairs {pairs}: {error.strerror}; name a file of JSON lines.") from error
    verdicts = [score_line(line, number, quirks=quirks) for number, line in _lines(content)]
    if not verdicts:
        raise DataError(
            f"--pairs {pairs} is empty: give one JSON object with label and pred per line."
        )
    lines = "".join(json.dumps(verdict) + "\n" for verdict in verdicts)
    records.write_atomically(out, lines.encode(), advice="choose another --out")
    return "\n".join(_counts(verdicts, quirks=quirks))


def score_line(line: bytes, number: int, *, quirks: bool = False) -> dict[str, Any]:
    """Return `success` and `error` for one line of a file of pairs; never raises.

    >>> score_line(b'{"label": "1. a()", "pred": "1. a()"}', 1)
    {'success': True, 'error': None}
    >>> score_line(b'{"label": "1. a()"}', 2)
    {'success': False, 'error': 'BrokenLine: line 2 has no pred'}

    Args:
        line: the bytes of the line.
        number: line number, from 1.
        quirks: as in `score_pairs`.
    """
    try:
        pair = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return _broken(number, "is not UTF-8")
    except (ValueError, RecursionError):
        return _broken(number, "is not JSON, or is nested too deeply")
    if not isinstance(pair, dict):
        return _broken(number, "is not a JSON object")
    for key in ("label", "pred"):
        if key not in pair:
            return _broken(number, f"has no {key}")
        if not isinstance(pair[key], str | list):
            return _broken(number, f"has a {key} that is neither plan text nor a list of calls")
    verdict = plan_graphs.compare(pair["label"], pair["pred"], quirks=quirks)
    return {"success": verdict.success, "error": verdict.error}


def _broken(number: int, problem: str) -> dict[str, Any]:
    return {"success": False, "error": f"{BROKEN}: line {number} {problem}"}


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _counts(verdicts: list[dict[str, Any]], *, quirks: bool) -> Iterator[str]:
    solved = sum(verdict["success"] for verdict in verdicts)
    rules = "TinyAgent's rules, quirks included" if quirks else "canonical rules"
    n = len(verdicts)
    yield f"plan_graph ({rules}): {solved:,} of {n:,} pairs succeed ({solved / n:.4f})"
    names = Counter(v["error"].partition(":")[0] for v in verdicts if v["error"])
    for name, count in names.most_common():
        first = next(v["error"] for v in verdicts if v["error"] and v["error"].startswith(name))
        yield f"  {count:,} with {name}, for example {first.encode('ascii', 'replace').decode()}"
