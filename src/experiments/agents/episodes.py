"""Carry out episodes: an agent acts turn by turn, its calls are checked, made and recorded.

All episodes take their turns together, so that a model answers in batches. The servers are shared:
the state of each episode is brought back before its calls and put aside after them.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from experiments.agents import result_references, tool_retrieval
from experiments.agents.agent_specs import AgentSpec
from experiments.agents.made_calls import MadeCall
from experiments.agents.running_server import ARGUMENT_BYTES, ServerError, ToolResult
from experiments.agents.server_group import ServerGroup
from experiments.agents.task_files import AgentTask
from experiments.errors import DataError
from experiments.toolcalls import schemas

SEPARATOR = "__"


@dataclass(frozen=True)
class Turn:
    """What an agent does at once."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """Each with `name` (`SERVER__NAME`) and `arguments`, made one after another."""
    answer: str | None = None
    """The final answer; the episode ends after the calls."""
    text: str = ""
    """What a model wrote."""
    malformed: bool = False
    """Whether the text has a broken call."""
    ended: str | None = None
    """Why the agent cannot go on, such as `positions`."""


@dataclass
class Episode:
    """One task in progress, or finished."""

    task: AgentTask
    tools: dict[str, dict[str, Any]]
    """Maps `SERVER__NAME` to the tool that is shown."""
    turns: list[Turn] = field(default_factory=list)
    made: list[list[MadeCall]] = field(default_factory=list)
    """The calls of each turn."""
    answer: str | None = None
    ended: str | None = None
    """None while it runs; then `answered`, or the limit that ended it."""
    not_measured: str | None = None
    """Why nothing can be said about the agent, such as a server that did not start."""
    seconds: float = 0.0
    """Wall time of the calls so far."""
    before: dict[str, str] = field(default_factory=dict)
    """Hash of each section of the folder before the start."""
    changed: list[str] = field(default_factory=list)
    """Sections of the folder that differ from the state before the start."""

    @property
    def calls(self) -> list[MadeCall]:
        """Return all calls in order."""
        return [call for turn in self.made for call in turn]

    @property
    def is_running(self) -> bool:
        """Whether the agent acts again."""
        return self.ended is None and self.not_measured is None


class Agent(Protocol):
    """Chooses the next turn of episodes."""

    def act(self, episodes: Sequence[Episode]) -> list[Turn]:
        """Return one turn for each episode, in order."""


def listed_tools(task: AgentTask, servers: ServerGroup) -> dict[str, dict[str, Any]]:
    """Return the tools of the servers that a task names, by `SERVER__NAME`.

    Raises:
        ServerError: a server does not start, or lists other tools than its spec pins.
    """
    return {
        f"{server}{SEPARATOR}{tool['name']}": tool
        for server in task.shown_servers()
        for tool in servers.info(server).tools
    }


def begin(task: AgentTask, servers: ServerGroup, spec: AgentSpec) -> Episode:
    """Return an episode at its start, with its state put aside."""
    episode = Episode(task, {})
    try:
        servers.folder.prepare(task.prepare)  # before a server starts that needs its folder
        episode.tools = tool_retrieval.shown(listed_tools(task, servers), task, spec)
        episode.before = servers.folder.hashes()
        servers.folder.put_aside(task.id)
    except (ServerError, DataError) as error:
        episode.not_measured = str(error)
    return episode


def take_turns(
    episodes: Sequence[Episode], agent: Agent, spec: AgentSpec, servers: ServerGroup
) -> None:
    """Let the agent act until no episode runs; states stay aside."""
    for _ in range(spec.max_turns):
        running = [episode for episode in episodes if episode.is_running]
        if not running:
            return
        for episode, turn in zip(running, agent.act(running), strict=True):
            servers.folder.bring_back(episode.task.id)
            _take_turn(episode, turn, spec, servers)
            servers.folder.put_aside(episode.task.id)
    for episode in episodes:
        if episode.is_running:
            episode.ended = "max_turns"


def _take_turn(episode: Episode, turn: Turn, spec: AgentSpec, servers: ServerGroup) -> None:
    episode.turns.append(turn)
    made: list[MadeCall] = []
    episode.made.append(made)
    for index, given in enumerate(turn.calls):
        if len(episode.calls) >= episode.task.max_calls:
            episode.ended = "max_calls"
        elif episode.seconds > spec.episode_timeout_s:
            episode.ended = "episode_timeout"
        if not episode.is_running:
            return
        refused = "too many calls in one turn" if index >= spec.max_calls_a_turn else None
        call = given
        if spec.kind == "plan":
            call, refused = _with_results(given, refused, made, len(turn.calls))
        made.append(_make(episode, call, refused, servers))
    if turn.answer is not None or turn.ended is not None:
        episode.answer, episode.ended = turn.answer, turn.ended or "answered"


def _with_results(
    call: dict[str, Any], refused: str | None, made: Sequence[MadeCall], total: int
) -> tuple[dict[str, Any], str | None]:
    """Return a call with results in its arguments, and why it is refused."""
    try:
        arguments = result_references.resolved(call.get("arguments"), made, total)
    except result_references.ReferenceProblem as error:
        return call, refused or str(error)
    return {**call, "arguments": arguments}, refused


def _make(
    episode: Episode, call: dict[str, Any], refused: str | None, servers: ServerGroup
) -> MadeCall:
    """Make one call, unless it is not valid."""
    tool, arguments = str(call.get("name")), call.get("arguments")
    refused = refused or _refusal(episode.tools, tool, arguments)
    if refused is not None:
        return MadeCall(tool, arguments, "refused", f"Error: {refused}")
    server, _, name = tool.partition(SEPARATOR)
    began = time.monotonic()
    try:
        result = servers.call(server, name, arguments or {})
    except ServerError as error:
        episode.not_measured = str(error)
        result = ToolResult(str(error), "dead")
    episode.seconds += time.monotonic() - began
    if result.outcome == "dead":
        episode.not_measured = episode.not_measured or f"server {server} ended during a call"
    return MadeCall(tool, arguments, result.outcome, result.text)


def _refusal(tools: dict[str, dict[str, Any]], tool: str, arguments: Any) -> str | None:
    """Return why a call is not sent; None if it is valid."""
    if tool not in tools:
        return f"there is no tool {tool!r}"
    if not isinstance(arguments, dict):
        return "arguments must be a JSON object"
    try:
        size = len(json.dumps(arguments, allow_nan=False).encode("utf-8", "surrogatepass"))
    except (ValueError, TypeError, RecursionError) as error:
        return f"arguments are not valid JSON ({error})"
    if size > ARGUMENT_BYTES:
        return f"arguments have {size} bytes, at most {ARGUMENT_BYTES} are allowed"
    if not schemas.is_valid(tools[tool]["input_schema"], arguments):
        return f"arguments do not fit the schema of {tool}"
    return None
