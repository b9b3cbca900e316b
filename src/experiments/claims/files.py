"""Files of conf/claims/ in, checked claims out."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from experiments import metrics
from experiments.arms.regret import EXPONENTS
from experiments.claims.gates import GATES
from experiments.config.checks import at_least, one_of
from experiments.errors import ConfigError, did_you_mean

KINDS = ("difference", "rate_ratio", "rule_regret")
EXPECTATIONS = ("tied", "better", "worse")
RULES = ("ten_times", "hidden_size")


@dataclass
class Claim:
    """One sentence of a paper and how it is tested."""

    number: str = ""
    """Its number in the list of claims, such as `C1`."""
    sentence: str = ""
    source: str = ""
    kind: str = "difference"
    """`difference` of a score, `rate_ratio` of two optima, or `rule_regret` of a rule's rate."""
    sweep: str | None = None
    """File of sweeps/ that makes the runs."""
    arm: dict[str, Any] = field(default_factory=dict)
    """Key of the config -> value, such as `lora.r: 64`: what the arm of the sweep has."""
    reference: dict[str, Any] = field(default_factory=dict)
    """The same of the arm that it is compared with."""
    score: str = "loss/nll"
    """Of the test split, for `difference`."""
    expects: str | None = None
    """For `difference`: the arm is `tied` with the reference, `better` or `worse`."""
    margin: float | None = None
    """For `difference` a share of the reference's gain over the untuned base; for `rule_regret` a
    share of the lowest loss."""
    low: float | None = None
    """For `rate_ratio`: the lowest ratio that the claim allows."""
    high: float | None = None
    rule: str | None = None
    """For `rule_regret`: `ten_times` the reference's best rate, or `hidden_size`."""
    hidden: int | None = None
    """Width of the model, for `rule: hidden_size`."""
    family: str | None = None
    """`llama` or `qwen`, for `rule: hidden_size`."""
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

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each value that has no meaning."""
        for key in ("number", "sentence", "source"):
            if not getattr(self, key):
                yield f"{key} is missing"
        if self.not_tested is not None:
            return
        yield from one_of("kind", self.kind, KINDS)
        if not self.sweep:
            yield "sweep is missing: name the file of sweeps/ that makes the runs, or not_tested"
        if not self.arm or (not self.reference and self.rule != "hidden_size"):
            yield "arm and reference must name what the arms of the sweep have, such as lora.r: 16"
        for gate in self.gates:
            yield from one_of("gates", gate, tuple(GATES))
        yield from at_least("seeds", self.seeds, 2)
        yield from getattr(self, f"_{self.kind}_problems", tuple)()

    def _difference_problems(self) -> Iterator[str]:
        yield from one_of("expects", str(self.expects), EXPECTATIONS)
        if metrics.direction(self.score) is None:
            yield f"score={self.score}: no metric declares its direction"
        yield from self._margin_problems("the reference's gain")

    def _rate_ratio_problems(self) -> Iterator[str]:
        if self.low is None or self.high is None or not 0 < self.low < self.high:
            yield f"low={self.low} and high={self.high}: the ends of the allowed ratios, 0 < low"

    def _rule_regret_problems(self) -> Iterator[str]:
        yield from one_of("rule", str(self.rule), RULES)
        yield from self._margin_problems("the lowest loss")
        if self.rule == "hidden_size":
            yield from at_least("hidden", self.hidden or 0, 1)
            yield from one_of("family", str(self.family), tuple(EXPONENTS))

    def _margin_problems(self, of: str) -> Iterator[str]:
        if self.margin is None or not 0 < self.margin < 1:
            yield f"margin={self.margin}: a share of {of}, above 0 and below 1"


def load(folder: Path, ids: Sequence[str] = ()) -> list[Claim]:
    """Read the claims of a folder, in the order of their numbers.

    Args:
        folder: conf/claims.
        ids: names of files; none = all of them.

    Raises:
        ConfigError: there is no such claim, or one that has a mistake; all mistakes are named.
    """
    there = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not there:
        raise ConfigError(f"there is no claim in {folder}: run it in the project's folder.")
    for name in ids:
        if name not in there:
            raise ConfigError(f"claim {name}: {did_you_mean(name, there)}.")
    found = [_read(there[name]) for name in ids or there]
    problems = [f"{c.id}.yaml: {text}" for c in found for text in c.problems()]
    if problems:
        raise ConfigError(f"{folder} has mistakes:\n  " + "\n  ".join(problems))
    return sorted(found, key=lambda claim: (_order(claim.number), claim.id))


def _read(path: Path) -> Claim:
    content = path.read_bytes()
    try:
        tree = OmegaConf.create(content.decode())
        given = [str(key) for key in tree] if OmegaConf.is_dict(tree) else []
        own = {f.name for f in dataclasses.fields(Claim)} - {"id", "sha256"}
        for key in given:
            if key not in own:
                raise ConfigError(f"{path}: {key}: {did_you_mean(key, sorted(own))}.")
        claim = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Claim), tree))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        at = getattr(error, "full_key", None)
        what = " ".join(str(getattr(error, "msg", error)).split())
        raise ConfigError(f"{path}: {f'{at}: ' if at else ''}{what}; see Claim.") from error
    assert isinstance(claim, Claim)
    claim.id, claim.sha256 = path.stem, hashlib.sha256(content).hexdigest()[:12]
    return claim


def _order(number: str) -> tuple[int, str]:
    digits = "".join(c for c in number if c.isdigit())
    return int(digits or 0), number
