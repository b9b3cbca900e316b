"""What is measured and answered, divided among the processes of a run.

The leader scores a model as if it were alone; only the two things that take time, losses and
answers, go through here. It orders them from the others, each does its part of the rows, and the
leader gets the results of all. A process that answers keeps what it has answered in a file of its
own, so an interruption loses nothing, and any number of processes can go on from it.
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
    """A row as it travels."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Measure:
    """An order: the NLL of each trained token of these rows."""

    rows: list[Tokens]


@dataclass(frozen=True)
class Answer:
    """An order: greedy answers to these prompts."""

    prompts: list[list[int]]
    limits: Limits
    file: Path | None = None
    """Where answers are kept until the run is finished."""
    key: str = ""
    """What the file belongs to."""
    numbers: Sequence[int] = ()
    """The number of each prompt in the file."""


def token_losses(model: Any, rows: Sequence[Encoded]) -> list[list[float]]:
    """Return for each row the NLL of each trained token, in nats, as `loss.token_losses` does."""
    order = Measure([Tokens(row.input_ids, row.labels) for row in rows])
    with distributed.at_work():
        distributed.tell(order)
        return measured(model, order)


def measured(model: Any, order: Measure) -> list[list[float]]:
    """Do this process's part; return the losses of all rows."""
    rows = order.rows
    return distributed.divided(
        [len(row.input_ids) for row in rows],
        lambda mine: loss.token_losses(model, [rows[i] for i in mine]),
    )


def answers(
    model: Any, base: Base, order: Answer, shown: Callable[[], None]
) -> tuple[list[Generated], list[str]]:
    """Return the answers to all prompts, and what was adapted on the way.

    Args:
        model: the base's model, with or without an adapter.
        base: its tokenizer, end tokens, positions and device.
        order: the prompts.
        shown: called for each answer of this process as it ends.
    """
    with distributed.at_work():
        distributed.tell(order)
        return answered(model, base, order, shown)


def answered(
    model: Any, base: Base, order: Answer, shown: Callable[[], None] = lambda: None
) -> tuple[list[Generated], list[str]]:
    """Do this process's part; return the answers to all prompts, and what any process adapted."""
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
    """Return where a process keeps its answers: the leader in the file itself."""
    return file if rank == 0 else file.with_name(f"{file.stem}.{rank}{file.suffix}")
