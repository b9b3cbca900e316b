"""Run an agent on tasks with real servers, and score every episode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.agents import episode_scores, episodes, tool_retrieval
from experiments.agents.agent_specs import AgentSpec
from experiments.agents.episodes import Agent, Episode
from experiments.agents.server_group import ServerGroup
from experiments.agents.task_files import AgentTask

_TOGETHER = 64
"""Episodes that take their turns together."""


@dataclass(frozen=True)
class EpisodeOutcome:
    """A finished episode and its scores; None if it is not measured."""

    episode: Episode
    scores: dict[str, float | None] | None

    def row(self) -> dict[str, Any]:
        """Return the transcript and the scores as a JSON value."""
        episode = self.episode
        turns = [
            {"text": turn.text, "calls": [vars(call) for call in made]}
            for turn, made in zip(episode.turns, episode.made, strict=True)
        ]
        return {
            "id": episode.task.id,
            "split": episode.task.split,
            "category": episode.task.category,
            "question": episode.task.question,
            "turns": turns,
            "answer": episode.answer,
            "ended": episode.ended,
            "not_measured": episode.not_measured,
            "scores": self.scores,
        }


def run(
    tasks: Sequence[AgentTask], agent: Agent, spec: AgentSpec, servers: ServerGroup
) -> Iterator[EpisodeOutcome]:
    """Yield the outcome of each task, in order."""
    for start in range(0, len(tasks), _TOGETHER):
        group = [episodes.begin(task, servers, spec) for task in tasks[start : start + _TOGETHER]]
        episodes.take_turns(group, agent, spec, servers)
        for episode in group:
            yield EpisodeOutcome(episode, _scored(episode, servers))


def _scored(episode: Episode, servers: ServerGroup) -> dict[str, float | None] | None:
    if episode.not_measured is not None:
        return None
    folder = servers.folder
    folder.bring_back(episode.task.id)
    after = folder.hashes()
    episode.changed = [section for section in after if after[section] != episode.before[section]]
    scores = {f"episode/{k}": v for k, v in episode_scores.score(episode, folder.place).items()}
    chosen = tool_retrieval.score(episode.tools, episode.task)
    return scores | {f"retrieval/{key}": value for key, value in chosen.items()}


def summary(outcomes: Sequence[EpisodeOutcome]) -> dict[str, Any]:
    """Return the mean of each score over the episodes to which it applies, and counts."""
    measured = [outcome.scores for outcome in outcomes if outcome.scores is not None]
    names = [f"episode/{name}" for name in episode_scores.SCORES]
    names += [f"retrieval/{name}" for name in tool_retrieval.SCORES]
    values = {
        name: [value for scores in measured if (value := scores[name]) is not None]
        for name in names
    }
    return {
        "episodes": len(outcomes),
        "not_measured": len(outcomes) - len(measured),
        **{name: sum(v) / len(v) if v else None for name, v in values.items()},
    }
