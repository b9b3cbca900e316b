"""Scalars and scores -> trackio, or nothing; nothing is ever read back from it.

trackio is local and offline: its database lies in `outputs/trackio` unless TRACKIO_DIR says
otherwise. It groups runs by top-level scalar config keys only, so the config is sent flat.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.progress import say

_INT64_MAX = 2**63 - 1  # trackio drops a whole batch, config included, over a larger number


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to `a/b` keys with scalar values.

    >>> flat({"lora": {"r": 16, "target_modules": ["v", "q"]}})
    {'lora/r': 16, 'lora/target_modules': 'q,v'}
    """
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}".lstrip("_")
        if isinstance(value, dict):
            out |= flat(value, f"{name}/")
        elif isinstance(value, list | tuple | set):
            out[name] = ",".join(sorted(map(str, value)))
        elif isinstance(value, bool | str | float) or value is None:
            out[name] = value
        elif isinstance(value, int):
            out[name] = max(-_INT64_MAX, min(_INT64_MAX, value))
        else:
            out[name] = str(value)
    return out


def short_name(run: RunConfig, run_id: str) -> str:
    """Return a short unique name that a regular expression can filter.

    It says what an ablation varies most often, then the seed, then the identity.
    """
    parts = [run.name] if run.name else []
    parts.append(run.lora.label)
    if run.lora.method != "none":
        parts.append(f"r={run.lora.r}")
    parts += [f"lr={run.trainer.learning_rate:g}", f"s{run.seed}", run_id[:6]]
    return ",".join(parts)


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """Keep trackio's banner, which names the dashboard twice a run, out of the log."""
    return contextlib.redirect_stdout(io.StringIO())


class Tracker:
    """One run in trackio; every method does nothing with `tracker=none`."""

    def __init__(self, run: RunConfig, *, run_id: str, group: str, config: dict[str, Any]) -> None:
        self._open: Any = None
        if run.tracker.kind == "none":
            return
        if not os.environ.get("TRACKIO_DIR"):
            os.environ["TRACKIO_DIR"] = str(Path("outputs/trackio").resolve())
        import trackio  # reads TRACKIO_DIR when it is imported

        with _quiet():
            self._open = trackio.init(
                project=run.tracker.project,
                name=short_name(run, run_id),
                group=run.tracker.group or group,
                config=flat(config),
                resume="allow",
                auto_log_cpu=False,
                embed=False,
            )
        say(
            f"  curves: TRACKIO_DIR={os.environ['TRACKIO_DIR']} trackio show "
            f"--project {run.tracker.project}"
        )

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Send a point of the curves: `loss` becomes `train/loss`, `validation_nll` is its own."""
        if self._open is None:
            return
        names = {"validation_nll": "validation/nll"}
        self._open.log({names.get(k, f"train/{k}"): v for k, v in scalars.items()}, step=step)

    def finish(self, final: dict[str, float], step: int) -> None:
        """Send the final scores, each one number a run, and close."""
        if self._open is None:
            return
        if final:
            self._open.log({f"final/{k}": float(v) for k, v in final.items()}, step=step)
        import trackio

        with _quiet():
            trackio.finish()
        self._open = None
