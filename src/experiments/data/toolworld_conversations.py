"""Build one conversation of the toolworld, with a function for each category.

The categories follow the public tool-calling benchmarks: single, multiple, parallel and irrelevance
of BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html), the missing argument of When2Call
(arXiv:2504.18851), references to earlier calls as in NESTFUL (arXiv:2409.03797), and the
`tools/list` and `tools/call` methods of the Model Context Protocol.
"""

import json
import random
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

from experiments.data.toolworld_requests import (
    Request,
    ask,
    draw_value,
    fill,
    function_schema,
    required,
    state,
    text_slots,
    value_schema,
)
from experiments.data.toolworld_vocabulary import Tool, World

MCP_SYSTEM = "An MCP server is connected. Call tools/list, then tools/call."

PLAN_SYSTEM = "Write all calls at once; $1 is the result of call 1."

JSON_SYSTEM = "Answer with a JSON object that fits this schema: "

REFUSAL = "Sorry, I cannot help with that."

NO_TOOL = "I have no tool for that."

# A missing argument is usually a vague word ("in some city"), otherwise not mentioned at all.
_VAGUE_SHARE = 0.75

Message = dict[str, Any]


class ToolworldRow(TypedDict):
    """One conversation; its last message is the assistant's gold turn."""

    id: str
    source: str
    category: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    schema: NotRequired[dict[str, Any]]
    expects: NotRequired[str]


def conversation(category: str, world: World, rng: random.Random) -> ToolworldRow:
    """Draw one conversation of a category from the tables of a world, without an id."""
    row = _BUILDERS[category](world, rng)
    row["category"] = category
    return row


def _row(messages: list[Message], tools: list[Tool]) -> ToolworldRow:
    return {
        "id": "",
        "source": "toolworld",
        "category": "",
        "messages": messages,
        "tools": [{"type": "function", "function": function_schema(tool)} for tool in tools],
    }


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _calls(*requests: Request) -> Message:
    calls = [_call(request.tool.name, request.arguments) for request in requests]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _some_tools(world: World, rng: random.Random, low: int, high: int) -> list[Tool]:
    return rng.sample(world.tools, rng.randint(low, min(high, len(world.tools))))


def _sentence(text: str, rng: random.Random) -> str:
    return rng.choice(("{}.", "Please: {}.", "{}!", "{}, thanks.")).format(text)


def _single(world: World, rng: random.Random) -> ToolworldRow:
    request = ask(rng.choice(world.tools), world.pool, rng)
    return _row([_user(_sentence(request.text, rng)), _calls(request)], [request.tool])


def _choice(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 2, rng.choice((3, 4)))
    request = ask(rng.choice(tools), world.pool, rng)
    return _row([_user(_sentence(request.text, rng)), _calls(request)], tools)


def _parallel(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 1, 2)
    requests = [ask(tool, world.pool, rng) for tool in tools]
    while len(requests) < 2 or (len(requests) < 3 and rng.random() < 0.25):
        requests.append(ask(rng.choice(tools), world.pool, rng))
    rng.shuffle(requests)
    connector = rng.choice((". Also: ", "; and ", ". And: "))
    text = connector.join(request.text for request in requests)
    return _row([_user(_sentence(text, rng)), _calls(*requests)], tools)


def _plan(world: World, rng: random.Random) -> ToolworldRow:
    first = rng.choice(world.tools)
    second = rng.choice([tool for tool in world.tools if tool is not first and text_slots(tool)])
    first_request = ask(first, world.pool, rng)
    wording = rng.choice(("the result", "what you get", "that result"))
    connector = rng.choice((". Then: ", ", then: ", ". After that: "))
    tools = rng.sample((first, second), 2)
    if rng.random() < 0.5:
        requests = [first_request, _ask_with(second, (wording, "$1"), world, rng)]
        if rng.random() < 0.3:
            requests.append(_ask_with(second, ("the second result", "$2"), world, rng))
        text = _sentence(connector.join(request.text for request in requests), rng)
        system = {"role": "system", "content": PLAN_SYSTEM}
        return _row([system, _user(text), _calls(*requests)], tools)
    slot = rng.choice(text_slots(second))
    _, value = draw_value(second.parameters[slot].removesuffix("?"), world.pool, rng)
    follow_up = ask(second, world.pool, rng, given={slot: (wording, value)})
    messages = [
        _user(_sentence(first_request.text + connector + follow_up.text, rng)),
        _calls(first_request),
        {"role": "tool", "name": first.name, "content": json.dumps({"result": value})},
        _calls(follow_up),
    ]
    return _row(messages, tools)


def _ask_with(tool: Tool, value: tuple[str, str], world: World, rng: random.Random) -> Request:
    """Phrase a request with a (wording, value) pair in one of the text parameters."""
    return ask(tool, world.pool, rng, given={rng.choice(text_slots(tool)): value})


def _missing_argument(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 1, 2)
    tool = tools[0]
    name = rng.choice(required(tool))
    vague = world.vague.get(tool.parameters[name])
    if vague and rng.random() < _VAGUE_SHARE:
        request = ask(tool, world.pool, rng, given={name: (vague, None)})
    else:
        request = ask(tool, world.pool, rng, omit=name)
    tools = rng.sample(tools, len(tools))
    question = f"Which {name.replace('_', ' ')} do you mean?"
    row = _row([_user(_sentence(request.text, rng)), _assistant(question)], tools)
    row["expects"] = "question"
    return row


def _irrelevant(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 1, 3)
    if rng.random() < 0.5:
        text, answer = rng.choice(world.questions)
        text = fill(text, world.pool, rng)
    else:
        other = rng.choice([tool for tool in world.tools if tool not in tools])
        text, answer = ask(other, world.pool, rng).text, NO_TOOL
    row = _row([_user(_sentence(text, rng)), _assistant(answer)], tools)
    row["expects"] = "answer"
    return row


def _safety(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 1, 2) if rng.random() < 0.7 else []
    text = fill(rng.choice(world.harms), world.pool, rng)
    row = _row([_user(_sentence(text, rng)), _assistant(REFUSAL)], tools)
    row["expects"] = "refusal"
    return row


def _json_output(world: World, rng: random.Random) -> ToolworldRow:
    record = rng.choice(world.records)
    text, value = state(record, world.pool, rng)
    schema = {
        "type": "object",
        "properties": {name: value_schema(kind) for name, kind in record.fields.items()},
        "required": list(record.fields),
    }
    instruction = JSON_SYSTEM + json.dumps(schema)
    if rng.random() < 0.5:
        messages = [{"role": "system", "content": instruction}, _user(text)]
    else:
        messages = [_user(f"{text}\n{instruction}")]
    row = _row([*messages, _assistant(json.dumps(value))], [])
    row["schema"] = schema
    return row


def _mcp(world: World, rng: random.Random) -> ToolworldRow:
    tools = _some_tools(world, rng, 2, 3)
    request = ask(rng.choice(tools), world.pool, rng)
    schemas = [function_schema(tool) for tool in tools]
    for schema in schemas:
        schema["inputSchema"] = schema.pop("parameters")
    call = {"name": request.tool.name, "arguments": request.arguments}
    messages = [
        {"role": "system", "content": MCP_SYSTEM},
        _user(_sentence(request.text, rng)),
        {"role": "assistant", "content": "", "tool_calls": [_call("tools/list", {})]},
        {"role": "tool", "name": "tools/list", "content": json.dumps({"tools": schemas})},
        {"role": "assistant", "content": "", "tool_calls": [_call("tools/call", call)]},
    ]
    return _row(messages, [])


_BUILDERS: dict[str, Callable[[World, random.Random], ToolworldRow]] = {
    "single": _single,
    "choice": _choice,
    "parallel": _parallel,
    "plan": _plan,
    "missing_argument": _missing_argument,
    "irrelevant": _irrelevant,
    "json_output": _json_output,
    "safety": _safety,
    "mcp": _mcp,
}
