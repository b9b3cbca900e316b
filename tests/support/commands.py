"""Start the project's commands as `subprocess` does, without the time that their imports take.

`Popen` and `run` are those of `subprocess`, and so is what they return. A command of this project
gets its process from a fork server (`support/fork_server.py`) that has imported the libraries;
any other command, or one with a variable that libraries read while they are imported, starts as
usual. A test of the start itself uses `subprocess`.
"""

import atexit
import ctypes
import functools
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
# A process may have other values of these than the fork server: they are read when needed.
READ_WHEN_NEEDED = {
    *("EXPERIMENTS_ROOT", "STUDY_URL", "SLURM_CONF", "TRACKIO_DIR", "HF_TOKEN"),
    *("PATH", "PYTHONPATH", "TMPDIR", "PYTEST_CURRENT_TEST"),
}
_SET_CHILD_SUBREAPER = 36
_START = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
_one_at_a_time = threading.Lock()


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A `subprocess.Popen` that forks a command of the project from a fork server."""

    def _execute_child(self, *args: Any, **kwargs: Any) -> None:
        given = _START.bind(self, *args, **kwargs).arguments
        variables = dict(os.environ if given["env"] is None else given["env"])
        special = given["preexec_fn"] or given["pass_fds"] or given["shell"]
        if special or not _is_ours(given["args"]) or not imports_the_same(variables):
            super()._execute_child(*args, **kwargs)  # type: ignore[misc]
            return
        asked = {
            "arguments": [str(word) for word in given["args"]],
            "folder": os.path.abspath(given["cwd"] or "."),
            "environment": variables,
            "new_session": given["start_new_session"],
        }
        pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [number if pipe == -1 else pipe for number, pipe in enumerate(pipes)]
        self.pid = _forked(json.dumps(asked).encode(), streams)
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in names))  # type: ignore[attr-defined]


def run(
    command: list[str],
    *,
    timeout: float | None = None,
    check: bool = False,
    capture_output: bool = False,
    **options: Any,
) -> "subprocess.CompletedProcess[str]":
    """Do what `subprocess.run` does."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a user's shell, without what the test runner adds."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HYDRA"))}
    return own | {"EXPERIMENTS_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"} | extra


def _is_ours(command: object) -> bool:
    if sys.platform != "linux" or not isinstance(command, list | tuple):
        return False
    interpreter, *words = map(str, command)
    return interpreter == sys.executable and (
        words[:1] == [str(ROOT / "train.py")] or words[:2] == ["-m", "experiments"]
    )


def imports_the_same(variables: Mapping[str, str]) -> bool:
    """Return whether libraries imported with these variables are those of the fork server."""
    _, theirs = _server()
    return not (_customized(variables) - _customized(theirs)) and all(
        variables.get(name) == theirs.get(name)
        for name in (variables.keys() | theirs.keys()) - READ_WHEN_NEEDED
    )


def _customized(variables: Mapping[str, str]) -> set[Path]:
    """Return the files that Python runs while it starts."""
    folders = variables.get("PYTHONPATH", "").split(os.pathsep)
    files = {Path(folder) / "sitecustomize.py" for folder in folders if folder}
    return {file for file in files if file.exists()}


@functools.cache
def _server() -> tuple[socket.socket, Mapping[str, str]]:
    """Start the fork server of this process; return the connection and its environment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own = environment()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())],
            env=own,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def stop() -> None:
        ours.close()
        server.wait()

    atexit.register(stop)
    return ours, own


def _forked(request: bytes, streams: list[int]) -> int:
    """Return the id of a new process for a request, which is a child of this process."""
    connection, _ = _server()
    with _one_at_a_time:
        _adopt_orphans(True)
        try:
            socket.send_fds(connection, [request], streams)
            pid = int(connection.recv(100))
            connection.recv(100)
        finally:
            _adopt_orphans(False)
    return pid


def _adopt_orphans(adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
