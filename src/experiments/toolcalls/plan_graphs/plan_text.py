"""Parse plan text or calls into steps with the references in their arguments.

Three formats are supported: TinyAgent's plan text (one numbered call per line), OpenAI-style calls
whose arguments refer to an earlier call by position (`$1`, `${1}`), and NESTFUL's calls with a
`label`, whose arguments contain `$var1.field$` or `$var_1.result$`.

The grammar of plan text is that of SqueezeAILab/TinyAgent@0074615 `src/utils/plan_utils.py`,
implemented as a line scanner that is fast on any text.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 64
"""Longer plans are not compared: comparing their graphs could take too long for an evaluation."""

TOOLS = frozenset(
    [
        *("append_note_content", "compose_new_email", "create_calendar_event", "create_note"),
        *("create_reminder", "forward_email", "get_email_address", "get_phone_number"),
        *("get_zoom_meeting_link", "join", "maps_open_location", "maps_show_directions"),
        *("open_and_get_file_path", "open_note", "reply_to_email", "send_sms", "summarize_pdf"),
    ]
)
"""TinyAgent's 16 tools and `join` (`src/utils/data_utils.py`, same commit)."""

# Possessive quantifiers and the lookbehind keep each search linear in the length of the line.
_STEP_HEAD = re.compile(r"(?<!\d)(\d++)\. (\w++)\(")
_FIRST_REFERENCE = re.compile(r"\$(\d++)")
_REFERENCE = re.compile(r"\$(?:(\d++)|\{(\d++)\})")
_LABEL_REFERENCE = re.compile(r"\$(?=(\w++)(?:[.\[][^$]*+)?\$)")
_LABEL_SHAPE = re.compile(r"var_?\d+")
_THOUGHT = "Thought: "


class PlanError(ValueError):
    """An invalid plan or one without a graph; the message begins with the name of the reason."""


@dataclass(frozen=True)
class Step:
    """One call of a plan."""

    tool: str
    needs: tuple[str, ...] = ()
    """References in its arguments, in order: step numbers, or labels if the plan has labels."""


@dataclass(frozen=True)
class Plan:
    """The steps of a plan, in the order of their positions."""

    steps: tuple[Step, ...]
    labels: dict[str, int] | None = None
    """Position of each label, counted from 1; None if references are positions."""
    outside: frozenset[str] = frozenset()
    """Labels that the label plan refers to although none of its calls has them."""


Source = str | list[Any]
"""A plan in source form: plan text, or a list of calls."""


def read(
    source: Source,
    *,
    quirks: bool = False,
    labelled: bool = False,
    outside: frozenset[str] | None = None,
) -> Plan:
    r"""Parse a plan in any of the formats.

    >>> read('1. a("x")\n2. b(["$1"])\n3. join()').steps[1]
    Step(tool='b', needs=('1',))

    Args:
        source: plan text, or a list of calls.
        quirks: parse plan text exactly as upstream does; upstream does not support calls.
        labelled: references in calls are labels; if no call has a label, the labels are `var1` and
            so on.
        outside: labels that may be missing, namely those missing in the label plan; None if this is
            the label plan.

    Raises:
        PlanError: the source is neither text nor calls, or has no steps or too many.
    """
    if isinstance(source, str):
        return _read_text(source, quirks=quirks)
    if quirks:
        raise PlanError("NotText: with quirks, a plan must be plan text, as in TinyAgent")
    return _read_calls(source, labelled=labelled, outside=outside)


def has_labels(source: Source) -> bool:
    """Return whether a plan is a list of calls of which any has a label, as in NESTFUL.

    >>> has_labels([{"name": "f", "arguments": {}, "label": "var1"}])
    True
    """
    calls = source if isinstance(source, list) else []
    return any(isinstance(call, dict) and "label" in _function(call) for call in calls)


def _read_text(text: str, *, quirks: bool) -> Plan:
    calls_by_number: dict[int, tuple[str, str]] = {}
    for number, tool, arguments in _calls_in_text(text):
        # A repeated number keeps its first position.
        calls_by_number[_step_number(number)] = tool, arguments
        if tool == "join":
            break
    pairs = list(calls_by_number.values())
    if quirks:
        first_unknown = next(
            (index for index, (tool, _) in enumerate(pairs) if tool not in TOOLS), len(pairs)
        )
        pairs = pairs[:first_unknown]
    elif not pairs and text.strip():
        raise PlanError('NoSteps: no line has the form of a step, such as 1. tool("value")')
    _refuse_too_large(len(pairs))
    find_references = _references_upstream if quirks else _references
    steps = (
        Step(tool, tuple(find_references(_arguments(argument_text))))
        for tool, argument_text in pairs
    )
    return Plan(tuple(steps))


def _step_number(number: str) -> int:
    try:
        return int(number)
    except ValueError as error:  # exceeds Python's limit on digits
        raise PlanError(f"ValueError: {error}") from error


def _calls_in_text(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield number, tool and the text between the parentheses of each step.

    A line contains at most one step, since its arguments extend to its last parenthesis. A line
    with a thought belongs to the step on the next line that is not blank, whatever else it
    contains.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        head = _match_head(line)
        if head is None:
            continue
        thought = line.find(_THOUGHT)
        if 0 <= thought < head.start() and _step_follows(lines, index):
            continue
        yield head[1], head[2], line[head.end() : line.rindex(")")]


def _match_head(line: str) -> re.Match[str] | None:
    head = _STEP_HEAD.search(line)
    return head if head and line.rfind(")") >= head.end() else None


def _step_follows(lines: list[str], index: int) -> bool:
    next_line = next((line.lstrip() for line in lines[index + 1 :] if line.strip()), "")
    head = _match_head(next_line)
    return head is not None and head.start() == 0


def _arguments(text: str) -> Iterable[Any]:
    """Return the arguments as Python literals, or the complete text if they are not literals."""
    if "$" not in text and "\\" not in text:
        return ()  # contains no reference, so it need not be parsed
    value: Any = text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ignore invalid escapes in an answer
            value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass  # upstream keeps the text too
    return value if isinstance(value, list | tuple) else (value,)


def _references_upstream(arguments: Iterable[Any]) -> Iterator[str]:
    for argument in arguments:
        for text in argument if isinstance(argument, list) else (argument,):
            if isinstance(text, str) and (match := _FIRST_REFERENCE.search(text)):
                yield match[1]


def _references(arguments: Any) -> Iterator[str]:
    for text in _texts(arguments):
        yield from dict.fromkeys(match[1] or match[2] for match in _REFERENCE.finditer(text))


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings at any depth of a value, in order."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending.extend(reversed(value.values()))
        elif isinstance(value, list | tuple):
            pending.extend(reversed(value))
        elif isinstance(value, set | frozenset):
            pending.extend(sorted(value, key=repr, reverse=True))


def _read_calls(calls: Any, *, labelled: bool, outside: frozenset[str] | None) -> Plan:
    if not isinstance(calls, list):
        raise PlanError(f"NotAPlan: a {type(calls).__name__} is neither plan text nor calls")
    _refuse_too_large(len(calls))
    functions = [_function(call) for call in calls]
    pairs = [_name_and_arguments(call, index) for index, call in enumerate(functions, 1)]
    if not labelled:
        return Plan(tuple(Step(name, tuple(_references(arguments))) for name, arguments in pairs))
    labels = _labels(functions)
    steps = tuple(
        Step(name, tuple(_label_references(arguments, labels))) for name, arguments in pairs
    )
    if outside is None:
        outside = frozenset(label for step in steps for label in step.needs) - labels.keys()
    return Plan(steps, labels, outside)


def _function(call: Any) -> Any:
    """Return the call, unwrapped from OpenAI's `{"type": "function", "function": ...}`."""
    inner = call.get("function") if isinstance(call, dict) else None
    return inner if isinstance(inner, dict) else call


def _name_and_arguments(call: Any, position: int) -> tuple[str, dict[str, Any]]:
    name = call.get("name") if isinstance(call, dict) else None
    arguments = call.get("arguments") if isinstance(call, dict) else None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise PlanError(f"NotACall: call {position} has no name or no arguments")
    return name, arguments


def _labels(functions: list[Any]) -> dict[str, int]:
    """Return the position of each label.

    In four rows of NESTFUL (IBM/NESTFUL@053cbde) two calls have the same label; references to the
    second call use `var` and its position.
    """
    labels: dict[str, int] = {}
    no_labels = not any("label" in call for call in functions)
    for position, call in enumerate(functions, 1):
        if not isinstance(call.get("label", ""), str):
            raise PlanError(f"NotACall: the label of call {position} is not a string")
        label = _normalised_label(call["label"]) if "label" in call else None
        if label is not None and label not in labels:
            labels[label] = position
        elif label is not None or no_labels:
            labels.setdefault(f"var{position}", position)
    return labels


def _normalised_label(label: str) -> str:
    """Return `var1` for `$var_1`, since both spellings occur."""
    stripped = label.strip("$")
    return stripped.replace("_", "") if _LABEL_SHAPE.fullmatch(stripped) else stripped


def _label_references(arguments: Any, labels: dict[str, int]) -> Iterator[str]:
    for text in _texts(arguments):
        candidates = dict.fromkeys(match[1] for match in _LABEL_REFERENCE.finditer(text))
        for label in dict.fromkeys(map(_normalised_label, candidates)):
            # "$5.00 or 6$" matches too, but is an amount of money.
            if label in labels or _LABEL_SHAPE.fullmatch(label):
                yield label


def _refuse_too_large(steps: int) -> None:
    if steps > MAX_STEPS:
        raise PlanError(f"TooLarge: the plan has {steps} steps; at most {MAX_STEPS} are compared")
