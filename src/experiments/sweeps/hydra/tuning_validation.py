"""Validate the keys, rules and overrides of a tuned sweep before its first run."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments.config import RunConfig, choices
from experiments.errors import ConfigError
from experiments.evaluation import metrics
from experiments.sweeps.hydra.grid import RATE, RATE_GROUP, SEED

TEN_TIMES = "ten_times"


def refuse(sweeper: Mapping[str, Any], overrides: Sequence[Override]) -> None:
    """Check the sweeper's keys and the overrides of a tuned sweep.

    Raises:
        ConfigError: a key or an override is invalid; the first one is named.
    """
    _refuse_keys(sweeper)
    _refuse_overrides(overrides, sweeper)


def _refuse_keys(sweeper: Mapping[str, Any]) -> None:
    seeds, rates = sweeper["seeds"], sweeper["rates"]
    if seeds is not None and (not seeds or len(set(seeds)) < len(seeds)):
        raise ConfigError(f"hydra.sweeper.seeds={list(seeds)}: give different seeds, 5 or more.")
    if rates is not None and not (len(rates) == 2 and 0 < rates[0] < rates[1]):
        raise ConfigError(
            f"hydra.sweeper.rates={list(rates)}: give the two ends of the first grid, such as "
            "[1e-3,3e-2], or leave it out for a decade around each arm's own rate."
        )
    for key in ("furthest", "repeats"):
        if int(sweeper[key]) < 0:
            raise ConfigError(f"hydra.sweeper.{key}={sweeper[key]}: must be at least 0.")
    if sweeper["margin"] is not None and not sweeper["margin"] > 0:
        raise ConfigError(
            f"hydra.sweeper.margin={sweeper['margin']}: must be above 0, in the unit of "
            f"{sweeper['score']}; null = intervals without verdicts."
        )
    if metrics.direction(str(sweeper["score"])) is None:
        raise ConfigError(
            f"hydra.sweeper.score={sweeper['score']}: no metric declares its direction; name a "
            "score of the test split such as loss/nll or calls/exact."
        )


def refuse_rules(rules: Sequence[Mapping[str, Any]] | None, arm_count: int) -> None:
    """Check that each rule names an existing arm and a valid learning rate.

    Raises:
        ConfigError: a rule is invalid; the first one is named.
    """
    for rule in rules or ():
        arm, learning_rate = rule.get("arm"), rule.get("rate")
        is_valid_arm = (
            isinstance(arm, int) and 0 <= arm < arm_count and set(rule) == {"arm", "rate"}
        )
        is_valid_rate = isinstance(learning_rate, int | float) and learning_rate > 0
        if not is_valid_arm or not (is_valid_rate or learning_rate == TEN_TIMES):
            raise ConfigError(
                f"hydra.sweeper.rules: {dict(rule)}: give arm (0 to {arm_count - 1}, in the order "
                f"of the arms) and rate, a number above 0 or {TEN_TIMES}, which is ten times the "
                "best rate of arm 0."
            )


def _refuse_overrides(overrides: Sequence[Override], sweeper: Mapping[str, Any]) -> None:
    for override in overrides:
        key, text = override.get_key_element(), choices.unquoted(str(override.input_line))
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(
                f"{text}: arms are listed, an interval has no list; name values, or search with "
                "hydra/sweeper=optuna."
            )
        if key == SEED:
            raise ConfigError(
                f"{text}: hydra/sweeper=tuned gives every arm the same seeds; list them in "
                "hydra.sweeper.seeds."
            )
        if key in (RATE, RATE_GROUP) and (
            override.is_sweep_override() or sweeper["rates"] is not None
        ):
            raise ConfigError(
                f"{text}: hydra/sweeper=tuned chooses the rates; give one rate as the middle of "
                "the first grid, or its ends in hydra.sweeper.rates, not both."
            )


def refuse_chosen_rate(master: DictConfig, overrides: Sequence[Override]) -> None:
    """Check that no file of the sweep chooses a learning rate with the group `lr`.

    Raises:
        ConfigError: one does, which the learning rates of the arms could not replace.
    """
    chosen = OmegaConf.select(master, RATE_GROUP)
    if chosen is not None and all(
        override.get_key_element() != RATE_GROUP for override in overrides
    ):
        raise ConfigError(
            f"the sweep's file chooses {RATE_GROUP} ({RATE}={chosen}): hydra/sweeper=tuned chooses "
            f"the rates; set {RATE} in its place, the middle of the first grid."
        )


def refuse_without_validation(run: RunConfig) -> None:
    """Check that an arm has a validation split, on which its learning rate is chosen.

    Raises:
        ConfigError: the arm has no validation split.
    """
    data = run.data
    of_files = data.source != "toolworld" and (data.validation_share or data.validation_files)
    if not (data.validation_rows or of_files):
        raise ConfigError(
            "rates are chosen on the validation split, and there is none: set "
            "data.validation_rows or data.validation_share above 0."
        )
