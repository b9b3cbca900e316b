"""Decide whether the scores of some records may be compared with each other.

Tables, sweeps and reports all use this rule: if it gives a reason, the rows are shown separately,
without a difference and without a best row.
"""

from collections import Counter
from collections.abc import Sequence

from experiments.analysis.arms.reasons import Reason
from experiments.analysis.arms.same_rows import other_rows
from experiments.records import Record


def apart(found: Sequence[Record], score: str) -> Reason | None:
    """Return why a score must not be compared between some records, or None if it may be.

    Args:
        found: records of the arms to be compared.
        score: such as `calls/exact`.
    """
    return other_rows(found, score) or other_mode(found)


def asked(record: Record, kind: str | None = None) -> str | None:
    """Return the thinking mode a record was evaluated in: `off`, `on` or `as_data`.

    If the chat template has no thinking switch, `off` and `as_data` give the same prompts and the
    result is None. Records of versions without the setting were evaluated with `as_data`.

    Args:
        record: of a run.
        kind: `base` or `tuned`; None = whichever was scored, as a run evaluates both alike.
    """
    kinds = [kind] if kind else list(record.evaluation)
    facts = [record.evaluation[k] for k in kinds if k in record.evaluation]
    if not facts:
        return None
    how = facts[0].get("asked")
    if how is None:
        return "as_data"
    return None if how["switch"] is None and how["thinking"] != "on" else str(how["thinking"])


def other_mode(found: Sequence[Record]) -> Reason | None:
    """Return a reason if models were evaluated in different thinking modes, else None."""
    ways = Counter(way for record in found if (way := asked(record)) is not None)
    if len(ways) < 2:
        return None
    told = ", ".join(f"{way} {count}" for way, count in sorted(ways.items()))
    return Reason(
        "mixed_thinking",
        f"the runs were evaluated in different modes of eval.thinking ({told}): repeat those of "
        "one mode in the other",
    )
