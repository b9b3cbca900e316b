"""Split the rows of an optimiser step into micro-batches that fit into memory.

On an out-of-memory error in a forward or backward pass, the step is restarted with micro-batches of
half the rows: its gradients are cleared and the random state is reset to the start of the step,
while weights and optimiser are still those of the previous step. The trainer's batches, their order
and the number of trained tokens that normalises the loss do not change, so the sum of the gradients
is the same. (With dropout, another micro-batch size draws other masks, as it does when it is set in
the config.)
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import TrainingError
from experiments.runtime.out_of_memory import is_out_of_memory, release
from experiments.runtime.progress import log

Batch = dict[str, Any]
"""Some rows after collation: tensors of shape (B, L)."""
Pass = Callable[[Batch], Any]
"""Runs forward and backward on some rows and returns their part of the step's loss."""
# Batches that can be split by rows, as the names of their tensors: padded and packed ones. Other
# batches are not split.
_BY_ROW = (
    {"input_ids", "labels", "attention_mask"},
    {"input_ids", "labels", "position_ids"},
)
KEY = "micro_batch_size"
"""Key of an entry in the trainer's log: rows per forward pass from this step on."""


@dataclass
class MicroBatches:
    """The forward and backward passes of the current optimiser step."""

    rows: int
    """Rows per forward pass; never increases."""
    advice: str
    """What the user can do if even one row does not fit."""
    told: list[Batch]
    """Gets one entry per out-of-memory error."""
    batches: list[Batch] = field(default_factory=list)
    """The batches of the step, as the trainer collated them."""
    losses: list[Any] = field(default_factory=list)
    """Loss parts of the batches whose gradients are accumulated so far."""
    began: "RandomState | None" = None

    def begin(self, batches: list[Batch]) -> None:
        """Start an optimiser step."""
        self.batches, self.losses, self.began = batches, [], RandomState()

    def next(self, make: Pass, clear: Callable[[], None], step: int) -> Any:
        """Accumulate the gradients of the step's next batch.

        Args:
            make: runs forward and backward on some rows.
            clear: clears the gradients.
            step: number of the optimiser step, for messages.

        Returns:
            The batch's part of the step's loss, plus the change in the other parts if the step was
            restarted.

        Raises:
            TrainingError: a single row does not fit into memory.
        """
        before, count = self.losses, len(self.losses) + 1
        while not self._add(make, self.batches[len(self.losses) : count]):
            self._halve(step)
            clear()
            release()
            assert self.began is not None
            self.began.restore()
            self.losses = []
        known = self.losses[: len(before)]
        return self.losses[-1] + sum(now - then for now, then in zip(known, before, strict=True))

    def _add(self, make: Pass, batches: list[Batch]) -> bool:
        """Accumulate the gradients of batches; return False if memory ran out."""
        try:
            made = [sum(make(piece) for piece in pieces(batch, self.rows)) for batch in batches]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        self.losses = [*self.losses, *made]
        return True

    def _halve(self, step: int) -> None:
        before = self.rows
        if before == 1 or any(set(batch) not in _BY_ROW for batch in self.batches):
            what = "1 row" if before == 1 else f"{before} rows"
            longest = max(batch["input_ids"].shape[1] for batch in self.batches)
            error = TrainingError(
                f"out of memory at step {step} with {what} of up to {longest} tokens per pass: "
                f"{self.advice}."
            )
            error.step = step
            raise error
        # A divisor, so that the user can set this number in the config.
        self.rows = max(n for n in range(1, before // 2 + 1) if before % n == 0)
        log(
            f"  out of memory at step {step} with {before} rows per pass: retrying the step with "
            f"{self.rows} (same batch size); set trainer.micro_batch_size={self.rows} to start "
            "like this"
        )
        self.told.append({"step": step, KEY: self.rows, "before": before})


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """Split a batch into pieces of some rows, each padded only to its own longest row.

    Packed rows are concatenated in one sequence, which is split where the positions restart.
    """
    if "position_ids" in batch:
        yield from _pieces_of_packed(batch, rows)
        return
    count = len(batch["input_ids"])
    if count <= rows:
        yield batch
        return
    for at in range(0, count, rows):
        mask_BL = batch["attention_mask"][at : at + rows]
        width = int(mask_BL.any(0).nonzero().max()) + 1
        yield {name: tensor[at : at + rows, :width] for name, tensor in batch.items()}


def _pieces_of_packed(batch: Batch, rows: int) -> Iterator[Batch]:
    starts = (batch["position_ids"][0] == 0).nonzero().squeeze(1).tolist()
    edges = [*starts[::rows], batch["position_ids"].shape[1]]
    for first, behind in itertools.pairwise(edges):
        yield {name: tensor[:, first:behind] for name, tensor in batch.items()}


def shrunk(history: list[Batch]) -> list[Batch]:
    """Return the entries of a trainer's log that record out-of-memory errors."""
    return [entry for entry in history if KEY in entry]


class RandomState:
    """The state of every random generator that a forward pass may use."""

    def __init__(self) -> None:
        import numpy
        import torch

        self.python = random.getstate()
        self.numpy = numpy.random.get_state()
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Restore the state of all generators."""
        import numpy
        import torch

        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
