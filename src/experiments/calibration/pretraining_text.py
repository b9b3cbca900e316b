"""Generate the documents that the embedded base is pretrained on.

The base must have the skills that a LoRA then adapts to one exact behaviour: chat turns, JSON,
schemas, choosing a tool, and above all copying values it has never seen. Half of the text
therefore consists of toolworld-like conversations about invented tools and values, with calls in
several styles of which the exact one is rare. The rest practises copying, look-ups and plain
sentences.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from experiments.calibration.pretraining_vocabulary import (
    ADJECTIVES,
    NOUNS,
    PARAMETERS,
    SMALL,
    TOPICS,
    VERBS,
)
from experiments.calibration.pretraining_worlds import common_or_invented, random_world
from experiments.data import toolworld_conversations, toolworld_requests
from experiments.data.toolworld_vocabulary import (
    MONTHS,
    NUMBER_WORDS,
    World,
)

TOOLS_INTRODUCTION = "You may call these tools:"

# Share of each style of writing a call. The exact chat format is deliberately rare: it is what
# adapters learn, and the untuned base must score well below them.
CALL_STYLES = {"exact": 0.2, "python": 0.4, "object": 0.32, "lines": 0.08}
_CATEGORY_WEIGHTS = {
    "single": 2.0,
    "choice": 3.0,
    "parallel": 2.0,
    "plan": 2.5,
    "missing_argument": 1.0,
    "irrelevant": 1.0,
    "json_output": 1.5,
    "safety": 0.4,
    "mcp": 2.0,
}

_SESSION_CATEGORIES = ("choice", "choice", "choice", "parallel", "parallel", "missing_argument")


def documents(rng: random.Random) -> Iterator[str]:
    """Yield documents endlessly; the same generator state gives the same text."""
    kinds = list(_DOCUMENTS)
    while True:
        world = random_world(rng)
        for _ in range(6):
            kind = rng.choices(kinds, [_DOCUMENTS[kind] for kind in kinds])[0]
            yield kind(world, rng)


def render_chat(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], style: str = "exact"
) -> str:
    """Render a conversation as the chat template does, with calls in one of `CALL_STYLES`.

    With the style `exact`, the text equals the output of the base's chat template.
    """
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        schemas = "\n".join(json.dumps(tool["function"]) for tool in tools)
        prefix = f"{system}\n" if system else ""
        system = f"{prefix}{TOOLS_INTRODUCTION}\n<tools>\n{schemas}\n</tools>"
    text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    for message in messages:
        if message["role"] == "system":
            continue
        role, content = message["role"], message["content"]
        if role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        calls = message.get("tool_calls", [])
        call_text = "\n".join(_CALL_WRITERS[style](call["function"]) for call in calls)
        text += f"<|im_start|>{role}\n{content}{call_text}<|im_end|>\n"
    return text


def _exact_call(call: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def _python_call(call: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key}={json.dumps(value)}" for key, value in call["arguments"].items())
    return f"<tool_call>\n{call['name']}({arguments})\n</tool_call>"


def _object_call(call: dict[str, Any]) -> str:
    return json.dumps({"tool": call["name"], "input": call["arguments"]})


def _lines_call(call: dict[str, Any]) -> str:
    lines = [f"{key}: {json.dumps(value)}" for key, value in call["arguments"].items()]
    return "\n".join([f"Call {call['name']}", *lines])


_CALL_WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "exact": _exact_call,
    "python": _python_call,
    "object": _object_call,
    "lines": _lines_call,
}


def _chat(world: World, rng: random.Random) -> str:
    category = rng.choices(list(_CATEGORY_WEIGHTS), list(_CATEGORY_WEIGHTS.values()))[0]
    row = toolworld_conversations.conversation(category, world, rng)
    if category in ("missing_argument", "irrelevant", "safety"):
        row["messages"][-1]["content"] = _reworded(row, rng)
    return render_chat(row["messages"], row["tools"], _style(rng))


def _session(world: World, rng: random.Random) -> str:
    """Use the same tools several times: three times the calls per token of a short chat."""
    tools = tuple(rng.sample(world.tools, rng.randint(2, 3)))
    world = replace(world, tools=tools)
    if rng.random() < 0.25:
        return _mcp_session(replace(world, tools=tools[:2]), rng)
    return _exchanges(world, rng.randint(2, 3), rng)


def _mcp_session(world: World, rng: random.Random) -> str:
    """Make several calls after one tools/list."""
    messages = toolworld_conversations.conversation("mcp", world, rng)["messages"]
    for _ in range(rng.randint(1, 2)):
        user, answer = toolworld_conversations.conversation("choice", world, rng)["messages"]
        call = answer["tool_calls"][0]["function"]
        answer["tool_calls"] = [{"function": {"name": "tools/call", "arguments": call}}]
        messages += [user, answer]
    return render_chat(messages, [], _style(rng))


def _style(rng: random.Random) -> str:
    return rng.choices(list(CALL_STYLES), list(CALL_STYLES.values()))[0]


def _matching(world: World, rng: random.Random) -> str:
    """Choose among tools without parameters, several times."""
    tools = rng.sample(world.tools, rng.randint(3, 6))
    tools_without_parameters = tuple(replace(tool, parameters={}, clauses={}) for tool in tools)
    return _exchanges(
        replace(world, tools=tools_without_parameters), rng.randint(4, 6), rng, "choice"
    )


def _exchanges(world: World, count: int, rng: random.Random, category: str | None = None) -> str:
    messages = []
    for _ in range(count):
        drawn_category = category or rng.choice(_SESSION_CATEGORIES)
        row = toolworld_conversations.conversation(drawn_category, world, rng)
        if drawn_category == "missing_argument":
            row["messages"][-1]["content"] = _reworded(row, rng)
        messages += row["messages"]
    tools = [{"function": toolworld_requests.function_schema(tool)} for tool in world.tools]
    return render_chat(messages, tools, _style(rng))


def _reworded(row: toolworld_conversations.ToolworldRow, rng: random.Random) -> str:
    """Answer a turn that needs no call in other words than the toolworld's."""
    if row["category"] == "missing_argument":
        name = row["messages"][-1]["content"].split()[1]
        return rng.choice((f"Please tell me the {name}.", f"The {name} is missing.", f"{name}?"))
    if row["category"] == "irrelevant":
        return rng.choice(("That is not possible here.", "No tool fits.", "None of these."))
    return rng.choice(("No.", "I will not do that.", "That would be wrong."))


def _repetition(world: World, rng: random.Random) -> str:
    """Write a list of invented words and numbers, then repeat it."""
    values = [_any_value(world, rng) for _ in range(rng.randint(3, 9))]
    label = rng.choice(("Again: ", "Copy: ", "Once more: ", ""))
    start, stop = rng.choice((("[", "]"), ("", "."), ('"', '"')))
    text = start + ", ".join(values) + stop
    return f"{text}\n{label}{text}\n{label}{text}"


def _any_value(world: World, rng: random.Random) -> str:
    kind = rng.choice(("city", "person", "item", "text", "title", "id", "int", "float", "phone"))
    return str(toolworld_requests.draw_value(kind, world.pool, rng)[1])


def _lookup(world: World, rng: random.Random) -> str:
    """State facts, then ask questions about some of them."""
    relation = common_or_invented(PARAMETERS, rng, 0.3)
    keys = list(dict.fromkeys(_any_value(world, rng) for _ in range(rng.randint(2, 6))))
    facts = {key: _any_value(world, rng) for key in keys}
    form = rng.choice(("The {} of {} is {}.", "{} of {}: {}", "{2} is the {0} of {1}."))
    lines = [form.format(relation, key, value) for key, value in facts.items()]
    asked_keys = rng.sample(keys, min(3, len(keys)))
    lines += [f"What is the {relation} of {key}? {json.dumps(facts[key])}" for key in asked_keys]
    return "\n".join(lines)


def _record_json(world: World, rng: random.Random) -> str:
    """Write a sentence and its values as JSON."""
    text, value = toolworld_requests.state(rng.choice(world.records), world.pool, rng)
    return f"{text}\n{json.dumps(value)}"


def _sentences(world: World, rng: random.Random) -> str:
    return " ".join(_sentence(world, rng) for _ in range(rng.randint(3, 8)))


def _sentence(world: World, rng: random.Random) -> str:
    noun, other, verb = rng.choice(NOUNS), rng.choice(NOUNS), rng.choice(VERBS)
    city, person = rng.choice(world.pool.cities), rng.choice(world.pool.first_names)
    small, adjective = rng.choice(SMALL), rng.choice(ADJECTIVES)
    number, month = rng.choice(NUMBER_WORDS), rng.choice(MONTHS)
    one, two, three = rng.sample(TOPICS, 3)
    forms = (
        f"The {adjective} {noun} is {small} the {other}.",
        f"I want to {verb} the {noun} in {city}.",
        f"{person} will {verb} {number} {noun}s in {month}.",
        f"Can you {verb} my {noun} {small} {person}, please?",
        f"We need a {adjective} {noun} for {person}, thanks.",
        f"Tell {person} how much the {noun} is.",
        f"{person} does not {verb} it without the {noun}.",
        f"What is the {noun} of {person}? It is {adjective}.",
        f"{one.capitalize()} the {two}, {three} {number}!",
        f"The {one} {small} {city}, and my {two}: {three} it {small} {noun}?",
        f"{one}, {two} or {three}",
    )
    return rng.choice(forms)


_DOCUMENTS: dict[Callable[[World, random.Random], str], float] = {
    _chat: 0.45,
    _session: 0.25,
    _matching: 0.12,
    _repetition: 0.07,
    _lookup: 0.07,
    _record_json: 0.06,
    _sentences: 0.05,
}
