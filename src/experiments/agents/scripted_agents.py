"""Agents without a model: the gold calls, and random ones."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.agents.episodes import SEPARATOR, Episode, Turn


@dataclass(frozen=True)
class ReplayAgent:
    """Makes all gold calls in one turn and gives the gold answer.

    `without` leaves out the call of that position; `silent` makes no call and gives no answer.
    """

    without: int | None = None
    silent: bool = False

    def act(self, episodes: Sequence[Episode]) -> list[Turn]:
        """Return all gold calls at once."""
        return [self._turn(episode) for episode in episodes]

    def _turn(self, episode: Episode) -> Turn:
        if self.silent:
            return Turn(answer="")
        calls = [
            {"name": f"{call['server']}{SEPARATOR}{call['name']}", "arguments": call["arguments"]}
            for position, call in enumerate(episode.task.gold)
            if position != self.without
        ]
        return Turn(calls, episode.task.answer)


@dataclass(frozen=True)
class RandomAgent:
    """Calls a random tool with random values that fit its schema, then answers with a number."""

    seed: int = 0

    def act(self, episodes: Sequence[Episode]) -> list[Turn]:
        """Return one random call for each episode, the same for the same seed and task."""
        return [self._turn(episode) for episode in episodes]

    def _turn(self, episode: Episode) -> Turn:
        chance = random.Random(f"{self.seed} {episode.task.id} {len(episode.turns)}")
        if chance.random() < 0.25:
            return Turn(answer=str(chance.randrange(1000)))
        name = chance.choice(sorted(episode.tools))
        return Turn(
            [{"name": name, "arguments": _value(episode.tools[name]["input_schema"], chance)}]
        )


def _value(schema: dict[str, Any], chance: random.Random) -> Any:
    """Return a random value for the usual parts of a schema."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    kind = schema.get("type", "string")
    if kind == "object":
        wanted = schema.get("required", [])
        inner = schema.get("properties", {})
        return {name: _value(inner.get(name, {}), chance) for name in wanted}
    if kind == "array":
        return [_value(schema.get("items", {}), chance) for _ in range(2)]
    if kind in ("integer", "number"):
        return chance.randrange(100)
    return chance.random() < 0.5 if kind == "boolean" else chance.choice(["a", "b.txt", "main"])
