"""Compute the number of steps and the row order of a run, independent of how it is trained."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.config import EvalConfig, TrainerConfig, stated_steps
from experiments.errors import ConfigError
from experiments.runtime import distributed as processes

# Number of batches that are formed from one pool sorted by length. This reduces padding while
# batches stay mixed.
_POOL_BATCHES = 8


@dataclass(frozen=True)
class StepPlan:
    """Number of steps and rows per step of a run."""

    steps: int
    batch_size: int
    micro_batch_size: int
    """Rows per forward pass of each process."""
    warmup_steps: int
    eval_steps: int
    save_steps: int
    processes: int = 1
    """Number of processes that take part in each step."""
    validation_steps: tuple[int, ...] = ()
    """Steps of `eval.validation_steps`."""
    test_steps: tuple[int, ...] = ()
    """Steps of `eval.test_steps`."""

    @property
    def accumulation(self) -> int:
        """Gradient accumulation: forward passes of each process per optimiser step."""
        return self.batch_size // (self.micro_batch_size * self.processes)


def plan(trainer: TrainerConfig, rows: int, evaluation: EvalConfig | None = None) -> StepPlan:
    """Convert epochs or steps to a step plan for a number of training rows.

    Args:
        trainer: length and batch sizes.
        rows: number of training rows.
        evaluation: the steps at which losses are measured; None = none are stated.

    Raises:
        ConfigError: the warm-up is longer than the run, or a stated step lies beyond its end.
    """
    evaluation = evaluation or EvalConfig()
    batch, micro = trainer.batch_size, trainer.micro_batch_size
    assert batch and micro and trainer.warmup_steps is not None, "config.load resolves these"
    steps = trainer.max_steps
    if steps is None:
        assert trainer.num_train_epochs is not None, "config.load resolves this"
        steps = max(1, -(-round(trainer.num_train_epochs * rows) // batch))
    warmup = trainer.warmup_steps
    warmup_steps = round(warmup * steps) if warmup < 1 else int(warmup)
    if warmup_steps > steps > 0:
        raise ConfigError(
            f"trainer.warmup_steps={warmup_steps} is more than the {steps} steps of this run: the "
            "learning rate would never reach trainer.learning_rate; lower it."
        )
    for key in ("validation_steps", "test_steps"):
        for problem in stated_steps.beyond(f"eval.{key}", getattr(evaluation, key), steps):
            raise ConfigError(f"{problem}.")
    eval_steps = trainer.eval_steps or max(1, steps // 5)
    save_steps = trainer.save_steps or eval_steps
    world_size = processes.world_size()
    return StepPlan(
        steps=steps,
        batch_size=batch,
        micro_batch_size=fitting(batch, micro, world_size),
        warmup_steps=warmup_steps,
        eval_steps=eval_steps,
        save_steps=eval_steps if trainer.select == "best_validation" else save_steps,
        processes=world_size,
        validation_steps=stated_steps.resolved(evaluation.validation_steps, steps),
        test_steps=stated_steps.resolved(evaluation.test_steps, steps),
    )


def fitting(batch: int, micro: int, world_size: int) -> int:
    """Return the largest micro-batch that fits, at most `micro`.

    It divides the rows that each process gets in a step.

    Raises:
        ConfigError: the rows of a step cannot be split equally among the processes.

    >>> fitting(batch=16, micro=4, world_size=2), fitting(batch=12, micro=4, world_size=2)
    (4, 3)
    """
    if batch % world_size:
        raise ConfigError(
            f"trainer.batch_size={batch} is not a multiple of the {world_size} processes of this "
            f"run: set it to {batch + world_size - batch % world_size}, or change the number of "
            "processes."
        )
    rows_per_process = batch // world_size
    return max(
        size for size in range(1, min(rows_per_process, micro) + 1) if rows_per_process % size == 0
    )


def row_order(lengths: Sequence[int], steps: StepPlan, seed: int) -> list[int]:
    """Return the row index of every position of the complete run.

    The order is a sequence of permutations of all rows. Within it, the rows of eight batches at a
    time are sorted by length and these batches are shuffled, so that rows of similar length share a
    batch. Rows within a batch stay sorted by length, so its micro-batches, which are distributed to
    the processes in turn, have similar lengths too.
    """
    shuffler = random.Random(f"row order {seed}")
    total_rows = steps.steps * steps.batch_size
    stream: list[int] = []
    while len(stream) < total_rows:
        epoch = list(range(len(lengths)))
        shuffler.shuffle(epoch)
        stream += epoch
    stream = stream[:total_rows]
    order: list[int] = []
    pool_rows = _POOL_BATCHES * steps.batch_size
    for start in range(0, total_rows, pool_rows):
        pool = sorted(stream[start : start + pool_rows], key=lambda i: lengths[i])
        size = steps.batch_size
        batches = [pool[b : b + size] for b in range(0, len(pool), size)]
        shuffler.shuffle(batches)
        order += [i for batch in batches for i in batch]
    return order
