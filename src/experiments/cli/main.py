"""The command line: `lora-experiments COMMAND`, or `python -m experiments COMMAND`.

A command's file describes its arguments (`add`) and imports what it needs when it is called.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from experiments.errors import ExperimentError
from experiments.runtime import disk

COMMANDS = {
    "train": "train one run, or with -m a sweep of runs, as train.py does",
    "fetch": "download a base model, and convert it if it is a GGUF file",
    "data": "show the rows of a data config and which tokens are trained on",
    "plan": "predict the memory, tokens and hours of runs",
    "report": "write the tables and figures of a run or a sweep",
    "status": "show the progress of a sweep",
    "clean": "list, and with --yes remove, files that finished runs no longer need",
    "merge": "merge a run's adapter into its base and save the model",
    "generate": "prompt a tuned model",
    "score": "score saved outputs of any model, without loading it",
    "push": "upload a finished run to the hub",
    "export": "export a run's answers to BFCL in BFCL's layout",
    "explain": "show what differs between two runs",
    "dashboard": "show curves, scores and reports in the browser",
    "servers": "build and start the MCP servers of agents, and print their tools",
    "tasks": "list, check and write tasks for agents",
    "episodes": "let an agent carry out tasks on MCP servers, and score what happened",
    "claims": "evaluate claims against the available runs",
    "gpu-check": "measure this machine's GPU in minutes: memory, speed, recovery",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 on success, 1 after printing an error that the user can fix, 130 after Ctrl-C.
    """
    command_line = sys.argv[1:] if argv is None else argv
    program = _program()
    if command_line[:1] == ["train"]:
        from experiments.cli import train_command

        train_command.start(f"{program} train", command_line[1:])
        return 0
    parser = _parser(program)
    arguments, rest = parser.parse_known_args(command_line)
    # argparse accepts no overrides after an option; `data` allows them anywhere.
    unknown = [
        argument
        for argument in rest
        if argument.startswith("-") or not hasattr(arguments, "overrides")
    ]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        arguments.overrides += rest
    try:
        with disk.one_sentence(getattr(arguments, "out", None) or Path()):
            arguments.command(arguments)
            sys.stdout.flush()
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _program() -> str:
    """Return the command as the user types it."""
    path = Path(sys.argv[0])
    return "python -m experiments" if path.suffix == ".py" else path.name


def _parser(program: str = "python -m experiments") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="LoRA experiments on tool calling; COMMAND --help describes the arguments.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name != "train":  # Hydra reads its arguments
            module = f"experiments.cli.{name.replace('-', '_')}_command"
            importlib.import_module(module).add(command)
    return parser
