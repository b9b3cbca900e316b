"""The fields of a claim file and their meaning."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Claim:
    """One claim of a paper and how it is tested."""

    number: str = ""
    """Number in the list of claims, such as `C1`."""
    sentence: str = ""
    source: str = ""
    scope: str | None = None
    """Limits of the test in words: what is smaller, shorter or narrower than in the claim; null if
    the runs describe it fully."""
    kind: str = "difference"
    """The quantity that is estimated, one of `kinds.KINDS`."""
    sweep: str | None = None
    """File in sweeps/ that produces the runs."""
    arm: dict[str, Any] = field(default_factory=dict)
    """Config keys and values that select the arm in the sweep, such as `lora.r: 64`."""
    reference: dict[str, Any] = field(default_factory=dict)
    """Config keys and values that select the reference arm."""
    control: dict[str, Any] = field(default_factory=dict)
    """For `same_start`: arms that must show the effect, to prove that the test can detect it."""
    along: str | None = None
    """Config key in which the arms of one side differ, such as `trainer.batch_size`."""
    values: list[Any] = field(default_factory=list)
    """Values of that key; all of them must have been run."""
    numbers: list[float] = field(default_factory=list)
    """The numbers for `values`, in their order, if the values are names, such as model widths."""
    of: str | None = None
    """For `trend`: `gap` (score of the arm minus that of the reference) or `rate_ratio`."""
    score: str = "loss/nll"
    """Score on the test split."""
    expects: str | None = None
    """For `difference`: the arm is `tied` with the reference, `better` or `worse`."""
    margin: float | None = None
    """The largest difference that counts as none, in `unit`; of a trend, from one end of `along` to
    the other. Null if none was fixed before the runs; a claim of a tie then has no verdict."""
    margin_source: str | None = None
    """Who fixed the margin and why it is the right size; required with a margin."""
    delta: float | None = None
    """For a `difference` that the arm is better or worse: the smallest effect that the claim
    asserts, in `unit`. Without it the claim can only be refuted by the opposite effect."""
    delta_source: str | None = None
    """Where the smallest effect is stated; required with a delta."""
    unit: str | None = None
    """Unit of margin and delta: that of the score, such as `nats per token`, or for kinds without
    a score what `units.of` returns."""
    low: float | None = None
    """Lowest number that the claim allows; null = unbounded, if the kind permits it."""
    high: float | None = None
    rival: float | None = None
    """For `trend`: the slope of a rival theory; an interval with it and without 0 refutes."""
    at_most: float | None = None
    """For `best_of`: the largest value of `along` that may be the best."""
    rule: str | None = None
    """For `rule_excess_loss`: `ten_times` the reference's best learning rate, or `hidden_size`."""
    hidden: int | None = None
    """Hidden size of the model, for `rule: hidden_size`."""
    family: str | None = None
    """`llama` or `qwen`, for `rule: hidden_size`."""
    measured: str | None = None
    """For `measured`: name under which `experiments.calibration.numerical_checks` writes it."""
    key: str | None = None
    """For `measured`: key of the value in that file."""
    gates: list[str] = field(default_factory=list)
    """Preconditions of the setting; if one fails or cannot be checked, there is no verdict."""
    seeds: int = 5
    """Minimum number of seeds for a verdict."""
    may_differ: list[str] = field(default_factory=list)
    """Reason codes in which arms may differ, such as `mixed_data` if data sizes are compared."""
    seeds_differ: str | None = None
    """Why the arms have different seeds; the seeds that both have are then compared."""
    looks: bool = False
    """Whether verdicts are given at 3 and at 5 seeds, with alpha .005 and .045; for `difference`
    and `reaches_full` only."""
    primary: bool = False
    """Whether the claim is in the primary family, whose verdicts are adjusted by Holm; all others
    are exploratory."""
    cited: list[dict[str, Any]] = field(default_factory=list)
    """Other places of the same effect, which are printed and decide nothing: each with `sweep`,
    and `arm` and `reference` where they differ from the claim's."""
    seen: str | None = None
    """What of the outcomes was known when the rule was written."""
    not_tested: str | None = None
    """Why the claim cannot be tested here; then no other field is needed."""
    id: str = ""
    """File name without its suffix; set by the loader."""
    sha256: str = ""
    """First 12 hex digits of the file's SHA-256 hash; set by the loader."""
