"""Convert rows of muhammadtlha944/mcp-agent-training-data.

A row has one column `messages` of {role, content} and no tools; the system text tells which of
three styles applies. JSON mode (a `<schema>`, or "answers in JSON"): the system text is kept and
there are no tools. ToolACE ("an expert in composing functions"): ToolACE's grammar, see `toolace`.
Tags (`<tools>`): Hermes' grammar, see `hermes`. Any other row is plain chat if it has no trace of a
call, and rejected otherwise. Source: docs/05-dataset.md of muhammadtlha944/MCP-Agent-1.7B, which
describes the styles but shows no row; layout not verified against the Hub.
"""

import re

from experiments.data.formats import hermes, toolace, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_TOOL_TRACES = re.compile(r"""<functioncall>|<tool_?call>|["']parameters["']""", re.IGNORECASE)
_BRACKET_CALL = re.compile(r"\s*+\[[^\[\]{}()\n]++\(.*\)\s*\]\s*", re.DOTALL)


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `messages` in the style indicated by the system text."""
    spoken_turns = list(turns.spoken(raw, "messages"))
    system = spoken_turns[0][1] if spoken_turns and spoken_turns[0][0] == "system" else ""
    is_json = "<schema>" in system or "answers in JSON" in system
    if not is_json and "composing functions" in system:
        return toolace.conversation(system, spoken_turns[1:])
    if not is_json and "<tools>" not in system:
        _check_without_tools(system, spoken_turns)
    return hermes.convert({"conversations": raw["messages"]})


def _check_without_tools(system: str, spoken_turns: list[tuple[str, str, bool | None]]) -> None:
    if _TOOL_TRACES.search(system):
        raise Rejected("unknown_layout", "the system prompt lists its tools in an unknown style")
    for speaker, text, _ in spoken_turns:
        if speaker == "assistant" and _BRACKET_CALL.fullmatch(text):
            raise Rejected("unknown_layout", f"a call without tools: {excerpt(text)}")
