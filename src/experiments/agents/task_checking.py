"""Prove that a task can tell a right episode from a wrong one, by carrying out both."""

from collections.abc import Iterator, Sequence

from experiments.agents import benchmark
from experiments.agents.agent_specs import AgentSpec
from experiments.agents.benchmark import EpisodeOutcome
from experiments.agents.scripted_agents import ReplayAgent
from experiments.agents.server_group import ServerGroup
from experiments.agents.task_files import AgentTask

_SPEC = AgentSpec("check", "replay", max_calls_a_turn=64)


def problems(tasks: Sequence[AgentTask], servers: ServerGroup) -> dict[str, str]:
    """Return what is wrong with tasks, by id; a task that is not in it is good.

    The gold must pass, twice with equal transcripts, the second time in a group of other tasks;
    doing nothing must fail; and the gold without any one call that writes must fail.

    Raises:
        ServerError: a server does not start, or lists other tools than its spec pins.
    """
    servers.folder.prepare([])
    for server in sorted({name for task in tasks for name in task.shown_servers()}):
        servers.info(server)
    found: dict[str, str] = {}
    first, second = (_outcomes(order, ReplayAgent(), servers) for order in (tasks, tasks[::-1]))
    for task in tasks:
        if problem := _gold_problem(first[task.id], second[task.id]):
            found.setdefault(task.id, problem)
    for id_, outcome in _outcomes(tasks, ReplayAgent(silent=True), servers).items():
        if _passes(outcome):
            found.setdefault(id_, "an episode without calls and answer passes")
    for id_, name in _needless(tasks, servers):
        found.setdefault(id_, f"it passes without its call of {name}, which writes")
    return found


def _outcomes(
    tasks: Sequence[AgentTask], agent: ReplayAgent, servers: ServerGroup
) -> dict[str, EpisodeOutcome]:
    outcomes = benchmark.run(tasks, agent, _SPEC, servers)
    return {outcome.episode.task.id: outcome for outcome in outcomes}


def _gold_problem(first: EpisodeOutcome, second: EpisodeOutcome) -> str | None:
    """Return what is wrong with two episodes of the gold calls."""
    if reason := first.episode.not_measured or second.episode.not_measured:
        return f"it cannot be carried out: {reason}"
    failed = [call for call in first.episode.calls if call.outcome != "ok"]
    if failed:
        return f"gold call {failed[0].tool} fails: {failed[0].text[:200]}"
    if not _passes(first) or not _passes(second):
        return "the gold calls and answer do not pass"
    return None if first.row() == second.row() else "two replays of the gold calls differ"


def _passes(outcome: EpisodeOutcome) -> bool:
    return outcome.scores is not None and outcome.scores["episode/success"] == 1


def _needless(tasks: Sequence[AgentTask], servers: ServerGroup) -> Iterator[tuple[str, str]]:
    """Yield (id, tool) of tasks that pass without one of their calls that write."""
    for position in range(max((len(task.gold) for task in tasks), default=0)):
        writing = [task for task in tasks if _writes(task, position, servers)]
        for id_, outcome in _outcomes(writing, ReplayAgent(position), servers).items():
            if _passes(outcome):
                yield id_, outcome.episode.task.gold[position]["name"]


def _writes(task: AgentTask, position: int, servers: ServerGroup) -> bool:
    if position >= len(task.gold):
        return False
    call = task.gold[position]
    return call["name"] in servers.specs[call["server"]].writes
