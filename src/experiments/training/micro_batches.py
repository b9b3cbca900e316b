"""Rows of an optimiser step -> pieces that fit into memory; the step itself stays what it was.

Where memory runs out in a forward or backward pass, the step begins again with pieces of half the
rows: its gradients are cleared and the random state is that of the step's begin, while weights and
optimizer are still those of the step before. The trainer's batches, their order and the number of
trained tokens that normalises the loss are not touched, so the sum of the gradients is the same.
(With dropout another micro-batch draws other masks, as it does when it is set by hand.)
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import TrainingError
from experiments.runtime.out_of_memory import is_out_of_memory, release
from experiments.runtime.progress import say

Batch = dict[str, Any]
"""What the collator made of some rows: tensors of shape (B, L)."""
Pass = Callable[[Batch], Any]
"""Forward and backward of some rows -> their part of the step's loss."""
# Tensors of a batch that can be cut by rows: padded rows, and packed ones. Others are left whole.
_BY_ROW = (
    {"input_ids", "labels", "attention_mask"},
    {"input_ids", "labels", "position_ids"},
)
KEY = "micro_batch_size"
"""Of an entry of the trainer's log: rows a pass from this step on."""


@dataclass
class MicroBatches:
    """The passes of the optimiser step that is being made."""

    rows: int
    """Of one pass; never grows again."""
    advice: str
    """What to do where one row is too much."""
    told: list[Batch]
    """Gets an entry for each time memory ran out."""
    batches: list[Batch] = field(default_factory=list)
    """Those of the step, as the trainer collated them."""
    losses: list[Any] = field(default_factory=list)
    """The parts of the step's loss of those that are in the gradients."""
    began: "RandomState | None" = None

    def begin(self, batches: list[Batch]) -> None:
        """Begin an optimiser step."""
        self.batches, self.losses, self.began = batches, [], RandomState()

    def next(self, make: Pass, clear: Callable[[], None], step: int) -> Any:
        """Add the next batch of the step to the gradients.

        Args:
            make: forward and backward of some rows.
            clear: clears the gradients.
            step: the optimiser step, for what is said.

        Returns:
            The batch's part of the step's loss, and what a step made again changed in the others'.

        Raises:
            TrainingError: memory ran out for a single row.
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
        """Add batches to the gradients; False where memory ran out."""
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
            what = "one row" if before == 1 else f"{before} rows"
            longest = max(batch["input_ids"].shape[1] for batch in self.batches)
            error = TrainingError(
                f"out of memory at step {step} with {what} of up to {longest} tokens a pass: "
                f"{self.advice}."
            )
            error.step = step
            raise error
        # A divisor, so that the number can be set as it stands.
        self.rows = max(n for n in range(1, before // 2 + 1) if before % n == 0)
        say(
            f"  out of memory at step {step} with {before} rows a pass: the step is made again "
            f"with {self.rows}, the batch stays what it is; set trainer.micro_batch_size="
            f"{self.rows} to begin like this"
        )
        self.told.append({"step": step, KEY: self.rows, "before": before})


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """Cut a batch into pieces of some rows, each only as wide as its own longest row.

    Packed rows lie end to end in one, and are cut where positions begin again.
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
    """Return the entries of a trainer's log that say where memory ran out."""
    return [entry for entry in history if KEY in entry]


class RandomState:
    """The state of every generator that a forward pass may draw from."""

    def __init__(self) -> None:
        import numpy
        import torch

        self.python = random.getstate()
        self.numpy = numpy.random.get_state()
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Put all generators back."""
        import numpy
        import torch

        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
