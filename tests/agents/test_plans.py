"""Plans: results of earlier calls in arguments, on real servers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from experiments.agents import agent_specs, benchmark
from experiments.agents.episodes import Episode, Turn
from experiments.agents.made_calls import MadeCall
from experiments.agents.model_agents import ModelAgent
from experiments.agents.result_references import ReferenceProblem, resolved
from experiments.agents.server_group import ServerGroup
from experiments.agents.task_files import AgentTask

MADE = [
    MadeCall("a__f", {}, "ok", '{"result": "7.0", "parts": {"n": [1]}}'),
    MadeCall("a__f", {}, "error", "no"),
    MadeCall("a__f", {}, "ok", "tea"),
    *[MadeCall("a__f", {}, "ok", "x")] * 6,
    MadeCall("a__f", {}, "ok", "ten"),
]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("$1", {"result": "7.0", "parts": {"n": [1]}}),
        ("$1.result", "7.0"),
        ("$1.parts.n", [1]),
        ("${3}s", "teas"),
        ("$3.txt", "tea.txt"),
        ("$10 $3", "ten tea"),
        ({"a": ["$3", 5]}, {"a": ["tea", 5]}),
        ("costs $ 5", "costs $ 5"),
    ],
)
def test_a_reference_keeps_its_type_alone_and_is_text_within_text(given: Any, value: Any) -> None:
    assert resolved(given, MADE, 12) == value


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("$0", "$0 refers to no call: the plan has calls 1 to 12"),
        ("$13", "$13 refers to no call"),
        ("$11", "$11 refers to itself"),
        ({"x": "$12"}, "$12 refers to a later call"),
        ("a $2", "call 2, which $2 refers to, failed"),
    ],
)
def test_a_reference_without_a_result_is_named(given: Any, reason: str) -> None:
    with pytest.raises(ReferenceProblem) as caught:
        resolved(given, MADE, 12)
    assert str(caught.value).startswith(reason)


@dataclasses.dataclass(frozen=True)
class Planned:
    """Makes one plan."""

    calls: list[dict[str, Any]]

    def act(self, episodes: Sequence[Episode]) -> list[Turn]:
        return [Turn(self.calls, "Done.") for _ in episodes]


def test_a_plan_carries_a_result_from_one_server_to_another(servers: ServerGroup) -> None:
    task = AgentTask(
        id="t",
        split="test",
        category="chain",
        servers=["math", "filesystem"],
        question="Write the sum of 3 and 4 to /episode/files/a.txt.",
        gold=[],
        checks=[{"kind": "state", "probe": "text", "path": "a.txt", "op": "=", "value": "7.0"}],
    )
    path = "/episode/files/a.txt"
    plan = [
        {"name": "math__sum", "arguments": {"numbers": [3, 4]}},
        {"name": "filesystem__write_file", "arguments": {"path": path, "content": "$1.result"}},
        {"name": "math__sum", "arguments": {"numbers": "$9"}},
        {"name": "math__sum", "arguments": {"numbers": ["$3"]}},
    ]
    [found] = benchmark.run([task], Planned(plan), agent_specs.read("plan"), servers)
    assert found.scores is not None and found.scores["episode/success"] == 1
    outcomes = [(call.outcome, call.text) for call in found.episode.calls[2:]]
    assert [outcome for outcome, _ in outcomes] == ["refused", "refused"]
    assert "refers to no call" in outcomes[0][1] and "call 3" in outcomes[1][1]


def test_a_model_may_plan_again_once_and_only_after_a_failure() -> None:
    spec = agent_specs.read("plan")
    agent = ModelAgent(spec, None, None, None, None)  # type: ignore[arg-type]
    task = AgentTask("t", "test", "c", [], "q", [], [])
    good, bad = [MADE[0]], [MADE[1]]
    turns = {(): True, (0,): False, (1,): True, (1, 1): False}
    for history, allowed in turns.items():
        made = [bad if failed else good for failed in history]
        assert agent._may_plan(Episode(task, {}, made=made)) == allowed, history
