"""Runs of tuned arms that never ran, and what a claim makes of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.analysis import arms, claims
from experiments.analysis.arms import Design
from experiments.analysis.claims import Claim, ClaimVerdict
from experiments.errors import ConfigError
from experiments.records import Record
from support.arm_records import parabola, tuned_records, with_checked_fit

SEEDS = (0, 43, 100, 977, 31415)


def verdict(claim: Claim, made: Sequence[Record], measured: Any = None) -> ClaimVerdict:
    [found] = claims.judge([claim], {"mine": made}, {"invariance": measured or {}})
    return found


def cell(
    method: str, optimum: float = 1e-2, floor: float = 0.1, noise: float = 0.0005,
    noise_seed: int = 0, **keys: Any,
) -> list[Record]:  # fmt: skip
    """Return the runs of one tuned arm; keys such as `trainer={"batch_size": 8}` are its config."""
    curve = parabola(optimum, floor=floor, noise=noise, noise_seed=noise_seed)
    name = f"{method}-{sorted(keys.items())}"
    overrides = (f"lora={name}",)
    made = tuned_records(curve, Design(*arms.first_grid(optimum)), overrides)
    made = with_checked_fit(made, curve, overrides)
    for one in made:
        one.config["lora"] = {"method": method}
        for group, own in keys.items():
            one.config[group] = one.config[group] | own
    return made


def mistakes(folder: Path, claim: Claim, changes: dict[str, Any]) -> str:
    """Return what loading says of a claim with some fields changed."""
    own = dataclasses.asdict(claim) | changes
    tree = {k: v for k, v in own.items() if k not in ("id", "sha256")}
    (folder / "one.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        claims.load([folder])
    return str(caught.value)
