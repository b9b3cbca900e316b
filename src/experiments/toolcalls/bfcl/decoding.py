"""Decode a model's answer into calls `{name: {parameter: value}}`, as BFCL v4 does.

There are three formats: `fc`, the list `[{name: "json arguments"}]` of a function-calling API;
`tool_call`, text with Qwen's tags; `python`, text with a bracketed list of Python calls. What
upstream parses, skips or gives up on is reproduced, even where it is surprising. In addition,
`malformed` marks answers with a broken call, because upstream takes such an answer for a polite
refusal.

Rules: ShishirPatil/gorilla@6ea5797, `bfcl_eval/model_handler` (Apache-2.0), re-implemented.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from experiments.errors import ConfigError, did_you_mean
from experiments.toolcalls.bfcl.arithmetic import evaluate

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINKING_END = "</think>"
DECODER_FAILED = "ast_decoder:decoder_failed"
WRONG_SHAPE = "ast_decoder:decoder_wrong_output_format"

Call = dict[Any, Any]
"""One key, the function name; its value maps parameters to values. A broken call's name may not be
text."""

# All exceptions that parsing text as JSON or Python, and bounded evaluation, can raise.
_PARSE_ERRORS = (ValueError, TypeError, SyntaxError, ArithmeticError, RecursionError, MemoryError)
_CALL_START = re.compile(r"\s*(\[|[A-Za-z_][\w.]*\()")


@dataclass(frozen=True)
class Decoded:
    """The calls of an answer, or why there are none to check."""

    calls: list[Call] | None
    """None if decoding failed; an empty list is an answer without calls."""
    error_type: str | None = None
    """`ast_decoder:decoder_failed` or `ast_decoder:decoder_wrong_output_format`."""
    malformed: bool = False
    """Whether the answer contains a broken call, whatever upstream's result."""


def decode(output: object, format: str) -> Decoded:
    """Decode one answer; never raises for any answer.

    >>> decode([{"add": '{"a": 1}'}], "fc").calls
    [{'add': {'a': 1}}]
    >>> decode("[add(a=1), add(a=-2)]", "python").calls
    [{'add': {'a': 1}}, {'add': {'a': -2}}]

    Args:
        output: a list for `fc`, text otherwise; anything else is a decoding failure.
        format: `fc`, `tool_call` or `python`.

    Raises:
        ConfigError: unknown format.
    """
    check_format(format)
    return _READERS[format](output)


def check_format(format: str) -> None:
    """Check that a format is supported.

    Raises:
        ConfigError: unknown format.
    """
    if format not in FORMATS:
        raise ConfigError(f"format '{format}': {did_you_mean(format, FORMATS)}.")


def _failed(*, malformed: bool) -> Decoded:
    return Decoded(None, DECODER_FAILED, malformed)


def _read_fc(output: object) -> Decoded:
    if output in ("", {}):
        return Decoded([])  # upstream loops over it zero times
    if not isinstance(output, list):
        return _failed(malformed=not isinstance(output, str))  # text is an answer without calls
    calls: list[Call] = []
    malformed = False
    for entry in output:
        if not isinstance(entry, dict) or not entry:
            return _failed(malformed=True)
        malformed = malformed or len(entry) > 1  # upstream reads only the first key
        name, arguments = next(iter(entry.items()))
        try:
            calls.append({name: json.loads(arguments)})
        except _PARSE_ERRORS:
            return _failed(malformed=True)
    if not all(type(arguments) is dict for call in calls for arguments in call.values()):
        return Decoded(None, WRONG_SHAPE, True)
    return Decoded(calls, malformed=malformed)


def _read_tags(output: object) -> Decoded:
    if not isinstance(output, str):
        return _failed(malformed=True)
    blocks, prose = _scan(output.rpartition(THINKING_END)[2])
    malformed = any(tag in part for part in prose for tag in (OPEN, CLOSE))
    values: list[Any] = []
    for block in blocks:
        try:
            values.append(json.loads(block))
        except _PARSE_ERRORS:
            malformed = True  # upstream skips the block silently
    calls: list[Call] = []
    for value in values:
        if not isinstance(value, dict) or not isinstance(value.get("arguments"), dict):
            return _failed(malformed=True)
        # A name that is a list or an object cannot be a key; null and numbers can.
        if "name" not in value or isinstance(value["name"], list | dict):
            return _failed(malformed=True)
        calls.append({value["name"]: value["arguments"]})
        malformed = malformed or not isinstance(value["name"], str)
    return Decoded(calls, malformed=malformed)


def _scan(text: str) -> tuple[list[str], list[str]]:
    r"""Split text into the contents of `<tool_call>\n...\n</tool_call>` and the text around them.

    The result is that of the regular expression `<tool_call>\n(.*?)\n</tool_call>`, which takes
    quadratic time if tags are opened and never closed; this function takes linear time.
    """
    blocks: list[str] = []
    prose: list[str] = []
    position = 0
    while (start := text.find(OPEN + "\n", position)) >= 0:
        block_start = start + len(OPEN) + 1
        end = text.find("\n" + CLOSE, block_start)
        if end < 0:
            break
        prose.append(text[position:start])
        blocks.append(text[block_start:end])
        position = end + 1 + len(CLOSE)
    prose.append(text[position:])
    return blocks, prose


def _read_python(output: object) -> Decoded:
    if not isinstance(output, str):
        return _failed(malformed=True)
    text = output.strip("`\n ")
    looks_like_a_call = _CALL_START.match(text) is not None
    text = text if text.startswith("[") else "[" + text
    text = text if text.endswith("]") else text + "]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no warnings about "\d" in an answer
            body = ast.parse(text, mode="eval").body
        return Decoded([_call(element) for element in _elements(body)])
    except _PARSE_ERRORS:
        return _failed(malformed=looks_like_a_call)


def _elements(body: ast.expr) -> list[ast.expr]:
    if isinstance(body, ast.Call):  # `[f](x=1) # ]` is a call
        return [body]
    if isinstance(body, ast.List | ast.Tuple | ast.Set):
        return body.elts
    raise ValueError("not a list of calls")


def _call(node: ast.expr) -> Call:
    """Decode a call: positional arguments are dropped, `**more` becomes the parameter None."""
    if not isinstance(node, ast.Call):
        raise ValueError("an element is not a call")
    parts: list[str] = []
    name = node.func
    while isinstance(name, ast.Attribute):
        parts.append(name.attr)
        name = name.value
    if isinstance(name, ast.Name):
        parts.append(name.id)
    return {
        ".".join(reversed(parts)): {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    }


def _value(node: ast.expr | None) -> Any:
    """Decode a value; names, subscripts and calls without keywords become their source text.

    Raises:
        ValueError: an expression that upstream does not decode either, such as an attribute or a
            lambda.
    """
    decode_node = _NODE_DECODERS.get(type(node))
    if decode_node is None:
        raise ValueError(f"unsupported value {type(node).__name__}")
    return decode_node(node)


def _negated_literal(node: ast.UnaryOp) -> Any:
    """Negate a literal: like upstream, for every unary operator, including `+1`."""
    if isinstance(node.operand, ast.Constant):
        return -cast(Any, node.operand.value)
    raise ValueError("an operator before something other than a literal")


def _dict(node: ast.Dict) -> dict[Any, Any]:
    return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True)}


_NODE_DECODERS: dict[type, Callable[[Any], Any]] = {
    ast.Constant: lambda node: "..." if node.value is ... else node.value,
    ast.UnaryOp: _negated_literal,
    ast.BinOp: evaluate,
    ast.Name: lambda node: node.id,
    ast.List: lambda node: [_value(element) for element in node.elts],
    ast.Tuple: lambda node: tuple(_value(element) for element in node.elts),
    ast.Dict: _dict,
    ast.Call: lambda node: _call(node) if node.keywords else ast.unparse(node),
    ast.Subscript: lambda node: f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]",
}
_READERS: dict[str, Callable[[object], Decoded]] = {
    "fc": _read_fc,
    "tool_call": _read_tags,
    "python": _read_python,
}
FORMATS = tuple(_READERS)
