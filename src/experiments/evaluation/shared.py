"""Divide losses and answers among the processes of a run.

The leader evaluates a model like a single process; only the two slow operations, losses and
answers, are divided here. The leader broadcasts an order, each process handles its part of the
rows, and the leader gets all results. Each process stores its answers in a file of its own, so an
interruption loses nothing, and any number of processes can resume from the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.evaluation.generation import Generated, Limits, generate
from experiments.evaluation.metrics import loss
from experiments.evaluation.metrics.loss import Encoded
from experiments.evaluation.progress_file import ProgressFile
from experiments.models import Base
from experiments.runtime import distributed


@dataclass(frozen=True)
class Tokens:
    """A row in the form that is sent between processes."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Measure:
    """An order to compute the NLL of each trained token of these rows."""

    rows: list[Tokens]


@dataclass(frozen=True)
class Answer:
    """An order to answer these prompts with greedy decoding."""

    prompts: list[list[int]]
    limits: Limits
    file: Path | None = None
    """File that stores answers until the run is finished."""
    key: str = ""
    """Identifies the weights, prompts and limits of the file."""
    numbers: Sequence[int] = ()
    """The index of each prompt in the file."""


def token_losses(model: Any, rows: Sequence[Encoded]) -> list[list[float]]:
    """Return for each row the NLL of each trained token, in nats, as `loss.token_losses` does."""
    order = Measure([Tokens(row.input_ids, row.labels) for row in rows])
    with distributed.at_work():
        distributed.tell(order)
        return measured(model, order)


def measured(model: Any, order: Measure) -> list[list[float]]:
    """Compute the losses of this process's part; return the losses of all rows."""
    rows = order.rows
    return distributed.divided(
        [len(row.input_ids) for row in rows],
        lambda mine: loss.token_losses(model, [rows[i] for i in mine]),
    )


def answers(
    model: Any, base: Base, order: Answer, shown: Callable[[], None]
) -> tuple[list[Generated], list[str]]:
    """Return the answers to all prompts, and notes on out-of-memory events.

    Args:
        model: the base model, with or without an adapter.
        base: its tokenizer, end tokens, longest sequence and device.
        order: the prompts.
        shown: called for each answer of this process as it ends.
    """
    with distributed.at_work():
        distributed.tell(order)
        return answered(model, base, order, shown)


def answered(
    model: Any, base: Base, order: Answer, shown: Callable[[], None] = lambda: None
) -> tuple[list[Generated], list[str]]:
    """Answer this process's part of the prompts.

    Returns:
        The answers to all prompts, and the notes of all processes.
    """
    notes: list[str] = []
    file = None
    if order.file is not None:
        file = ProgressFile(own_file(order.file, distributed.here().rank), order.key)

    def work(mine: list[int]) -> list[Generated]:
        made: dict[int, Generated] = {}

        def keep(place: int, given: Generated) -> None:
            made[place] = given
            if file is not None:
                file.add(order.numbers[mine[place]], given)
            shown()

        prompts = [order.prompts[i] for i in mine]
        notes.extend(generate(model, base, prompts, order.limits, keep))
        return [made[place] for place in range(len(mine))]

    try:
        found = distributed.divided([len(prompt) for prompt in order.prompts], work)
    finally:
        if file is not None:
            file.close()
    return found, [note for theirs in distributed.everyone(notes) for note in theirs]


def own_file(file: Path, rank: int) -> Path:
    """Return the file in which a process stores its answers; the leader uses the file itself."""
    return file if rank == 0 else file.with_name(f"{file.stem}.{rank}{file.suffix}")
