"""`tasks`: list the tasks of a file or the built-in ones, check them, and write those that hold."""

import argparse
from collections import Counter
from pathlib import Path

from experiments.agents.task_files import AgentTask
from experiments.cli.servers_command import check_extra
from experiments.errors import ConfigError, DataError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("file", nargs="?", type=Path, help="JSON lines (default: built-in tasks)")
    parser.add_argument("--check", action="store_true", help="carry out gold and wrong episodes")
    parser.add_argument("--out", type=Path, help="write the tasks, after --check the good ones")
    parser.add_argument("--seed", type=int, default=0, help="of the built-in tasks (default 0)")
    parser.add_argument("--count", type=int, help="number of built-in tasks (default 360)")
    parser.add_argument("--sandbox", default="auto", help="auto, bwrap or none (default auto)")
    parser.set_defaults(command=_run)


def read(arguments: argparse.Namespace) -> list[AgentTask]:
    """Return the tasks of the file, or the built-in ones.

    Raises:
        ConfigError: an option belongs to built-in tasks, but a file is given.
        DataError: the file is not a valid file of tasks.
    """
    from experiments.agents import builtin_tasks, server_specs, task_files

    if arguments.file is None:
        count = builtin_tasks.COUNT if arguments.count is None else arguments.count
        if count < 1:
            raise ConfigError(f"--count {count}: give a positive number.")
        return builtin_tasks.tasks(arguments.seed, count)
    if arguments.seed or arguments.count is not None:
        raise ConfigError("--seed and --count choose built-in tasks: leave them out with a file.")
    return task_files.read(arguments.file, server_specs.read_all())


def _run(arguments: argparse.Namespace) -> None:
    from experiments.agents import builtin_tasks, task_files
    from experiments.runtime import disk

    tasks = read(arguments)
    print(*_described(tasks), f"hash {builtin_tasks.digest(tasks)}", sep="\n")
    wrong = _checked(tasks, arguments.sandbox) if arguments.check else {}
    good = [task for task in tasks if task.id not in wrong]
    if arguments.out is not None:
        disk.write_atomically(arguments.out, task_files.lines_of(good).encode())
        print(f"wrote {len(good)} tasks to {arguments.out}")
    if wrong:
        listed = "\n".join(f"  {id_}: {problem}" for id_, problem in wrong.items())
        raise DataError(f"{len(wrong)} of {len(tasks)} tasks do not hold:\n{listed}")


def _described(tasks: list[AgentTask]) -> list[str]:
    from experiments.agents import builtin_tasks

    sequences = Counter(builtin_tasks.sequences(tasks))
    across = sum(len({call["server"] for call in task.gold}) > 1 for task in tasks)
    counts = (Counter(getattr(task, key) for task in tasks) for key in ("split", "category"))
    return [
        f"{len(tasks)} tasks, {len(sequences)} sequences of gold calls, the most frequent in "
        f"{max(sequences.values()) / len(tasks):.1%}, across servers {across / len(tasks):.1%}",
        *(", ".join(f"{name} {n}" for name, n in sorted(count.items())) for count in counts),
    ]


def _checked(tasks: list[AgentTask], mode: str) -> dict[str, str]:
    from experiments.agents import sandbox, server_group, server_specs, task_checking

    check_extra()
    resolved = sandbox.resolved(mode)
    with server_group.started(server_specs.read_all(), resolved) as servers:
        wrong = task_checking.problems(tasks, servers)
    print(f"checked with sandbox {resolved}: {len(tasks) - len(wrong)} of {len(tasks)} hold")
    return wrong
