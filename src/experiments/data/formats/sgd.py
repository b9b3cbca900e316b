"""Convert dialogues of Schema-Guided Dialogue: calls of services, their results and the talk.

Columns: `turns` and `services`, and `service_schemas`, which `data.service_schemas` adds from the
file beside the dialogues. Each intent of a service is a tool, `<service>_<intent>`, with its slots
as text parameters. A call of a turn is an assistant message with the first three results as its
answer, followed by what the system says. Source: google-research-datasets/
dstc8-schema-guided-dialogue.
"""

import json
from typing import Any

from experiments.data.formats import call_syntaxes, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_MOST_RESULTS = 3


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `turns` with the tools of `service_schemas`."""
    dialogue = turns.column(raw, "turns")
    if not isinstance(dialogue, list):
        raise Rejected("malformed_turns", f"not a list: {excerpt(dialogue)}")
    try:
        offered = [
            _tool(service, intent)
            for service in turns.column(raw, "service_schemas")
            for intent in service["intents"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected("malformed_tools", f"the schema of a service lacks {error}") from None
    try:
        messages = [message for turn in dialogue for message in _messages(turn)]
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected("malformed_turns", f"a turn lacks {error}") from None
    return messages, tools.of_list(offered)


def _tool(service: Row, intent: Row) -> Row:
    slots = {slot["name"]: slot for slot in service["slots"]}
    optional = intent["optional_slots"]
    properties = {
        name: _parameter(slots[name], optional.get(name))
        for name in [*intent["required_slots"], *optional]
    }
    return {
        "name": f"{service['service_name']}_{intent['name']}",
        "description": intent["description"],
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": list(intent["required_slots"]),
        },
    }


def _parameter(slot: Row, default: Any) -> Row:
    parameter: Row = {"type": "string", "description": slot["description"]}
    if slot["is_categorical"]:
        parameter["enum"] = list(slot["possible_values"])
    return parameter | ({"default": default} if default else {})


def _messages(turn: Row) -> list[Row]:
    if turn["speaker"] == "USER":
        return [{"role": "user", "content": turn["utterance"]}]
    if turn["speaker"] != "SYSTEM":
        raise Rejected("unknown_role", f"{turn['speaker']!r} is not USER or SYSTEM")
    messages: list[Row] = []
    for frame in turn["frames"]:
        call = frame.get("service_call")
        if call is not None:
            name = f"{frame['service']}_{call['method']}"
            made = call_syntaxes.of_value({"name": name, "arguments": call["parameters"]})
            results = json.dumps(frame["service_results"][:_MOST_RESULTS], ensure_ascii=False)
            messages += [turns.assistant("", [made]), turns.result(results, name)]
    return [*messages, turns.assistant(turn["utterance"])]
