"""Start the project's commands as `subprocess` does, without the time that their imports take.

`Popen` and `run` are those of `subprocess`, and so is what they return. A command of this project
or a `python -c` gets its process from a fork server (`support/fork_server.py`) that has imported
the libraries, and so do the processes that it starts itself: the ranks of `accelerate launch` and
the workers of the joblib launcher. Any other command, or one with a variable that libraries read
while they are imported, starts as usual. A test of the start itself uses `subprocess`.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
# A process may have other values of these than the fork server: they are read when needed.
READ_WHEN_NEEDED = {
    *("EXPERIMENTS_ROOT", "STUDY_URL", "SLURM_CONF", "TRACKIO_DIR", "HF_TOKEN"),
    *("PATH", "PYTHONPATH", "TMPDIR", "PYTEST_CURRENT_TEST"),
    *("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    # Set by torch and by the project itself while they are imported.
    *("KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "TOKENIZERS_PARALLELISM"),
}
_MODULES = (
    *("experiments", "accelerate.commands.launch"),
    "joblib.externals.loky.backend.popen_loky_posix",
)
# What `accelerate launch` and torchrun tell a rank, and Hydra the processes of a sweep.
_OF_A_LAUNCH = (
    "HYDRA_",
    "ACCELERATE_",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "TORCHELASTIC_",
    "TORCH_NCCL_",
)
_SET_CHILD_SUBREAPER = 36
_execute_child = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_START = inspect.signature(_execute_child)
_one_at_a_time = threading.Lock()
_inherited: list[tuple[socket.socket, Mapping[str, str], Mapping[str, str]]] = []


def _fork_or_execute(self: Any, *args: Any, **kwargs: Any) -> None:
    given = _START.bind(self, *args, **kwargs).arguments
    variables = dict(os.environ if given["env"] is None else given["env"])
    special = given["preexec_fn"] or given["pass_fds"] or given["shell"]
    if special or not _is_ours(given["args"]) or not imports_the_same(variables):
        _execute_child(self, *args, **kwargs)
        return
    pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
    self.pid = _forked(
        {
            "arguments": [str(word) for word in given["args"]],
            "folder": os.path.abspath(given["cwd"] or "."),
            "environment": variables,
            "new_session": given["start_new_session"],
        },
        [number if pipe == -1 else pipe for number, pipe in enumerate(pipes)],
    )
    self._child_created = True
    names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    self._close_pipe_fds(*(given[name] for name in names))


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A `subprocess.Popen` that forks a command of the project from a fork server."""

    _execute_child = _fork_or_execute


def fork_children(
    connection: socket.socket, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Fork what this process starts with `subprocess` or loky from an own fork server."""
    from joblib.externals.loky.backend import fork_exec

    _inherited.append((connection, before, after))
    subprocess.Popen._execute_child = _fork_or_execute  # type: ignore[attr-defined]
    execute = fork_exec.fork_exec

    def start(command: list[str], kept: Sequence[int], env: Mapping[str, str] | None = None) -> int:
        variables = {**os.environ, **(env or {})}
        if not _is_ours(command) or not imports_the_same(variables):
            return int(execute(command, kept, env))
        asked = {"arguments": command, "folder": os.getcwd(), "environment": variables}
        return _forked(asked, [0, 1, 2], [int(number) for number in kept])

    fork_exec.fork_exec = start


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
    """Return the environment of a user's shell, without what the test runner and libraries add.

    Joblib sets a variable of KMP, the conversion of a GGUF file one of TQDM, and Ray several.
    """
    added = ("PYTEST", "HYDRA", "KMP_INIT", "TQDM", "RAY_", "PYTHONBREAKPOINT")
    own = {k: v for k, v in os.environ.items() if not k.startswith(added)}
    return own | {"EXPERIMENTS_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"} | extra


def _is_ours(command: object) -> bool:
    if sys.platform != "linux" or not isinstance(command, list | tuple):
        return False
    interpreter, *words = map(str, command)
    if words[:1] == ["-u"]:
        del words[0]
    program, module = [*words, "", ""][:2]
    return interpreter == sys.executable and (
        (program == "-c" and not _inherited)
        or program.endswith("/train.py")
        or (program == "-m" and module in _MODULES)
    )


def imports_the_same(variables: Mapping[str, str]) -> bool:
    """Return whether libraries imported with these variables are those of the fork server."""
    _, before, after = _server()
    return not (_customized(variables) - _customized(before)) and all(
        variables.get(name) in (before.get(name), after.get(name))
        for name in (variables.keys() | before.keys()) - READ_WHEN_NEEDED
        if not name.startswith(_OF_A_LAUNCH)
    )


def _customized(variables: Mapping[str, str]) -> set[Path]:
    """Return the files that Python runs while it starts."""
    folders = variables.get("PYTHONPATH", "").split(os.pathsep)
    files = {Path(folder) / "sitecustomize.py" for folder in folders if folder}
    return {file for file in files if file.exists()}


@functools.cache
def _server() -> tuple[socket.socket, Mapping[str, str], Mapping[str, str]]:
    """Start the fork server of this process.

    Returns:
        The connection, and the server's environment before and after the imports, which set some.
    """
    if _inherited:
        return _inherited[-1]
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
    return ours, own, own


def _forked(asked: dict[str, Any], streams: list[int], kept: Sequence[int] = ()) -> int:
    """Return the id of a new child process; it has the kept files under the same numbers."""
    connection, *_ = _server()
    request = json.dumps(asked | {"descriptors": [0, 1, 2, *kept]}).encode()
    with _one_at_a_time:
        _adopt_orphans(True)
        try:
            socket.send_fds(connection, [request], [*streams, *kept])
            pid = int(connection.recv(100))
            connection.recv(100)
        finally:
            _adopt_orphans(False)
    return pid


def _adopt_orphans(adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
