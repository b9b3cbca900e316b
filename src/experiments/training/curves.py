"""Convert the trainer's log to one point per step, and format a point as a line."""

from collections.abc import Sequence
from typing import Any


def curve(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Convert the trainer's log to one point per step."""
    names = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
    names |= {"eval_loss": "validation_nll"}
    points: dict[int, dict[str, float]] = {}
    for entry in history:
        point = {new: float(entry[old]) for old, new in names.items() if old in entry}
        if point:
            points.setdefault(int(entry["step"]), {"step": int(entry["step"])}).update(point)
    return [points[step] for step in sorted(points)]


def line(point: dict[str, float], steps: int) -> str:
    """Format a point as a line of the log."""
    parts = [f"step {point['step']:>4.0f}/{steps}"]
    if "loss" in point:
        parts.append(f"loss {point['loss']:.4f}")
    if "learning_rate" in point:
        parts.append(f"rate {point['learning_rate']:.2e}")
    if "validation_nll" in point:
        parts.append(f"validation {point['validation_nll']:.4f} nats/token")
    return "  ".join(parts)
