"""Keep evaluation rows out of the training data.

Overlaps between training and evaluation rows are refused, and so are published evaluation sets as
training data: the score of a model that was trained on test rows is meaningless.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.data import identity
from experiments.errors import DataError

Row = dict[str, Any]


@dataclass(frozen=True)
class Overlap:
    """One training row that also occurs in an evaluation set."""

    train_id: str
    evaluation_id: str
    """Id of the first evaluation row that it matches."""
    kind: Literal["same prompt", "near-duplicate"]


@dataclass(frozen=True)
class EvaluationSet:
    """A published data set that may only be used for evaluation."""

    title: str
    hub_ids: tuple[str, ...]
    names: str
    """Pattern that matches the full name of a data set, file or Hub repository, in lower case with
    `_` between words. It also finds copies under other owners."""
    splits: tuple[str, ...] = ()
    """Prefixes of the splits or configs reserved for evaluation; empty means all of them."""


EVALUATION_ONLY = (
    EvaluationSet(
        "BFCL, the Berkeley function-calling leaderboard",
        ("gorilla-llm/Berkeley-Function-Calling-Leaderboard",),
        r"bfcl(_v\d.*|_live.*|_multi.*|_simple.*|_parallel.*|_irrelevance.*)?"
        r"|berkeley_function_call(ing)?_leaderboard.*",
    ),
    # Its train splits are derived from xlam and may be trained on; its tests come from BFCL live.
    EvaluationSet(
        "the tests of When2Call", ("nvidia/When2Call",), r"when2call(_test.*)?", ("test", "mcq")
    ),
    EvaluationSet("NESTFUL", ("ibm-research/nestful",), r"nestful.*"),
    EvaluationSet("ACEBench", (), r"ace_?bench.*"),
    EvaluationSet("tau-bench", (), r"tau_?2?_?bench.*"),
    # Its training data are a separate set; lv1-lv2-samples and similar ones are the test.
    EvaluationSet(
        "the tests of API-Bank", (), r"api_?bank(_test.*)?", ("test", "lv1", "lv2", "lv3")
    ),
    EvaluationSet("the tests of Seal-Tools", (), r"seal_?tools(_test.*)?", ("test",)),
    EvaluationSet(
        "the test of GSM8K",
        ("openai/gsm8k", "gsm8k"),
        r"gsm8k(_test.*)?|grade_school_math",
        ("test",),
    ),
)
"""Compiled from the papers and dataset cards of the sets, which publish them as tests."""


def overlap(train_rows: Iterable[Row], evaluation_rows: Iterable[Row]) -> list[Overlap]:
    """Return the training rows that also occur among the evaluation rows, in training order.

    Two rows overlap if everything before their last answer is equal, or if they are near-duplicates
    by `identity.dialogue_key`.
    """
    return [match for match in _matches(train_rows, evaluation_rows) if match]


def refuse_overlap(
    train_rows: Sequence[Row], evaluation_rows: Iterable[Row], *, evaluation: str
) -> None:
    """Refuse to train on rows of an evaluation set.

    Args:
        train_rows: canonical rows.
        evaluation_rows: canonical rows; their answers are ignored.
        evaluation: name of the evaluation in the error message.

    Raises:
        DataError: there is an overlap; the message reports the number of rows and up to three ids.
    """
    overlaps = overlap(train_rows, evaluation_rows)
    if not overlaps:
        return
    examples = "; ".join(
        f"{match.train_id} is {match.evaluation_id} ({match.kind})" for match in overlaps[:3]
    )
    remainder = f"; and {len(overlaps) - 3} more" if len(overlaps) > 3 else ""
    raise DataError(
        f"{len(overlaps)} of {len(train_rows)} training rows also occur in {evaluation}, so its "
        f"score would be meaningless: {examples}{remainder}. Remove them from the training data, "
        "or evaluate on another set."
    )


def without_overlap(
    train_rows: Sequence[Row], evaluation_rows: Iterable[Row]
) -> tuple[list[Row], int]:
    """Return the training rows that do not occur in the evaluation rows, and the number removed.

    Used for random splits of one source, which may contain the same question twice.
    """
    matches = _matches(train_rows, evaluation_rows)
    kept_rows = [row for row, match in zip(train_rows, matches, strict=True) if match is None]
    return kept_rows, len(train_rows) - len(kept_rows)


def refuse_evaluation_sets(name: str, hub_id: str | None = None, split: str | None = None) -> None:
    """Refuse a published evaluation set as training data.

    Args:
        name: name of the source or of its file, with or without extension.
        hub_id: `owner/name` on the Hub.
        split: the split or config to read. If a set also has training rows and this is None, it is
            refused only if its name contains `test`.

    Raises:
        DataError: the set, or this split of it, is in EVALUATION_ONLY.
    """
    names = [_normalised_name(name), _normalised_name((hub_id or "").rpartition("/")[2])]
    for evaluation_set in EVALUATION_ONLY:
        ids = {candidate.lower() for candidate in evaluation_set.hub_ids}
        matching = [
            candidate for candidate in names if re.fullmatch(evaluation_set.names, candidate)
        ]
        if not matching and (hub_id or "").lower() not in ids:
            continue
        split_names = [_normalised_name(split or "")] + [
            re.sub(r"^.*?(?=_test)_", "", candidate) for candidate in matching
        ]
        if evaluation_set.splits and not any(
            split_name.startswith(evaluation_set.splits) for split_name in split_names
        ):
            continue
        described = f"{hub_id or name}" + (f" (split {split})" if split else "")
        raise DataError(
            f"{described} is {evaluation_set.title}: it is for evaluation only, because training "
            "on it would make its score meaningless; use it for evaluation, or train on another "
            "set."
        )


def _matches(train_rows: Iterable[Row], evaluation_rows: Iterable[Row]) -> Iterator[Overlap | None]:
    """Yield the overlap of each training row, or None."""
    prompt_ids: dict[str, str] = {}
    dialogue_ids: dict[str, str] = {}
    for row in evaluation_rows:
        prompt_ids.setdefault(identity.prompt(row), str(row.get("id")))
        key = identity.dialogue_key(row)
        if key:
            dialogue_ids.setdefault(key, str(row.get("id")))
    for row in train_rows:
        same_id = prompt_ids.get(identity.prompt(row))
        near_id = dialogue_ids.get(identity.dialogue_key(row) or "")
        if same_id is not None:
            yield Overlap(str(row.get("id")), same_id, "same prompt")
        elif near_id is not None:
            yield Overlap(str(row.get("id")), near_id, "near-duplicate")
        else:
            yield None


def _normalised_name(name: str) -> str:
    """Return a name in lower case, without extension, with `_` between its words."""
    stem = re.sub(r"\.(jsonl?|parquet)(\.gz)?$", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_")
