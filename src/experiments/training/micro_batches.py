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
_SPLITTABLE = (
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
    oom_events: list[Batch]
    """Gets one entry per out-of-memory error."""
    batches: list[Batch] = field(default_factory=list)
    """The batches of the step, as the trainer collated them."""
    losses: list[Any] = field(default_factory=list)
    """Loss parts of the batches whose gradients are accumulated so far."""
    random_state: "RandomState | None" = None

    def begin(self, batches: list[Batch]) -> None:
        """Start an optimiser step."""
        self.batches, self.losses, self.random_state = batches, [], RandomState()

    def next(self, run_pass: Pass, clear: Callable[[], None], step: int) -> Any:
        """Accumulate the gradients of the step's next batch.

        Args:
            run_pass: runs forward and backward on some rows.
            clear: clears the gradients.
            step: number of the optimiser step, for messages.

        Returns:
            The batch's part of the step's loss, plus the change in the other parts if the step was
            restarted.

        Raises:
            TrainingError: a single row does not fit into memory.
        """
        earlier_losses, count = self.losses, len(self.losses) + 1
        while not self._add(run_pass, self.batches[len(self.losses) : count]):
            self._halve(step)
            clear()
            release()
            assert self.random_state is not None
            self.random_state.restore()
            self.losses = []
        recomputed = self.losses[: len(earlier_losses)]
        return self.losses[-1] + sum(
            new - old for new, old in zip(recomputed, earlier_losses, strict=True)
        )

    def _add(self, run_pass: Pass, batches: list[Batch]) -> bool:
        """Accumulate the gradients of batches; return False if memory ran out."""
        try:
            new_losses = [
                sum(run_pass(piece) for piece in pieces(batch, self.rows)) for batch in batches
            ]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        self.losses = [*self.losses, *new_losses]
        return True

    def _halve(self, step: int) -> None:
        old_rows = self.rows
        if old_rows == 1 or any(set(batch) not in _SPLITTABLE for batch in self.batches):
            rows_text = "1 row" if old_rows == 1 else f"{old_rows} rows"
            longest = max(batch["input_ids"].shape[1] for batch in self.batches)
            error = TrainingError(
                f"out of memory at step {step} with {rows_text} of up to {longest} tokens per "
                f"pass: {self.advice}."
            )
            error.step = step
            raise error
        # A divisor, so that the user can set this number in the config.
        self.rows = max(n for n in range(1, old_rows // 2 + 1) if old_rows % n == 0)
        log(
            f"  out of memory at step {step} with {old_rows} rows per pass: retrying the step with "
            f"{self.rows} (same batch size); set trainer.micro_batch_size={self.rows} to start "
            "like this"
        )
        self.oom_events.append({"step": step, KEY: self.rows, "before": old_rows})


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
    for start in range(0, count, rows):
        mask_BL = batch["attention_mask"][start : start + rows]
        width = int(mask_BL.any(0).nonzero().max()) + 1
        yield {name: tensor[start : start + rows, :width] for name, tensor in batch.items()}


def _pieces_of_packed(batch: Batch, rows: int) -> Iterator[Batch]:
    starts = (batch["position_ids"][0] == 0).nonzero().squeeze(1).tolist()
    edges = [*starts[::rows], batch["position_ids"].shape[1]]
    for start, end in itertools.pairwise(edges):
        yield {name: tensor[:, start:end] for name, tensor in batch.items()}


def oom_entries(history: list[Batch]) -> list[Batch]:
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
