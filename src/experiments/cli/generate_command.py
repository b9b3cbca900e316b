"""`generate`: print a tuned model's answer to a prompt."""

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--prompt", required=True, help="the user's message")
    parser.add_argument("--system", help="the system message")
    parser.add_argument(
        "--tools", type=Path, help="JSON file with a list of tools in OpenAI's format"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    tools = _read_tools(arguments.tools)
    from experiments.runs import prompting

    messages = [{"role": "system", "content": arguments.system}] if arguments.system else []
    messages.append({"role": "user", "content": arguments.prompt})
    answer = prompting.answer(arguments.run, messages, tools, arguments.max_new_tokens)
    print(answer.text)
    for call in answer.calls:
        print(f"call {call['name']}: {json.dumps(call['arguments'], ensure_ascii=False)}")
    if answer.defects:
        print(f"malformed answer: {', '.join(answer.defects)}")


def _read_tools(path: Path | None) -> list[Any]:
    if path is None:
        return []
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tools {path}: {error}; give a JSON list of tools.") from error
    if not isinstance(tools, list):
        raise ConfigError(
            f"--tools {path} is not a JSON list of tools: give one in OpenAI's format."
        )
    return tools
