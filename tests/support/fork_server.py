"""Run commands of this project in processes that need not import the libraries first.

Importing torch, transformers, PEFT and TRL takes 14 seconds of CPU time, which is most of what a
small command costs. This program imports them once. For each request it forks a process, which gets
the arguments, working directory, environment and standard streams of the request, and runs the
command to its real end. `support/commands.py` sends the requests. Each of these processes has a
fork server of its own, for the processes that it starts.

What the process can tell of the difference is hidden: modules whose import the project defers are
not in `sys.modules` before they are imported, and nothing of the project itself is loaded.
"""

import atexit
import fcntl
import gc
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

IMPORTED = (
    *("hydra", "numpy", "scipy.stats", "optuna", "pandas", "jsonschema", "networkx", "joblib"),
    *("transformers.modeling_utils", "peft", "trl.trainer.sft_trainer", "datasets"),
)
# The project looks at whether these are imported, and imports them late.
LATE = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")


class Late(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hide imported modules; the first import of one of them brings all back."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._hidden = {
            name: sys.modules.pop(name)
            for name in list(sys.modules)
            if name.partition(".")[0] in packages
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._hidden:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        sys.meta_path.remove(self)
        sys.modules.update(self._hidden)
        self._spec = self._hidden[spec.name].__spec__
        return self._hidden[spec.name]

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec


def import_libraries() -> None:
    """Import them without garbage collection, with the settings that the project makes first."""
    gc.disable()
    importlib.import_module("experiments")
    for name in IMPORTED:
        importlib.import_module(name)
    # A thousand patterns for the names of weights, which are compiled once in a process.
    mapping = importlib.import_module("transformers.conversion_mapping")
    mapping.get_checkpoint_conversion_mapping("qwen3")
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    gc.freeze()
    gc.enable()


def next_request(listener: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Answer each request with the id of a new process; return it in that process.

    A process whose parent has ended becomes a child of the client, which is this one's parent.
    """
    while True:
        content, streams, _, _ = socket.recv_fds(listener, 1 << 20, 32)
        if not content:
            os._exit(0)
        between = os.fork()
        if not between:
            between = os.getpid()
            if pid := os.fork():
                listener.send(str(pid).encode())
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0.001)
            return json.loads(content), streams
        os.waitpid(between, 0)
        for stream in streams:
            os.close(stream)
        listener.send(b"ready")


def with_a_server(
    request: dict[str, Any], streams: list[int]
) -> tuple[dict[str, Any], list[int], socket.socket]:
    """Leave a copy of this process to fork what it starts; return the connection to it."""
    if request.get("new_session"):
        os.setsid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        # Above the numbers of files that a process may have to keep.
        moved = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 500)
        ours.close()
        return request, streams, socket.socket(fileno=moved)
    ours.close()
    for stream in streams:
        os.close(stream)
    with theirs:
        request, streams = next_request(theirs)
    return with_a_server(request, streams)


def become(request: dict[str, Any], streams: list[int]) -> list[str]:
    """Take over what a process gets from its parent; return its arguments."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    numbers = request["descriptors"]
    above = [fcntl.fcntl(stream, fcntl.F_DUPFD, max(numbers) + 1) for stream in streams]
    for stream, copy, number in zip(streams, above, numbers, strict=True):
        if stream not in numbers:
            os.close(stream)
        os.dup2(copy, number)
        os.close(copy)
    own_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    given = request["arguments"]
    program = next(word for word in given[1:] if word != "-u")
    first = {"-m": os.getcwd(), "-c": ""}.get(program, os.path.dirname(program))
    path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[: 1 + len([p for p in own_path if p])] = [first, *path]
    sys.orig_argv[:] = given
    tempfile.tempdir = None
    sys.modules["numpy"].random.seed()
    return list(given[1:])


class QuickEnd:
    """End the process when all that runs at exit has run, instead of taking its modules apart.

    That takes 0.8 seconds, in which nothing happens that a test could see. It has to be made
    before the libraries register what they do at exit, because that runs in reverse order.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        atexit.register(self._end)

    def after(self, program: Callable[[], object]) -> None:
        """Run the program; let its exit and its errors pass, which Python then shows."""
        try:
            program()
        except SystemExit as end:
            self._status = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        except Exception:
            self._status = 1
            raise
        self._status = 0

    def _end(self) -> None:
        if self._status is not None:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except OSError:
                return  # Python says so, with a status of its own
            os._exit(self._status & 0xFF)


def program_of(arguments: list[str]) -> Callable[[], object]:
    """Return what Python runs for the arguments that follow its own name."""
    if arguments[0] == "-u":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(write_through=True)
        arguments = arguments[1:]
    if arguments[0] == "-m":
        sys.argv[:] = arguments[1:]
        return lambda: runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    if arguments[0] == "-c":
        sys.argv[:] = ["-c", *arguments[2:]]
        return lambda: exec(arguments[1], {"__name__": "__main__"})
    sys.argv[:] = arguments
    return lambda: runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = QuickEnd()
    before = dict(os.environ)
    commands = importlib.import_module("commands")  # beside this file, where Python looks first
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        import_libraries()
        request, streams = next_request(listener)
    after = dict(os.environ)
    request, streams, connection = with_a_server(request, streams)
    arguments = become(request, streams)
    commands.fork_children(connection, before, after)
    sys.meta_path.insert(0, Late(LATE))
    end.after(program_of(arguments))


if __name__ == "__main__":
    main()
