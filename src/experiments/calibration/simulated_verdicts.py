"""Simulate how often each kind of verdict is false, and how often a true one is given.

For each kind of estimand a rule is applied to estimates of known truth. False verdicts are counted
where they are most likely, at the bounds of the rule. Power is counted at the effect that is
printed as detectable from the noise of other runs with the same number of seeds. For skewed noise
both directions are simulated and the worse is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.analysis import statistics
from experiments.analysis.statistics import (
    FAILS,
    HOLDS,
    LOOKS,
    DifferenceRule,
    EqualityRule,
    RangeRule,
    Spread,
)
from experiments.calibration.simulated_estimates import (
    NOISES,
    ROW_ERROR,
    Noise,
    Simulated,
    SimulatedCell,
    exact_calls,
    means,
    over_seeds,
    printed,
    rate_ratios,
    rule_costs,
)

SEEDS = (3, 5, 8)
MANY, FEW = 20_000, 1_000
"""Repetitions of the kinds that are arrays, and of those that go through fits or tables of rows."""
ARMS = 15
"""Comparisons that must all hold: five steps of three arms against a fourth."""
FAMILY = 5
ABOVE = RangeRule(0.0, None)


@dataclass(frozen=True)
class Shares:
    """Shares of the repetitions of one cell; None = not defined for the kind."""

    coverage: float | None
    false_holds: float
    false_fails: float
    power_holds: float | None
    power_fails: float | None
    detectable: float | None = None
    """The typical printed effect or margin, in standard deviations between seeds or as named."""


@dataclass(frozen=True)
class Estimand:
    """A kind of estimand."""

    name: str
    text: str
    shares: Callable[[SimulatedCell], Shares]
    repetitions: int = MANY
    rows: tuple[bool, ...] = (False, True)
    noises: tuple[Noise, ...] = NOISES
    seeds: tuple[int, ...] = SEEDS


def _spread(setting: SimulatedCell) -> Spread:
    return Spread(1.0, ROW_ERROR if setting.with_rows else 0.0)


def _typical(values: Any) -> float:
    return float(np.nanmedian(values))


def _difference(setting: SimulatedCell) -> Shares:
    """Return the shares with the delta that a pilot prints as the effect it can refute."""
    found, printed_delta = means(setting), printed(means(setting, key=9), "delta")
    rule = DifferenceRule(_typical(printed_delta))
    low, high = found.ends()
    return Shares(
        found.coverage(),
        float(found.holds(rule).mean()),
        float(found.fails(rule, rule.delta).mean()),
        float(found.holds(rule, printed_delta).mean()),
        float(((low <= 0) & (high < printed_delta)).mean()),
        rule.delta,
    )


def _equality(setting: SimulatedCell) -> Shares:
    """Return the shares with the margin that a pilot prints as affordable."""
    return _within_margin(means(setting), means(setting, key=9))


def _within_margin(found: Simulated, pilot: Simulated) -> Shares:
    printed_margin, distance = printed(pilot, "margin"), printed(pilot, "bound")
    rule = EqualityRule(_typical(printed_margin))
    (low, high), known = found.ends(), np.isfinite(distance)
    return Shares(
        found.coverage(),
        float(found.holds(rule, rule.high).mean()),
        float(found.fails(rule, rule.high).mean()),
        float(((-printed_margin < low) & (high < printed_margin))[known].mean()),
        float(found.fails(ABOVE, -distance)[known].mean()),
        _typical(printed_margin),
    )


def _one_bound(setting: SimulatedCell) -> Shares:
    found, distance = means(setting), printed(means(setting, key=9), "bound")
    return Shares(
        found.coverage(),
        float(found.holds(ABOVE).mean()),
        float(found.fails(ABOVE).mean()),
        float(found.holds(ABOVE, distance).mean()),
        float(found.fails(ABOVE, -distance).mean()),
        _typical(distance),
    )


def _reaches_full(setting: SimulatedCell) -> Shares:
    """Return the shares where full fine-tuning still improves by twice what can be detected."""
    rule, distance = RangeRule(None, 0.0), printed(means(setting, key=9), "bound")
    falling = means(setting, key=1).holds(ABOVE, 2 * _resolvable(_spread(setting), setting.seeds))
    found = means(setting)
    return Shares(
        found.coverage(),
        float((falling & found.holds(rule)).mean()),
        float((falling & found.fails(rule)).mean()),
        float((falling & found.holds(rule, -distance)).mean()),
        float((falling & found.fails(rule, distance)).mean()),
        _typical(distance),
    )


def _resolvable(spread: Spread, seeds: int, alpha: float = 0.05) -> float:
    """Return the distance from a bound at which the interval excludes it with 80 % power."""
    found = statistics.detectable_truth(ABOVE, HOLDS, spread, seeds, alpha)
    assert found is not None, "a bound without an opposite one can always be excluded"
    return found


def _flat_reference(setting: SimulatedCell) -> Shares:
    """Return the shares where full fine-tuning no longer improves, so that any verdict is false."""
    rule, flat = RangeRule(None, 0.0), means(setting, key=1).holds(ABOVE)
    found, apart = means(setting), 9.0
    return Shares(None, float((flat & found.holds(rule, -apart)).mean()),
                  float((flat & found.fails(rule, apart)).mean()), None, None)  # fmt: skip


def _calls(setting: SimulatedCell, rows: int) -> Shares:
    """Return the shares of a claim of difference of 5 points of exact calls."""
    rule = DifferenceRule(0.05)
    none, five = exact_calls(setting, 0.0, rows), exact_calls(setting, 0.05, rows)
    return Shares(
        five.coverage(0.05),
        float(none.holds(rule).mean()),
        float(five.fails(rule).mean()),
        float(five.holds(rule).mean()),
        float(none.fails(rule).mean()),
        0.05,
    )


def _rates(setting: SimulatedCell) -> Shares:
    return _within_margin(rate_ratios(setting), rate_ratios(setting, key=1))


def _cost(setting: SimulatedCell) -> Shares:
    """Return the shares of a rule's excess loss, judged by its root."""
    zeros = np.zeros(setting.repetitions)
    printed_margin = printed(rule_costs(setting, zeros, key=1), "margin")
    margin = _typical(printed_margin)
    rule, at_margin = EqualityRule(margin), rule_costs(setting, zeros + margin)
    typical = _typical(printed(rule_costs(setting, zeros + margin, key=1), "bound"))
    distance = printed(rule_costs(setting, zeros + margin + typical, key=1), "bound")
    beyond = margin + np.nan_to_num(distance, nan=0.0)
    low, high = rule_costs(setting, zeros).ends()
    return Shares(
        at_margin.coverage(margin),
        float(at_margin.holds(rule).mean()),
        float(at_margin.fails(rule).mean()),
        float(((-printed_margin < low) & (high < printed_margin))[printed_margin > 0].mean()),
        float(rule_costs(setting, beyond).fails(rule)[distance > 0].mean()),
        margin,
    )


def _all_arms(setting: SimulatedCell) -> Shares:
    """Return the shares of a claim that several differences are all within a margin."""
    spread, n = _spread(setting), setting.seeds
    each = 1 - (1 - statistics.POWER) / ARMS
    margin = statistics.affordable_margin(spread, n, power=each)
    assert margin is not None, "there is noise, and there are seeds"
    rule, level = EqualityRule(margin), statistics.ALPHA / ARMS
    found = [means(setting, key) for key in range(ARMS)]
    beyond = statistics.detectable_truth(rule, FAILS, spread, n, level) or margin
    inside = [one.holds(rule) for one in found[1:]]
    return Shares(
        found[0].coverage(),
        float(np.all([found[0].holds(rule, margin), *inside], axis=0).mean()),
        float(np.any([one.fails(rule, margin, level) for one in found], axis=0).mean()),
        float(np.all([found[0].holds(rule), *inside], axis=0).mean()),
        float(found[0].fails(rule, beyond, level).mean()),
        beyond,
    )


def _best_low(setting: SimulatedCell) -> Shares:
    """Return the shares of a claim that two arms are best at one of two low values of three."""
    n, size = setting.seeds, (setting.repetitions, setting.seeds, 3)
    arms = [setting.draw(setting.generator(5, arm), size) for arm in (0, 1)]
    apart = 1.5 * math.sqrt(2) * _resolvable(Spread(1.0), n)

    def words(gaps: Sequence[float]) -> tuple[Any, Any]:
        """Return where the claim holds and fails if the high value is worse by a gap per arm."""
        held, failed = [], []
        for values, gap in zip(arms, gaps, strict=True):
            p = [over_seeds(values[..., 2] - values[..., low]).p_values(gap) for low in (0, 1)]
            above = np.min([np.where(one > 0, one, 1.0) for one in p], axis=0) * 2
            held.append(above)
            failed.append(np.max([np.where(one < 0, -one, 1.0) for one in p], axis=0))
        return np.max(held, axis=0) <= 0.05, np.min(failed, axis=0) * 2 <= 0.05

    return Shares(
        None,
        float(words((0.0, 9.0 * apart))[0].mean()),
        float(words((0.0, 0.0))[1].mean()),
        float(words((apart, apart))[0].mean()),
        float(words((-apart, -apart))[1].mean()),
        apart,
    )


def _looks(setting: SimulatedCell) -> Shares:
    """Return the shares of a claim of difference over looks at 3 and 5 seeds."""
    values = setting.draw(setting.generator(6), (setting.repetitions, LOOKS[-1].seeds))
    taken = [(over_seeds(values[:, : look.seeds]), look.alpha) for look in LOOKS]
    pilot = over_seeds(setting.draw(setting.generator(8), values.shape))
    printed_delta = printed(pilot, "delta", LOOKS[-1].alpha)
    delta = _typical(printed_delta)

    def words(truth: Any, refuted: Any) -> tuple[Any, Any]:
        held, failed = np.zeros(len(values), bool), np.zeros(len(values), bool)
        for found, alpha in taken:
            low, high = found.ends(truth, alpha)
            still = ~(held | failed)
            held, failed = (
                held | (still & (low > 0)),
                failed | (still & (low <= 0) & (high < refuted)),
            )
        return held, failed

    return Shares(
        None,
        float(words(0.0, delta)[0].mean()),
        float(words(delta, delta)[1].mean()),
        float(words(printed_delta, printed_delta)[0].mean()),
        float(words(0.0, printed_delta)[1].mean()),
        delta,
    )


def _family(setting: SimulatedCell) -> Shares:
    """Return how often any of five claims at a bound gets a verdict after Holm's adjustment."""
    p = np.array([means(setting, key).p_values() for key in range(FAMILY)])
    smallest = abs(p) == abs(p).min(axis=0)
    found = smallest & (abs(p) * FAMILY <= statistics.ALPHA)  # Holm's first step
    any_verdict = float(found.any(axis=0).mean())
    return Shares(None, any_verdict, any_verdict, None, None)


_NORMAL_ONLY = NOISES[:1]
KINDS = (
    Estimand("difference", "a difference above 0, delta = what can be refuted", _difference),
    Estimand("equality", "a difference within a margin, margin = what can be afforded", _equality),
    Estimand("one bound", "one number per seed, such as a slope, above a bound", _one_bound),
    Estimand("reaches full", "L_arm(T) - L_full(0.8 T) below 0 where full still improves",
         _reaches_full),
    Estimand("flat reference", "the same where full no longer improves: no verdict is right",
         _flat_reference),
    Estimand("exact calls, 300 rows", "a difference of 5 points", lambda s: _calls(s, 300), FEW,
         rows=(True,), noises=_NORMAL_ONLY),
    Estimand("exact calls, 1000 rows", "a difference of 5 points", lambda s: _calls(s, 1000), FEW,
         rows=(True,), noises=_NORMAL_ONLY),
    Estimand("ratio of rates", "a ratio of two best learning rates within a range", _rates, FEW,
         rows=(False,)),
    Estimand("cost of a rule", "excess loss at a rule's learning rate below a share", _cost, FEW,
         rows=(False,)),
    Estimand("all of 15", "15 differences all within a margin", _all_arms, MANY // 4),
    Estimand("best at a low value", "two arms both best at one of two low values of three",
         _best_low, rows=(False,)),
    Estimand("looks at 3 and 5", "a difference, at alpha .005 and .045", _looks, rows=(False,),
         seeds=(5,)),
    Estimand("family of 5", "any false verdict among five claims at their bounds, by Holm", _family,
         rows=(False,)),
)  # fmt: skip


def cells(kinds: Sequence[Estimand] = KINDS, fewer: int = 1) -> list[dict[str, Any]]:
    """Return one row per kind, number of seeds, noise and rows.

    Args:
        kinds: the kinds to simulate.
        fewer: divides the number of repetitions.
    """
    found = []
    for kind in kinds:
        for with_rows in kind.rows:
            for noise in kind.noises:
                for seeds in kind.seeds:
                    setting = (seeds, noise, with_rows, max(100, kind.repetitions // fewer))
                    row = {"kind": kind.name, "seeds": seeds, "noise": noise.name}
                    found.append(row | {"rows": with_rows} | _worst(kind, setting))
    return found


def _worst(kind: Estimand, setting: tuple[int, Noise, bool, int]) -> dict[str, Any]:
    """Return the shares, for skewed noise the worse of both directions."""
    signs = (1.0, -1.0) if setting[1].skewed else (1.0,)
    both = [asdict(kind.shares(SimulatedCell(*setting, sign=sign))) for sign in signs]
    return {
        key: None
        if both[0][key] is None
        else round((max if key.startswith("false") else min)(one[key] for one in both), 4)
        for key in both[0]
    }
