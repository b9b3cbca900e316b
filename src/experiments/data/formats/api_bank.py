"""Convert rows of API-Bank: a dialogue as text, and the next call or the next answer.

Columns: `instruction` and `input`, which contain the descriptions of the APIs (one JSON object per
line) and the dialogue, and `output` (training) or `expected_output` (test). A line of the dialogue
begins with `User:`, `AI:` or `API-Request:`; the last is a list of calls with its result after
`->`. All parameters of an API are required. The instruction itself is left out, because it asks for
a syntax of its own. Source: `training-data` and `test-data` of liminghao1630/API-Bank and
`json_test_data` of AlibabaResearch/DAMO-ConvAI.
"""

import json
import re
from collections.abc import Iterator

from experiments.data.formats import call_syntaxes, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

_TURN = re.compile(r"^(User|AI|API-Request):", re.MULTILINE)
_REQUEST = re.compile(r"^Generate [^\n]*:\s*\Z", re.MULTILINE)
_DESCRIPTIONS = "API descriptions:"


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `instruction`, `input` and the output."""
    instruction = turns.text(turns.column(raw, "instruction"), "column instruction")
    dialogue = turns.text(turns.column(raw, "input"), "column input")
    output = turns.text(turns.column(raw, "output", "expected_output"), "the output")
    first = _TURN.search(dialogue)
    if first is None:
        raise Rejected("unknown_layout", f"no turn in the input: {excerpt(dialogue)}")
    described = instruction.partition(_DESCRIPTIONS)[2] + "\n" + dialogue[: first.start()]
    toolset = tools.of_list([_tool(api) for api in _apis(described)], flat=True)
    spoken = _REQUEST.sub("", dialogue[first.start() :])
    # The answers of some files are without their speaker.
    answer = list(_messages(output)) if _TURN.match(output) else [turns.assistant(output.strip())]
    return [*_messages(spoken), *answer], toolset


def _apis(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        if line.lstrip().startswith("{"):
            try:
                api = json.loads(line)
            except ValueError as error:
                raise Rejected("malformed_tools", f"{error}: {excerpt(line)}") from None
            yield api


def _tool(api: Row) -> Row:
    parameters = api.get("input_parameters", api.get("parameters"))
    if not isinstance(parameters, dict):
        raise Rejected("malformed_tools", f"an API without parameters: {excerpt(api)}")
    return {
        "name": api.get("name", api.get("apiCode")),
        "description": api.get("description"),
        "parameters": parameters,
        "required": list(parameters),
    }


def _messages(text: str) -> Iterator[Row]:
    pieces = _TURN.split(text)
    if pieces[0].strip():
        raise Rejected("unknown_layout", f"text before the first turn: {excerpt(pieces[0])}")
    for speaker, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if speaker == "User":
            yield {"role": "user", "content": content.strip()}
        elif speaker == "AI":
            yield turns.assistant(content.strip())
        else:
            yield from _request(content.strip())


def _request(text: str) -> Iterator[Row]:
    """Yield the message of a list of calls, and that of its result."""
    if not text.startswith("["):
        raise Rejected("malformed_call", f"not in brackets: {excerpt(text)}")
    end = call_syntaxes.closing(text, 0) + 1
    calls = call_syntaxes.bracket(text[:end])
    yield turns.assistant("", calls)
    arrow, result = text[end : end + 2], text[end + 2 :]
    if arrow == "->":
        if len(calls) != 1:
            raise Rejected("malformed_turns", f"one result for {len(calls)} calls")
        yield turns.result(result.strip())
    elif text[end:].strip():
        raise Rejected("text_after_call", excerpt(text[end:]))
