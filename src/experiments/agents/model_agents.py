"""Agents that are language models: the tools and results in a prompt, calls parsed from the answer.

The text of a tool is data: it is escaped like any text of a row, so that it cannot contain a
control token. What a model writes is parsed, never run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.agents.agent_specs import AgentSpec
from experiments.agents.episodes import Episode, Turn
from experiments.data import Renderer
from experiments.data.tally import Tally
from experiments.evaluation import batched_generation
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.toolcalls import parser
from experiments.toolcalls.parser import CallForm

PLAN_PROMPT = (
    "Make all calls that are needed in one answer. In an argument, $1 stands for the result of the "
    "first call, $2 for that of the second, and $1.name for a part of a JSON result."
)
"""System prompt of agents of kind `plan`."""
_KEPT = ("type", "enum", "items", "properties", "required", "anyOf", "$ref", "$defs")


@dataclass(frozen=True)
class ModelAgent:
    """Acts by what a model answers with greedy decoding."""

    spec: AgentSpec
    model: Any
    """The model, with or without an adapter."""
    base: Any
    """Its `Base`: tokenizer, end tokens, longest sequence and device."""
    renderer: Renderer
    form: CallForm

    def act(self, episodes: Sequence[Episode]) -> list[Turn]:
        """Return one turn for each episode; all answers are generated together."""
        prompts = [self._prompt(episode) for episode in episodes]
        indices = [i for i, prompt in enumerate(prompts) if isinstance(prompt, list)]
        answers: dict[int, Generated] = {}

        def done(index: int, generated: Generated) -> None:
            answers[indices[index]] = generated

        asked = [prompt for prompt in prompts if isinstance(prompt, list)]
        if asked:
            limits = Limits(self.spec.new_tokens)
            batched_generation.generate(self.model, self.base, asked, limits, done)
        return [
            self._turn(episode, answers[i]) if i in answers else Turn(ended=str(prompts[i]))
            for i, episode in enumerate(episodes)
        ]

    def _prompt(self, episode: Episode) -> list[int] | str:
        """Return the tokens of a prompt, or why the model cannot be asked."""
        row = {
            "id": episode.task.id,
            "messages": self._messages(episode),
            "tools": openai_tools(episode.tools, compact=self.spec.tools_form == "compact"),
        }
        encoded = self.renderer.encode_prompts([row], Tally())
        if not encoded:
            return "template"
        [with_own] = self.renderer.with_own_prompts(encoded, [row])
        ids = with_own.asked_ids(own=self.renderer.mode.asked == "on")
        return list(ids) if len(ids) < self.base.positions else "positions"

    def _messages(self, episode: Episode) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": episode.task.question}]
        if self.spec.kind == "plan":
            messages.insert(0, {"role": "system", "content": PLAN_PROMPT})
        for made in episode.made:
            calls = [
                {"type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
                for call in made
            ]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            messages += [
                {"role": "tool", "name": call.tool, "content": self._shortened(call.text)}
                for call in made
            ]
        return messages

    def _shortened(self, text: str) -> str:
        """Return the first tokens of a result."""
        tokenizer = self.base.tokenizer
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if len(ids) <= self.spec.result_tokens:
            return text
        return str(tokenizer.decode(ids[: self.spec.result_tokens])) + " [cut]"

    def _turn(self, episode: Episode, generated: Generated) -> Turn:
        parsed = parser.parse(generated.text, self.form, openai_tools(episode.tools))
        ends = self.spec.kind == "single" or not parsed.calls
        ended = "positions" if generated.stop_reason == "positions" else None
        may_call = self.spec.kind != "plan" or self._may_plan(episode)
        return Turn(
            calls=parsed.calls if may_call else [],
            answer=parsed.content if ends else None,
            text=generated.text,
            malformed=parsed.malformed,
            ended=ended if may_call or ends else "max_replans",
        )

    def _may_plan(self, episode: Episode) -> bool:
        """Return whether a plan may be made: the first, or another after a call that failed."""
        if not episode.made:
            return True
        failed = any(call.outcome != "ok" for call in episode.made[-1])
        return failed and len(episode.made) <= self.spec.max_replans


def openai_tools(
    tools: dict[str, dict[str, Any]], *, compact: bool = False
) -> list[dict[str, Any]]:
    """Return tools in OpenAI's format.

    Args:
        tools: tools by the name that is shown.
        compact: show the first sentence of a description, and names and types of parameters.

    >>> schema = {"type": "object", "properties": {"x": {"type": "integer", "title": "X"}}}
    >>> tool = {"description": "Add. And more.", "input_schema": schema}
    >>> openai_tools({"f": tool}, compact=True)[0]["function"]["description"]
    'Add.'
    """
    shown = {name: _compact(tool) if compact else tool for name, tool in tools.items()}
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": tool["description"],
                "parameters": tool["input_schema"],
            },
        }
        for name, tool in shown.items()
    ]


def _compact(tool: dict[str, Any]) -> dict[str, Any]:
    description = _first_sentence(tool["description"])
    return {"description": description, "input_schema": _only(tool["input_schema"])}


def _first_sentence(text: str) -> str:
    first = " ".join(text.split()).split(". ")[0]
    return f"{first.rstrip('.')}." if first else ""


def _only(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the types of its parameters and which are required."""
    found = {key: value for key, value in schema.items() if key in _KEPT}
    for key in ("properties", "$defs"):
        if isinstance(found.get(key), dict):
            found[key] = {name: _only(inner) for name, inner in found[key].items()}
    if isinstance(found.get("items"), dict):
        found["items"] = _only(found["items"])
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = [_only(inner) for inner in found["anyOf"]]
    return found
