"""Compute losses and generate answers in all processes of a run, each for its part of the rows.

Everything else of an evaluation is fast and done in every process, or in the main process only.
Each process stores its answers in a file of its own, so an interruption loses nothing, and any
number of processes can resume from the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.evaluation.batched_generation import Generated, Limits, generate
from experiments.evaluation.metrics import loss
from experiments.evaluation.metrics.loss import TokenRow
from experiments.evaluation.progress_file import ProgressFile
from experiments.models import Base
from experiments.runtime import distributed
from experiments.runtime.progress import track


@dataclass(frozen=True)
class GenerationRequest:
    """Prompts to answer with greedy decoding, and the file that stores the answers."""

    prompts: Sequence[list[int]]
    limits: Limits
    file: Path | None = None
    """File that stores answers until the run is finished."""
    key: str = ""
    """Identifies the weights, prompts and limits of the file."""
    numbers: Sequence[int] = ()
    """The index of each prompt in the file."""


def token_losses(model: Any, rows: Sequence[TokenRow], label: str) -> list[list[float]]:
    """Return for each row the NLL of each trained token, in nats, as `loss.token_losses` does.

    The main process shows its progress, under the label.
    """

    def work(indices: list[int]) -> list[list[float]]:
        count = len(indices) if distributed.is_main_process() else 0
        bar = iter(track(range(count), count, label, "rows"))

        def on_rows(done: int) -> None:
            for _ in range(done):
                next(bar, None)

        losses = loss.token_losses(model, [rows[i] for i in indices], on_rows)
        next(bar, None)  # closes the progress bar
        return losses

    return distributed.split_between_processes([len(row.input_ids) for row in rows], work)


def answers(
    model: Any, base: Base, request: GenerationRequest, on_answer: Callable[[], None] = lambda: None
) -> tuple[list[Generated], list[str]]:
    """Return the answers to all prompts, and the notes of all processes on out-of-memory events.

    Args:
        model: the base model, with or without an adapter.
        base: its tokenizer, end tokens, longest sequence and device.
        request: the prompts.
        on_answer: called for each answer of this process as it ends.
    """
    notes: list[str] = []
    file = None
    if request.file is not None:
        file = ProgressFile(own_file(request.file, distributed.current().rank), request.key)

    def work(indices: list[int]) -> list[Generated]:
        results: dict[int, Generated] = {}

        def keep(position: int, answer: Generated) -> None:
            results[position] = answer
            if file is not None:
                file.add(request.numbers[indices[position]], answer)
            on_answer()

        prompts = [request.prompts[i] for i in indices]
        notes.extend(generate(model, base, prompts, request.limits, keep))
        return [results[position] for position in range(len(indices))]

    lengths = [len(prompt) for prompt in request.prompts]
    try:
        all_answers = distributed.split_between_processes(lengths, work)
    finally:
        if file is not None:
            file.close()
    return all_answers, [
        note for process_notes in distributed.all_gather(notes) for note in process_notes
    ]


def own_file(file: Path, rank: int) -> Path:
    """Return the file in which a process stores its answers; rank 0 uses the file itself."""
    return file if rank == 0 else file.with_name(f"{file.stem}.{rank}{file.suffix}")
