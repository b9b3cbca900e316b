"""Records in, why their scores must not be compared with each other out.

One rule for every table, sweep and report: where it gives a reason, the lines stand apart, without
a difference and without a best one.
"""

from collections import Counter
from collections.abc import Sequence

from experiments.analysis.arms.reasons import Reason
from experiments.analysis.arms.same_rows import other_rows
from experiments.records import Record


def apart(found: Sequence[Record], score: str) -> Reason | None:
    """Return why a score of some records is no comparison; None where it is one.

    Args:
        found: of the arms that would be compared.
        score: such as `calls/exact`.
    """
    return other_rows(found, score) or other_mode(found)


def asked(record: Record, kind: str | None = None) -> str | None:
    """Return how a record's models were asked: `off`, `on` or `as_data`; None where it is all one.

    Without a switch in the chat template, `off` and `as_data` are the same prompts. Records of
    versions that knew no switch asked `as_data`.

    Args:
        record: of a run.
        kind: `base` or `tuned`; None = whichever was scored, a run asks both alike.
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
    """Return that models were not all asked in one mode of thinking; None where they were."""
    ways = Counter(way for record in found if (way := asked(record)) is not None)
    if len(ways) < 2:
        return None
    told = ", ".join(f"{way} {count}" for way, count in sorted(ways.items()))
    return Reason(
        "mixed_thinking",
        f"the runs were asked in different modes of eval.thinking ({told}): make those of one "
        "mode again with that of the others",
    )
