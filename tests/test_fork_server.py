"""A command that is forked from a fork server behaves like one in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import environment
from support import commands

# What stands in for the project shows what a process can tell of its start, and ends as told.
PROGRAM = """
import os, signal, subprocess, sys, time
print(__name__, sys.argv[1:], sys.orig_argv[1:], os.getcwd(), os.getppid(), os.getpgid(0))
print(sorted(sys.path[:3]), os.environ["STUDY_URL"], signal.getsignal(signal.SIGINT))
print([name for name in ("torch", "peft", "experiments.config") if name in sys.modules])
if sys.argv[1] == "wait":
    sys.stdout.flush()
    time.sleep(60)
if sys.argv[1] == "start":
    command = [sys.executable, "-m", "experiments", "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        parent = child.stdout.readline().split()[-2]
        with open(f"/proc/{child.pid}/cmdline") as started_as:
            print(parent == str(os.getpid()), "fork_server" in started_as.read())
        child.terminate()
    sys.exit(-child.returncode)
print(sys.stdin.read(), file=sys.stderr)
if sys.argv[1] == "import":
    import torch.nn
    print(torch.__spec__.name, torch.nn.Linear(2, 3).weight.shape, "peft" in sys.modules)
    sys.exit("the end")
elif sys.argv[1] == "raise":
    raise ValueError("wrong")
sys.exit(int(sys.argv[1]))
"""
STARTS = [pytest.param(subprocess.Popen, id="fresh"), pytest.param(commands.Popen, id="forked")]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").touch()
    (tmp_path / "experiments" / "__main__.py").write_text(PROGRAM)

    def start(popen: Start, word: str, **options: Any) -> "subprocess.Popen[str]":
        env = environment(PYTHONPATH=str(tmp_path), STUDY_URL="here")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-m", "experiments", word]
        started.append(popen(command, cwd=tmp_path, env=env, text=True, **pipes, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:  # closes its pipes
            pass


@pytest.mark.parametrize("word", ["0", "3", "raise"])
def test_a_forked_command_says_and_returns_what_a_fresh_one_does(begin: Start, word: str) -> None:
    fresh, forked = (begin(start, word) for start in (subprocess.Popen, commands.Popen))
    (out, errors), (their_out, their_errors) = (
        process.communicate("given", timeout=120) for process in (fresh, forked)
    )
    assert (forked.returncode, their_out) == (fresh.returncode, out)
    assert (their_errors[:6], their_errors[-20:]) == (errors[:6], errors[-20:])


def test_libraries_are_there_once_they_are_imported(begin: Start) -> None:
    forked = begin(commands.Popen, "import")
    out, errors = forked.communicate("", timeout=120)
    *_, hidden, shown = out.splitlines()
    assert (hidden, shown) == ("[]", "torch torch.Size([3, 2]) True")
    assert (forked.returncode, errors.splitlines()[-1]) == (1, "the end")


@pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux only")
def test_what_a_forked_command_starts_is_forked_and_its_own_child(begin: Start) -> None:
    forked = begin(commands.Popen, "start")
    out, _ = forked.communicate("", timeout=120)
    assert out.splitlines()[-1] == "True True"
    assert forked.returncode == signal.SIGTERM


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_process_that_has_the_id(
    begin: Start, start: Start, number: signal.Signals
) -> None:
    process = begin(start, "wait", start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline().endswith(f" {process.pid}\n")
    while process.stdout.readline() != "[]\n":
        pass
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    process.send_signal(number)
    assert process.wait(timeout=60) == -number


def test_another_value_of_what_libraries_read_at_import_needs_a_fresh_process() -> None:
    assert commands.imports_the_same(environment(TRACKIO_DIR="elsewhere"))
    assert not commands.imports_the_same(environment(HF_HOME="elsewhere"))
