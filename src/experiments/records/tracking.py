"""Send scalars, scores and reports to trackio, if enabled; no result is ever read back from it.

trackio is local and offline: its database is in `outputs/trackio` unless TRACKIO_DIR is set. It
groups runs only by top-level scalar config keys, so the config is flattened. The runs of a sweep
form one group, and a run `REPORT <sweep>` in the group `report` contains its tables and figures.
"""

import contextlib
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config import RunConfig, canonical
from experiments.config.loading import EXECUTION_KEYS
from experiments.errors import ConfigError, RecordError
from experiments.records import trackio_private
from experiments.runtime.progress import log

REPORT_GROUP = "report"
# Parts of the config by which runs are grouped and compared.
_TRACKED_KEYS = ("model", "data", "lora", "trainer", "hardware", "seed")
_INT64_MAX = 2**63 - 1  # trackio drops a batch, config included, over a larger number


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to `a/b` keys with scalar values.

    >>> flat({"lora": {"r": 16, "target_modules": ["v", "q"]}})
    {'lora/r': 16, 'lora/target_modules': 'q,v'}
    """
    flattened: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}".lstrip("_")
        if isinstance(value, dict):
            flattened |= flat(value, f"{name}/")
        elif isinstance(value, list | tuple | set):
            flattened[name] = ",".join(sorted(map(str, value)))
        elif isinstance(value, bool | str | float) or value is None:
            flattened[name] = value
        elif isinstance(value, int):
            flattened[name] = max(-_INT64_MAX, min(_INT64_MAX, value))
        else:
            flattened[name] = str(value)
    return flattened


def short_name(run: RunConfig, run_id: str) -> str:
    """Return a short unique name that can be filtered by a regular expression.

    It contains the values that ablations vary most often, then the seed, then the start of the id.
    """
    parts = [run.name] if run.name else []
    parts.append(run.lora.label)
    if run.lora.method != "none":
        parts.append(f"r={run.lora.r}")
    parts += [f"lr={run.trainer.learning_rate:g}", f"s{run.seed}", run_id[:6]]
    return ",".join(parts)


def arm(overrides: Sequence[str], sweep_dir: Path) -> str | None:
    """Return the overrides that distinguish a run's arm in its sweep; None outside a sweep.

    These are its overrides without the seed, execution keys and overrides that every run of the
    sweep has.
    """
    file = sweep_dir / "multirun.yaml"
    if not file.is_file():
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser

    multirun = OmegaConf.load(file)
    params = OmegaConf.select(multirun, "hydra.sweeper.params") or {}
    sweep_overrides = [f"{key}={value}" for key, value in params.items()]
    sweep_overrides += OmegaConf.select(multirun, "hydra.overrides.task") or []
    parsed = OverridesParser.create().parse_overrides(sweep_overrides)
    shared_keys = {override.key_or_group for override in parsed if not override.is_sweep_override()}
    excluded = {"seed", "sweeps", *EXECUTION_KEYS} | shared_keys
    arm_overrides = [
        override for override in overrides if override.lstrip("+").partition("=")[0] not in excluded
    ]
    return " ".join(arm_overrides) or "defaults"


def open_trackio() -> Any:
    """Return the trackio module, which reads TRACKIO_DIR when it is imported."""
    if not os.environ.get("TRACKIO_DIR"):
        os.environ["TRACKIO_DIR"] = str(Path("outputs/trackio").resolve())
    import trackio

    return trackio


@dataclass(frozen=True)
class Tracked:
    """A run as trackio stores it."""

    id: str
    name: str
    config: dict[str, Any]

    @property
    def group(self) -> str | None:
        """The sweep it belongs to, or `report`."""
        return self.config.get("_Group")


def projects() -> list[str]:
    """Return the names of all projects."""
    open_trackio()
    trackio_private.import_inbox()
    return [name for name in trackio_private.project_names() if not name.startswith("registry-")]


def tracked(project: str) -> list[Tracked]:
    """Return the runs of a project, oldest first; empty if there is no such project.

    Raises:
        RecordError: its database cannot be read.
    """
    trackio, file = open_trackio(), trackio_private.database(project)
    if not file.is_file():
        return []
    try:
        configs = trackio_private.run_configs(project)
        runs = list(trackio.Api().runs(project))
    except sqlite3.Error as error:
        raise RecordError(
            f"{file} cannot be read ({error}): if it is damaged, move it away; the records of the "
            "runs contain all that it shows."
        ) from error
    return [Tracked(run.id, run.name, configs.get(run.id) or {}) for run in runs]


@dataclass(frozen=True)
class TrackioGroup:
    """The location of a sweep's runs in trackio."""

    project: str
    group: str


def place_of(folder: Path) -> TrackioGroup | None:
    """Return the trackio location of the runs in the folder of a sweep or a run.

    None if the folder has no such information, or was created with `tracker=none`.
    """
    sweep, run = folder / "multirun.yaml", folder / ".hydra" / "config.yaml"
    file, group = (sweep, folder) if sweep.is_file() else (run, folder.resolve().parent)
    try:
        tracker = OmegaConf.select(OmegaConf.load(file), "tracker") or {}
        if tracker.get("kind") != "trackio":
            return None
        return TrackioGroup(
            str(tracker["project"]), str(tracker.get("group") or group.resolve().name)
        )
    except (OSError, KeyError, ValueError, OmegaConfBaseException):
        return None


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """Keep trackio's banner, which names the dashboard twice per run, out of the log."""
    return contextlib.redirect_stdout(io.StringIO())


class Tracker:
    """One run in trackio; with `tracker=none` every method does nothing.

    Args:
        run: the run.
        run_id: its id.
        sweep_dir: the parent of its folder; its name is the group, unless `tracker.group` is set.
        overrides: the overrides of the run.
        fresh: whether the run starts anew; false continues the curve of an earlier attempt.
    """

    def __init__(
        self,
        run: RunConfig,
        *,
        run_id: str,
        sweep_dir: Path,
        overrides: Sequence[str] = (),
        fresh: bool = True,
    ) -> None:
        self._trackio_run: Any = None
        if run.tracker.kind == "none":
            return
        trackio, project = open_trackio(), run.tracker.project
        group = run.tracker.group or sweep_dir.name
        run_fields = {"arm": arm(overrides, sweep_dir), "run_id": run_id, "name": run.name}
        with _quiet(), _reserved_name_explained(project):
            self._trackio_run = trackio.init(
                project=project,
                name=_attempt_name(project, short_name(run, run_id), group, fresh=fresh),
                group=group,
                config=flat(
                    {k: v for k, v in canonical(run).items() if k in _TRACKED_KEYS} | run_fields
                ),
                resume="allow",
                auto_log_cpu=False,
                embed=False,
            )
        log(f"  curves: python -m experiments dashboard {project}")

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Log a point of the curves as `train/NAME`; `validation_nll` becomes `validation/nll`."""
        if self._trackio_run is None:
            return
        names = {"validation_nll": "validation/nll"}
        self._trackio_run.log(
            {names.get(k, f"train/{k}"): v for k, v in scalars.items()}, step=step
        )

    def finish(self, final: dict[str, float], step: int) -> None:
        """Send the final scores, each one number per run, and close the run."""
        if self._trackio_run is None:
            return
        if final:
            self._trackio_run.log({f"final/{k}": float(v) for k, v in final.items()}, step=step)
        with _quiet():
            open_trackio().finish()
        self._trackio_run = None


@contextlib.contextmanager
def _reserved_name_explained(project: str) -> Iterator[None]:
    """Raise an error with one sentence if trackio reserves the project's name."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"tracker.project={project}: {error}") from error


def _attempt_name(project: str, name: str, group: str, *, fresh: bool) -> str:
    """Return the name under which trackio opens this attempt's run, distinct from other runs.

    trackio continues runs by name only: a run of two sweeps would leave the group of the first one,
    and a repeated run would draw its curve over that of the finished one.
    """
    try:
        groups = {run.name: run.group for run in tracked(project)}
    except RecordError:  # no reason to stop a run
        return name
    stem = name if groups.get(name, group) == group else f"{name},{group}"
    attempts = [stem]
    while attempts[-1] in groups:
        attempts.append(f"{stem},{len(attempts) + 1}")
    return attempts[-1] if fresh or len(attempts) == 1 else attempts[-2]


@dataclass(frozen=True)
class Page:
    """The contents of a REPORT run."""

    html: str
    """The complete report, self-contained."""
    text: str
    """Markdown; trackio renders its headings, bold text and lists."""
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]]
    """Maps a table's name to its header and rows."""
    images: dict[str, bytes]
    """Maps an image's name to the content of a PNG file."""


def report_name(sweep: str) -> str:
    """Return the name of the run that contains a sweep's report."""
    return f"REPORT {sweep}"


def send_report(place: TrackioGroup, sweep: str, page: Page) -> None:
    """Send the report of a sweep to the project of its runs, replacing an earlier report.

    Its config is the part that all of these runs share, so that trackio's run comparison shows the
    differences between runs and not a report without a config.

    Raises:
        ConfigError: trackio reserves the project's name.
        RecordError: its database cannot be read.
        OSError: its folder cannot be written.
    """
    from filelock import FileLock

    trackio, name, project = open_trackio(), report_name(sweep), place.project
    folder = Path(os.environ["TRACKIO_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".report_{sweep}.lock"), _quiet(), _reserved_name_explained(project):
        _remove(project, name)
        run = trackio.init(
            project=project,
            name=name,
            group=REPORT_GROUP,
            config=_shared_config([r.config for r in tracked(project) if r.group == place.group]),
            auto_log_cpu=False,
            auto_log_gpu=False,
            embed=False,
        )
        run.log(_content(page), step=0)
        trackio.finish()


def _shared_config(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first, *others = configs or [{}]
    visible = {key: value for key, value in first.items() if not key.startswith("_")}
    return {k: v for k, v in visible.items() if all(other.get(k, ...) == v for other in others)}


def _content(page: Page) -> dict[str, Any]:
    from PIL import Image

    trackio = open_trackio()
    media = {"report/page": trackio.Html(page.html), "report/text": trackio.Markdown(page.text)}
    for name, (header, rows) in page.tables.items():
        media[f"report/{name}"] = trackio.Table(columns=list(header), data=[list(r) for r in rows])
    for name, png in page.images.items():
        media[f"report/{name}"] = trackio.Image(Image.open(io.BytesIO(png)))
    return media


def _remove(project: str, name: str) -> None:
    """Remove the runs with a name and their media, which trackio keeps when it deletes a run."""
    if trackio_private.database(project).is_file():
        for run in open_trackio().Api().runs(project):
            if run.name == name:
                run.delete()
    shutil.rmtree(trackio_private.media_folder(project) / name, ignore_errors=True)
