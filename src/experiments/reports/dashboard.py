"""`python -m experiments dashboard`: open trackio's dashboard for a sweep or a project.

trackio opens a project with all of its runs. A sweep is one group of runs, so its runs and its
report are selected when the page opens.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from experiments.errors import ConfigError, RecordError
from experiments.records import tracking

# More ids make an address that some browsers truncate; then all runs of the project are shown.
_MOST_RUNS = 200
# Curves first, then the scores: the common ones before dozens of others.
_PLOT_ORDER = "validation/*,train/loss,train/*,final/calls/*,final/*"


@dataclass(frozen=True)
class View:
    """What the dashboard shows: a project, or the runs of one sweep in it."""

    project: str
    run_ids: tuple[str, ...] = ()
    """Ids of the runs selected at the start; empty = all runs of the project."""


def find(what: str | None) -> View:
    """Return the view for a project's name, a sweep's folder, or a sweep's name.

    Raises:
        ConfigError: nothing has this name, or no name was given and there are several projects.
    """
    known = tracking.projects()
    where = os.environ["TRACKIO_DIR"]
    if not known:
        raise ConfigError(
            f"there is no trackio project in {where}: runs create one unless tracker=none; set "
            "TRACKIO_DIR if it is elsewhere."
        )
    listing = ", ".join(known)
    if what is None:
        if len(known) > 1:
            raise ConfigError(f"{where} has {len(known)} projects: name one of {listing}.")
        return View(known[0])
    if what in known:
        return View(what)
    place, name = tracking.place_of(Path(what)), Path(what).resolve().name
    if place is not None and (view := _sweep(place.project, place.group, name)):
        return view
    for project in known:
        if view := _sweep(project, name, name):
            return view
    raise ConfigError(
        f"dashboard {what}: {where} has no project or tracked sweep of this name: name one of "
        f"the projects {listing} or the sweeps {', '.join(_groups(known)) or '(none)'}."
    )


def _sweep(project: str, group: str, name: str) -> View | None:
    """Return the view of a sweep's runs and its report; None if the project has no such run."""
    runs = tracking.tracked(project)
    own = [run.id for run in runs if run.group == group]
    if not own:
        return None
    own += [run.id for run in runs if run.name == tracking.report_name(name)]
    return View(project, tuple(own) if len(own) <= _MOST_RUNS else ())


def _groups(projects: list[str]) -> list[str]:
    groups = {run.group for project in projects for run in tracking.tracked(project)}
    return sorted(group for group in groups if group and group != tracking.REPORT_GROUP)


class Dashboard:
    """trackio's server for a view, running for the duration of the `with` block."""

    def __init__(self, view: View, port: int | None = None) -> None:
        self.view = view
        self._port = port
        self.url = ""

    def __enter__(self) -> "Dashboard":
        """Start the server.

        Raises:
            ConfigError: the port is in use.
            RecordError: a database is broken.
        """
        trackio = tracking.open_trackio()
        os.environ.setdefault("TRACKIO_PLOT_ORDER", _PLOT_ORDER)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # trackio prints another address
                self._server, *_, full = trackio.show(
                    project=self.view.project,
                    open_browser=False,
                    block_thread=False,
                    server_port=self._port,
                )
        except OSError as error:
            which = f"--port {self._port} is" if self._port else "all ports from 7860 on are"
            raise ConfigError(
                f"{which} in use or not allowed: choose another port with --port."
            ) from error
        except RuntimeError as error:  # a broken database of any project stops trackio
            raise RecordError(
                f"{os.environ['TRACKIO_DIR']} cannot be shown ({error}): move the database of that "
                "project away; the records of its runs contain all that it shows."
            ) from error
        self.url = _address(full, self.view)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._server.close()


def _address(full: str, view: View) -> str:
    """Return trackio's address with the sweep's runs selected."""
    parts = urlsplit(full)
    query = dict(parse_qsl(parts.query))
    if view.run_ids:
        query["run_ids"] = ",".join(view.run_ids)
    return parts._replace(path="/", query=urlencode(query, safe=",")).geturl()
