"""Prompt the model of a finished run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config import EvalConfig
from experiments.data import Renderer, thinking
from experiments.errors import ConfigError
from experiments.evaluation import scoring
from experiments.runs.finished import load_run
from experiments.toolcalls import parser


@dataclass(frozen=True)
class PromptAnswer:
    """A model's answer to one prompt."""

    text: str
    calls: Sequence[dict[str, Any]]
    """The calls that a strict parser finds: `name` and `arguments`."""
    defects: Sequence[str]
    """What is wrong with the calls of a malformed answer; empty for a well-formed one."""


def answer(
    folder: Path, messages: Sequence[dict[str, Any]], tools: Sequence[Any], max_new_tokens: int
) -> PromptAnswer:
    """Return the answer of a run's tuned model, with greedy decoding.

    Args:
        folder: the folder of a finished run.
        messages: the conversation, which ends with the user's turn.
        tools: the tools that are shown, in OpenAI's format.
        max_new_tokens: the longest answer, in tokens.

    Raises:
        RecordError: there is no finished run.
        ConfigError: the prompt does not fit into the model's positions.
    """
    base, record = load_run(folder)
    setting = record.evaluation.get("tuned", {}).get("asked", {}).get("thinking", "as_data")
    mode = thinking.mode(base.tokenizer, setting)
    row = {"id": "prompt", "messages": list(messages), "tools": list(tools)}
    renderer = Renderer(base.tokenizer, base.end_ids, mode=mode)
    [encoded] = renderer.with_own_prompts(renderer.encode_prompts([row]), [row])
    ids = encoded.asked_ids(own=mode.asked == "on")
    if len(ids) >= base.positions:
        raise ConfigError(
            f"--prompt and --tools take {len(ids)} tokens, but the model has only {base.positions} "
            "positions: shorten them."
        )
    tuned = scoring.Subject(base.model, base, "tuned", EvalConfig())
    [generated] = scoring.answer(tuned, [ids], "prompt", max_new_tokens)
    form = parser.from_facts(record.data.get("call_form"))
    parsed = parser.parse(generated.text, form, list(tools))
    return PromptAnswer(generated.text, parsed.calls, parsed.defects if parsed.malformed else ())
