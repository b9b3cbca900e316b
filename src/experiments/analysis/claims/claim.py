"""A claim as its file says it: fields and what they mean, no reading and no judging."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Claim:
    """One sentence of a paper and how it is tested."""

    number: str = ""
    """Its number in the list of claims, such as `C1`."""
    sentence: str = ""
    source: str = ""
    scope: str | None = None
    """How far a test here reaches, in words: what is smaller, shorter or narrower than the claim;
    null where the runs say it all."""
    kind: str = "difference"
    """What is estimated; `kinds.KINDS` names them."""
    sweep: str | None = None
    """File of sweeps/ that makes the runs."""
    arm: dict[str, Any] = field(default_factory=dict)
    """Key of the config -> value, such as `lora.r: 64`: what the arm of the sweep has."""
    reference: dict[str, Any] = field(default_factory=dict)
    """The same of the arm that it is compared with."""
    control: dict[str, Any] = field(default_factory=dict)
    """For `same_start`: arms in which the effect must be seen, else the test could not see it."""
    along: str | None = None
    """Key of the config that the arms of one side differ in, such as `trainer.batch_size`."""
    values: list[Any] = field(default_factory=list)
    """Its values, all of which must have been run."""
    numbers: list[float] = field(default_factory=list)
    """What the values stand for, in their order, where they are names, such as widths of bases."""
    of: str | None = None
    """For `trend`: `gap` (score of the arm minus that of the reference) or `rate_ratio`."""
    score: str = "loss/nll"
    """Of the test split."""
    expects: str | None = None
    """For `difference`: the arm is `tied` with the reference, `better` or `worse`."""
    margin: float | None = None
    """A share of what the reference gains over the untuned base (`difference`, `departure`, and
    `trend`, from one end of `along` to the other), of the lowest loss (`rule_regret`) or of the
    first fall of the loss (`same_start`)."""
    low: float | None = None
    """Lowest number that the claim allows; null = open, where the kind permits it."""
    high: float | None = None
    rival: float | None = None
    """For `trend`: the slope of another theory; an interval with it and without 0 contradicts."""
    at_most: float | None = None
    """For `best_of`: the largest value of `along` that may be the best."""
    rule: str | None = None
    """For `rule_regret`: `ten_times` the reference's best rate, or `hidden_size`."""
    hidden: int | None = None
    """Width of the model, for `rule: hidden_size`."""
    family: str | None = None
    """`llama` or `qwen`, for `rule: hidden_size`."""
    measured: str | None = None
    """For `measured`: its name in what `experiments.calibration.numerical_checks` writes."""
    key: str | None = None
    """For `measured`: which of its values."""
    gates: list[str] = field(default_factory=list)
    """Conditions of the setting; one that fails, or cannot be seen, allows no verdict."""
    seeds: int = 5
    """Seeds that a verdict needs."""
    may_differ: list[str] = field(default_factory=list)
    """What the arms may differ in, such as `mixed_data` where data sizes are compared."""
    not_tested: str | None = None
    """Why it cannot be tested here; then nothing else is needed."""
    id: str = ""
    """Name of the file; not written in it."""
    sha256: str = ""
    """First 12 hex digits of the file's hash; not written in it."""
