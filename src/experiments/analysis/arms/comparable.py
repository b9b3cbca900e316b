"""Decide whether the scores of some records may be compared with each other.

Tables, sweeps and reports all use this rule: if it gives a reason, the rows are shown separately,
without a difference and without a best row.
"""

from collections import Counter
from collections.abc import Sequence

from experiments.analysis.arms.reasons import Reason
from experiments.analysis.arms.same_rows import other_rows
from experiments.records import Record


def apart(records: Sequence[Record], score: str) -> Reason | None:
    """Return why a score must not be compared between some records, or None if it may be.

    Args:
        records: records of the arms to be compared.
        score: such as `calls/exact`.
    """
    return other_rows(records, score) or other_mode(records)


def thinking_mode(record: Record, kind: str | None = None) -> str | None:
    """Return the thinking mode a record was evaluated in: `off`, `on` or `as_data`.

    If the chat template has no thinking switch, `off` and `as_data` give the same prompts and the
    result is None. Records of versions without the setting were evaluated with `as_data`.

    Args:
        record: of a run.
        kind: `base` or `tuned`; None = whichever was scored, as a run evaluates both alike.
    """
    kinds = [kind] if kind else list(record.evaluation)
    evaluations = [record.evaluation[k] for k in kinds if k in record.evaluation]
    if not evaluations:
        return None
    mode = evaluations[0].get("asked")
    if mode is None:
        return "as_data"
    return None if mode["switch"] is None and mode["thinking"] != "on" else str(mode["thinking"])


def other_mode(records: Sequence[Record]) -> Reason | None:
    """Return a reason if models were evaluated in different thinking modes, else None."""
    counts = Counter(mode for record in records if (mode := thinking_mode(record)) is not None)
    if len(counts) < 2:
        return None
    listing = ", ".join(f"{mode} {count}" for mode, count in sorted(counts.items()))
    return Reason(
        "mixed_thinking",
        f"the runs were evaluated in different modes of eval.thinking ({listing}): repeat those of "
        "one mode in the other",
    )
