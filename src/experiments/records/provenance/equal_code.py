"""Code identities that differ although the code computes the same results.

A change that keeps results (a split function, a renamed config key) gives the code a new identity.
`equal_code.json` lists such changes, each with the commit before it; the equivalence tests of that
change are the proof. A finished run of the older identity is then reused. The file is written by
`python -m experiments.calibration.code_lineage COMMIT`.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("equal_code.json")
PARTS = ("training_code", "evaluation_code")
METRICS = "scoring_code"


def latest(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity whose code is named as after the last change that kept its results."""
    result = dict(identity)
    for step in _steps():
        for part in PARTS:
            if part in result and result[part] == step["before"].get(part):
                result[part] = step["after"][part]
        if isinstance(result.get(METRICS), Mapping):
            result[METRICS] = _metrics(result[METRICS], step)
    return result


def _metrics(scoring: Mapping[str, str], step: Mapping[str, Any]) -> dict[str, str]:
    before, after = step["before"].get(METRICS, {}), step["after"].get(METRICS, {})
    return {
        name: after[name] if name in after and value == before.get(name) else value
        for name, value in scoring.items()
    }


@functools.cache
def _steps() -> list[dict[str, Any]]:
    """Return the changes in the order in which they were made."""
    steps: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return steps
