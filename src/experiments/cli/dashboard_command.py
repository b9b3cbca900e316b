"""`dashboard`: show curves, scores and reports in the browser."""

import argparse
import contextlib
import threading
import webbrowser

from experiments.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument(
        "what",
        nargs="?",
        help="a sweep's folder or name, or a trackio project; default: the only project",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, help="default: the first free port from 7860")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.reports.dashboard import Dashboard, find

    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        raise ConfigError(f"--port {arguments.port}: give a number from 1 to 65535.")
    with Dashboard(find(arguments.what), arguments.port) as dashboard:
        print(f"dashboard of {dashboard.view.project}: {dashboard.url}", flush=True)
        print(
            "anyone with the address can rename and delete runs; press Ctrl-C to stop", flush=True
        )
        if not arguments.no_browser:
            webbrowser.open(dashboard.url)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
