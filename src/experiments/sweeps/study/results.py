"""Summarise a study: the number of trials by state, and the best trials."""

from collections.abc import Sequence
from typing import Any

_NAMES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


def counts(trials: Sequence[Any]) -> dict[str, int]:
    """Return the number of trials in each state; a trial that was retried counts once."""
    retried = {t.user_attrs.get("retry_of") for t in trials}
    states = [
        "illegal" if t.user_attrs.get("status") == "illegal" else _NAMES[t.state.name]
        for t in trials
        if t.state.name in _NAMES
        and t.number not in retried
        and t.user_attrs.get("status") != "repeated"
    ]
    return {name: states.count(name) for name in (*_NAMES.values(), "illegal") if name in states}


def best(study: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the best trial, or the Pareto front of several objectives; empty if none finished."""
    finished = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if not finished:
        return {}
    if len(study.directions) > 1:
        front = sorted(study.best_trials, key=lambda t: t.number)
        return {
            "solutions": [
                {"trial": t.number, "params": _ordered(t, names), "values": list(t.values)}
                for t in front
            ]
        }
    trial = study.best_trial
    summary = {
        "best_trial": trial.number,
        "best_params": _ordered(trial, names),
        "best_value": trial.value,
    }
    attributes = {
        key: trial.user_attrs[key] for key in ("interval", "seeds") if key in trial.user_attrs
    }
    return summary | {f"best_{key}": value for key, value in attributes.items()}


def _ordered(trial: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: trial.params[name] for name in names}
