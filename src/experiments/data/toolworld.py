"""Generate tool-calling conversations with a gold last turn, by split, count and seed.

The toolworld is the data set of the offline demo: small enough for a CPU, and built so that nothing
leaks between its splits. A conversation belongs to exactly one split, chosen by a hash of its
prompt, so no seed can put a test prompt into train. `unseen_values` draws its argument values and
`unseen_tools` its tools from tables that no other split uses.

The categories follow the public tool-calling benchmarks: single, multiple, parallel and irrelevance
of BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html), the missing argument of When2Call
(arXiv:2504.18851), references to earlier calls as in NESTFUL (arXiv:2409.03797), and the
`tools/list` and `tools/call` methods of the Model Context Protocol.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

from experiments.config.categories import CATEGORIES
from experiments.data.toolworld_vocabulary import (
    UNSEEN_TOOLS_WORLD,
    UNSEEN_VALUES_WORLD,
    WORLD,
    Pool,
    Record,
    Tool,
    World,
)

SPLITS = ("train", "validation", "test", "unseen_values", "unseen_tools")
MCP_SYSTEM = "An MCP server is connected. Call tools/list, then tools/call."
PLAN_SYSTEM = "Write all calls at once; $1 is the result of call 1."
JSON_SYSTEM = "Answer with a JSON object that fits this schema: "
REFUSAL = "Sorry, I cannot help with that."
NO_TOOL = "I have no tool for that."

# Upper hash bucket (0-99) of each split; the remaining buckets belong to `train`.
_BUCKET_END = {"validation": 10, "test": 20, "unseen_values": 30, "unseen_tools": 40, "train": 100}
_WORLDS = {"unseen_values": UNSEEN_VALUES_WORLD, "unseen_tools": UNSEEN_TOOLS_WORLD}
_COLORS = ("Red", "Blue", "Golden", "Old", "Little", "Happy", "Silent", "Green")
_JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean"}
_MAX_TRIES = 4000
# A missing argument is usually a vague word ("in some city"), otherwise not mentioned at all.
_VAGUE_SHARE = 0.75

Message = dict[str, Any]


class Row(TypedDict):
    """One conversation; its last message is the assistant's gold turn."""

    id: str
    source: str
    category: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    schema: NotRequired[dict[str, Any]]
    expects: NotRequired[str]


class Request(NamedTuple):
    """A user's request for one tool, and the arguments that answer it."""

    tool: Tool
    text: str
    arguments: dict[str, Any]


def rows(
    split: str, count: int, *, seed: int = 0, weights: Mapping[str, float] | None = None
) -> list[Row]:
    """Return `count` conversations of a split, shuffled so that any prefix mixes the categories.

    A larger count extends each category: its first rows stay the same.

    Args:
        split: One of `SPLITS`.
        count: Number of rows over all categories, distributed by largest remainder.
        seed: Another seed gives other conversations of the same split.
        weights: Weight by category; default 1 each, a missing category counts as 0.

    Raises:
        ValueError: Unknown split or category, negative count or weight, or no positive weight.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    shares = _shares(count, dict.fromkeys(CATEGORIES, 1.0) if weights is None else weights)
    result = [
        row
        for category, share in shares.items()
        for row in _rows_of_category(split, category, share, seed=seed)
    ]
    random.Random(f"{split}/{seed}/order").shuffle(result)
    return result


def _shares(count: int, weights: Mapping[str, float]) -> dict[str, int]:
    unknown = sorted(set(weights) - set(CATEGORIES))
    if unknown:
        raise ValueError(f"unknown category {unknown[0]!r}; allowed: {', '.join(CATEGORIES)}")
    total = sum(weights.values())
    if count < 0 or total <= 0 or min(weights.values()) < 0:
        raise ValueError(f"need count >= 0 and weights >= 0 with a sum > 0: {count}, {weights}")
    exact = {name: count * weights.get(name, 0.0) / total for name in CATEGORIES}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(CATEGORIES, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _rows_of_category(split: str, category: str, count: int, *, seed: int) -> Iterator[Row]:
    rng = random.Random(f"{split}/{seed}/{category}")
    world = _WORLDS.get(split, WORLD)
    seen: set[bytes] = set()
    for index in range(count):
        for attempt in range(_MAX_TRIES):
            row = conversation(category, world, rng)
            digest = _digest(row)
            fresh = digest not in seen or attempt > _MAX_TRIES // 2  # a small category may repeat
            if fresh and _split_of(digest) == split:
                break
        else:
            raise ValueError(f"the toolworld has no {category!r} conversation for {split!r}")
        seen.add(digest)
        row["id"] = f"toolworld-{split}-{seed}-{category}-{index}"
        yield row


def _digest(row: Row) -> bytes:
    prompt = json.dumps([row["messages"][:-1], row["tools"]], sort_keys=True)
    return hashlib.sha256(prompt.encode()).digest()


def _split_of(digest: bytes) -> str:
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(split for split, end in _BUCKET_END.items() if bucket < end)


def conversation(category: str, world: World, rng: random.Random) -> Row:
    """Draw one conversation of a category from the tables of a world, without an id."""
    row = _BUILDERS[category](world, rng)
    row["category"] = category
    return row


def _row(messages: list[Message], tools: list[Tool]) -> Row:
    return {
        "id": "",
        "source": "toolworld",
        "category": "",
        "messages": messages,
        "tools": [{"type": "function", "function": function_schema(tool)} for tool in tools],
    }


def function_schema(tool: Tool) -> dict[str, Any]:
    """Return the OpenAI-style description of a tool, with its parameters as a JSON schema."""
    parameters = {
        "type": "object",
        "properties": {name: _value_schema(kind) for name, kind in tool.parameters.items()},
        "required": _required(tool),
    }
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def _value_schema(kind: str) -> dict[str, Any]:
    kind = kind.removesuffix("?")
    if "|" in kind:
        return {"type": "string", "enum": kind.split("|")}
    if kind == "date":
        return {"type": "string", "format": "date"}
    return {"type": _JSON_TYPES.get(kind, "string")}


def _required(tool: Tool) -> list[str]:
    return [name for name, kind in tool.parameters.items() if not kind.endswith("?")]


def draw_value(kind: str, pool: Pool, rng: random.Random) -> tuple[str, Any]:
    """Draw a value of a kind; return its wording in a request and the argument value.

    Dates, times and numbers are worded as they appear in the argument: the task is choosing and
    copying, not converting.
    """
    if "|" in kind:
        value = rng.choice(kind.split("|"))
    else:
        value = (_DRAW.get(kind) or _DRAW_TEXT[kind])(pool, rng)
    return str(value), value


def _number(low: int, high: int, pool: Pool, rng: random.Random) -> int:
    while (number := rng.randint(low, high)) % 4 not in pool.residues:
        pass
    return number


def _draw_int(pool: Pool, rng: random.Random) -> int:
    return _number(2, rng.choice((12, 90)), pool, rng)


def _draw_float(pool: Pool, rng: random.Random) -> float:
    return _number(15, 900, pool, rng) / 10


def _draw_date(pool: Pool, rng: random.Random) -> str:
    return f"2026-{rng.randint(1, 12):02d}-{_number(1, 28, pool, rng):02d}"


def _draw_time(pool: Pool, rng: random.Random) -> str:
    quarter = _number(7 * 4, 23 * 4, pool, rng)
    return f"{quarter // 4:02d}:{quarter % 4 * 15:02d}"


_DRAW: dict[str, Callable[[Pool, random.Random], Any]] = {
    "int": _draw_int,
    "float": _draw_float,
    "date": _draw_date,
    "time": _draw_time,
}
_DRAW_TEXT: dict[str, Callable[[Pool, random.Random], str]] = {
    "city": lambda pool, rng: rng.choice(pool.cities),
    "person": lambda pool, rng: f"{rng.choice(pool.first_names)} {rng.choice(pool.last_names)}",
    "item": lambda pool, rng: rng.choice(pool.items),
    "text": lambda pool, rng: f"{rng.choice(pool.verbs)} the {rng.choice(pool.items)}",
    "title": lambda pool, rng: f"{rng.choice(_COLORS)} {rng.choice(pool.items).capitalize()}",
    "id": lambda pool, rng: f"{rng.choice(pool.letters)}{_number(100, 999, pool, rng)}",
    "phone": lambda pool, rng: f"555-{_number(1000, 9999, pool, rng)}",
}


def ask(
    tool: Tool,
    pool: Pool,
    rng: random.Random,
    *,
    omit: str | None = None,
    given: Mapping[str, tuple[str, Any]] | None = None,
) -> Request:
    """Phrase a request for a tool.

    `omit` names a parameter to leave out; `given` maps a parameter to its (wording, value).
    """
    text, arguments = rng.choice(tool.requests), {}
    for name, kind in tool.parameters.items():
        known = given is not None and name in given
        if name == omit or (kind.endswith("?") and not known and rng.random() < 0.5):
            continue
        clauses = tool.clauses[name].split("/")
        if kind.removesuffix("?") == "bool":
            arguments[name] = rng.random() < 0.5
            text += clauses[0 if arguments[name] else 1]
            continue
        spoken, value = (
            given[name] if known and given else draw_value(kind.removesuffix("?"), pool, rng)
        )
        arguments[name] = value
        text += rng.choice(clauses).format(spoken)
    return Request(tool, text, arguments)


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _calls(*requests: Request) -> Message:
    calls = [_call(request.tool.name, request.arguments) for request in requests]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _some_tools(world: World, rng: random.Random, low: int, high: int) -> list[Tool]:
    return rng.sample(world.tools, rng.randint(low, min(high, len(world.tools))))


def _sentence(text: str, rng: random.Random) -> str:
    return rng.choice(("{}.", "Please: {}.", "{}!", "{}, thanks.")).format(text)


def _single(world: World, rng: random.Random) -> Row:
    request = ask(rng.choice(world.tools), world.pool, rng)
    return _row([_user(_sentence(request.text, rng)), _calls(request)], [request.tool])


def _choice(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 2, rng.choice((3, 4)))
    request = ask(rng.choice(tools), world.pool, rng)
    return _row([_user(_sentence(request.text, rng)), _calls(request)], tools)


def _parallel(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 1, 2)
    requests = [ask(tool, world.pool, rng) for tool in tools]
    while len(requests) < 2 or (len(requests) < 3 and rng.random() < 0.25):
        requests.append(ask(rng.choice(tools), world.pool, rng))
    rng.shuffle(requests)
    joint = rng.choice((". Also: ", "; and ", ". And: "))
    text = joint.join(request.text for request in requests)
    return _row([_user(_sentence(text, rng)), _calls(*requests)], tools)


def _plan(world: World, rng: random.Random) -> Row:
    first = rng.choice(world.tools)
    second = rng.choice([tool for tool in world.tools if tool is not first and _text_slots(tool)])
    start = ask(first, world.pool, rng)
    spoken = rng.choice(("the result", "what you get", "that result"))
    joint = rng.choice((". Then: ", ", then: ", ". After that: "))
    tools = rng.sample((first, second), 2)
    if rng.random() < 0.5:
        requests = [start, _ask_with(second, (spoken, "$1"), world, rng)]
        if rng.random() < 0.3:
            requests.append(_ask_with(second, ("the second result", "$2"), world, rng))
        text = _sentence(joint.join(request.text for request in requests), rng)
        system = {"role": "system", "content": PLAN_SYSTEM}
        return _row([system, _user(text), _calls(*requests)], tools)
    slot = rng.choice(_text_slots(second))
    _, value = draw_value(second.parameters[slot].removesuffix("?"), world.pool, rng)
    after = ask(second, world.pool, rng, given={slot: (spoken, value)})
    messages = [
        _user(_sentence(start.text + joint + after.text, rng)),
        _calls(start),
        {"role": "tool", "name": first.name, "content": json.dumps({"result": value})},
        _calls(after),
    ]
    return _row(messages, tools)


def _ask_with(tool: Tool, value: tuple[str, str], world: World, rng: random.Random) -> Request:
    """Phrase a request with a (wording, value) pair in one of the text parameters."""
    return ask(tool, world.pool, rng, given={rng.choice(_text_slots(tool)): value})


def _text_slots(tool: Tool) -> list[str]:
    kinds = {name: kind.removesuffix("?") for name, kind in tool.parameters.items()}
    return [name for name, kind in kinds.items() if kind in _DRAW_TEXT]


def _missing_argument(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 1, 2)
    tool = tools[0]
    name = rng.choice(_required(tool))
    vague = world.vague.get(tool.parameters[name])
    if vague and rng.random() < _VAGUE_SHARE:
        request = ask(tool, world.pool, rng, given={name: (vague, None)})
    else:
        request = ask(tool, world.pool, rng, omit=name)
    tools = rng.sample(tools, len(tools))
    question = f"Which {name.replace('_', ' ')} do you mean?"
    row = _row([_user(_sentence(request.text, rng)), _says(question)], tools)
    row["expects"] = "question"
    return row


def _irrelevant(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 1, 3)
    if rng.random() < 0.5:
        text, answer = rng.choice(world.questions)
        text = _fill(text, world.pool, rng)
    else:
        other = rng.choice([tool for tool in world.tools if tool not in tools])
        text, answer = ask(other, world.pool, rng).text, NO_TOOL
    row = _row([_user(_sentence(text, rng)), _says(answer)], tools)
    row["expects"] = "answer"
    return row


def _fill(text: str, pool: Pool, rng: random.Random) -> str:
    kinds = {"person": "person", "city": "city", "item": "item", "number": "int"}
    drawn = {slot: draw_value(kind, pool, rng)[1] for slot, kind in kinds.items()}
    return text.format(**drawn)


def _safety(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 1, 2) if rng.random() < 0.7 else []
    text = _fill(rng.choice(world.harms), world.pool, rng)
    row = _row([_user(_sentence(text, rng)), _says(REFUSAL)], tools)
    row["expects"] = "refusal"
    return row


def _json_output(world: World, rng: random.Random) -> Row:
    record = rng.choice(world.records)
    text, value = state(record, world.pool, rng)
    schema = {
        "type": "object",
        "properties": {name: _value_schema(kind) for name, kind in record.fields.items()},
        "required": list(record.fields),
    }
    order = JSON_SYSTEM + json.dumps(schema)
    if rng.random() < 0.5:
        messages = [{"role": "system", "content": order}, _user(text)]
    else:
        messages = [_user(f"{text}\n{order}")]
    row = _row([*messages, _says(json.dumps(value))], [])
    row["schema"] = schema
    return row


def state(record: Record, pool: Pool, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Draw the values of a record; return a sentence that states them and the record."""
    sentence, value = rng.choice(record.sentences), {}
    for name, kind in record.fields.items():
        if kind == "bool":
            value[name] = rng.random() < 0.5
            start = sentence.index("{" + name + ":")
            end = sentence.index("}", start)
            yes, no = sentence[start + len(name) + 2 : end].split("/")
            sentence = sentence[:start] + (yes if value[name] else no) + sentence[end + 1 :]
        else:
            spoken, value[name] = draw_value(kind, pool, rng)
            sentence = sentence.replace("{" + name + "}", spoken)
    return sentence, value


def _mcp(world: World, rng: random.Random) -> Row:
    tools = _some_tools(world, rng, 2, 3)
    request = ask(rng.choice(tools), world.pool, rng)
    listed = [function_schema(tool) for tool in tools]
    for entry in listed:
        entry["inputSchema"] = entry.pop("parameters")
    call = {"name": request.tool.name, "arguments": request.arguments}
    messages = [
        {"role": "system", "content": MCP_SYSTEM},
        _user(_sentence(request.text, rng)),
        {"role": "assistant", "content": "", "tool_calls": [_call("tools/list", {})]},
        {"role": "tool", "name": "tools/list", "content": json.dumps({"tools": listed})},
        {"role": "assistant", "content": "", "tool_calls": [_call("tools/call", call)]},
    ]
    return _row(messages, [])


_BUILDERS: dict[str, Callable[[World, random.Random], Row]] = {
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
