"""Schema of `plan`: assumptions of a plan that are not in a run's config."""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config.value_checks import at_least, share


@dataclass
class PlanConfig:
    """What `python -m experiments plan` assumes; not part of a run, but `train.py` records it."""

    probe: bool = False
    """Load the model here, run three steps and compare them with the plan."""
    rows: int | None = None
    """Training rows; null = counted if the data give it without being read, else 10,000."""
    tokens_per_row: float | None = None
    """Mean tokens per row; null = measured for built-in data, estimated by size for files, else
    512."""
    longest_row_tokens: int | None = None
    """Longest row that is kept; null = known for the built-in data, else the run's limit."""
    trained_share: float | None = None
    """Share of tokens with a loss, 0-1; null = known for the built-in data, else 0.3."""
    utilisation: float | None = None
    """Share of the device's peak that training reaches, 0-1; null = 0.25 on a GPU and 0.5 on a CPU,
    or as measured by a probe."""
    evaluation_hours: float = 0.0
    """Hours to add to each run, for what a plan does not count; it counts training, losses and
    answers."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        for key in ("rows", "tokens_per_row", "longest_row_tokens"):
            yield from at_least(f"plan.{key}", getattr(self, key), 1)
        yield from at_least("plan.evaluation_hours", self.evaluation_hours, 0)
        yield from share("plan.trained_share", self.trained_share)
        if self.utilisation is not None and not 0 < self.utilisation <= 1:
            yield f"plan.utilisation={self.utilisation}: must be above 0 and at most 1"
        longest, mean = self.longest_row_tokens, self.tokens_per_row
        if longest is not None and mean is not None and mean > longest:
            yield f"plan.tokens_per_row={mean} is above plan.longest_row_tokens={longest}"
