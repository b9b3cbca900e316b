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
    from experiments import runs
    from experiments.config import EvalConfig
    from experiments.data import Renderer, thinking
    from experiments.evaluation import scoring as evaluation
    from experiments.toolcalls import parser

    base, record = runs.load_run(arguments.run)
    thinking_setting = (
        record.evaluation.get("tuned", {}).get("asked", {}).get("thinking", "as_data")
    )
    mode = thinking.mode(base.tokenizer, thinking_setting)
    messages = [{"role": "system", "content": arguments.system}] if arguments.system else []
    messages.append({"role": "user", "content": arguments.prompt})
    row = {"id": "prompt", "messages": messages, "tools": tools}
    renderer = Renderer(base.tokenizer, base.end_ids, mode=mode)
    [encoded] = renderer.with_own_prompts(renderer.encode_prompts([row]), [row])
    ids = encoded.asked_ids(own=mode.asked == "on")
    if len(ids) >= base.positions:
        raise ConfigError(
            f"--prompt and --tools take {len(ids)} tokens, but the model has only {base.positions} "
            "positions: shorten them."
        )
    tuned = evaluation.Subject(base.model, base, "tuned", EvalConfig())
    [answer] = evaluation.answer(tuned, [ids], "prompt", arguments.max_new_tokens)
    print(answer.text)
    parsed = parser.parse(answer.text, parser.from_facts(record.data.get("call_form")), tools)
    for call in parsed.calls:
        print(f"call {call['name']}: {json.dumps(call['arguments'], ensure_ascii=False)}")
    if parsed.malformed:
        print(f"malformed answer: {', '.join(parsed.defects)}")


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
