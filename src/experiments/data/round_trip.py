"""Check that the calls written by the chat template parse back to the calls of the rows.

If they did not, a correct answer would be scored as wrong. Only some rows of each kind are checked:
JSON formats are lossless, so the first row that differs stops the run. A format that writes values
as text can lose some of them (the text "7" and the number 7 look alike); with such a format all
evaluation rows are checked, and the run stops only if the share of rows that differ exceeds
`data.max_reject_share`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.data.rendering import Renderer
from experiments.errors import DataError
from experiments.toolcalls import parser
from experiments.toolcalls.parser import CallForm, same_value

Row = dict[str, Any]
Call = dict[str, Any]
OF_A_KIND = 20
"""Number of rows checked per category and kind of calls."""
_LOSSY_BODIES = ("arguments", "python", "response_template")
_MAX_VALUE_LENGTH = 60  # maximum characters of a value in a message
_REMEDY = (
    "set model.chat_template to a template that writes calls in full, for example with Qwen's or "
    "Hermes' tags, or remove such rows"
)


@dataclass
class RoundTripCheck:
    """Result of the check."""

    tried: int = 0
    differ: Counter[str] = field(default_factory=Counter)
    """Number of rows by split whose calls do not parse back unchanged."""
    example: str = ""
    """A sentence about the first of them."""

    def facts(self) -> dict[str, Any]:
        """Return the entries for the run record."""
        entries: dict[str, Any] = {"tried": self.tried, "differ": dict(self.differ)}
        return entries | ({"example": self.example} if self.example else {})


def check(
    splits: Mapping[str, Sequence[Row]],
    renderer: Renderer,
    share: float,
    shaped: Callable[[Row], Row] = lambda row: row,
) -> RoundTripCheck:
    """Write the calls of rows with the chat template and parse them back.

    Args:
        splits: rows by split.
        renderer: the renderer with the chat template.
        share: accepted share of rows that differ if the format can lose values, 0 to 1.
        shaped: returns a row as it is shown to the model.

    Raises:
        DataError: calls of a row do not parse back, or the template writes none that can be parsed.
    """
    result, seen = RoundTripCheck(), Counter[Any]()
    for split in sorted(splits, key=lambda name: name == "train"):
        check_all = split != "train" and _is_lossy(renderer)
        for row in _rows_with_calls(splits[split], seen, None if check_all else OF_A_KIND):
            problem = _round_trip_problem(shaped(row), renderer)
            result.tried += problem is not None
            if problem:
                result.differ[split] += 1
                result.example = result.example or problem
                if not _is_lossy(renderer):
                    raise DataError(f"{problem}; {_REMEDY}.")
    if result.differ.total() > share * result.tried:
        raise DataError(
            f"{result.example}; this affects {result.differ.total()} of {result.tried} rows; "
            f"{_REMEDY}."
        )
    return result


def describe(counts: Mapping[str, Any]) -> list[str]:
    """Return lines on rows whose calls do not parse back, by source and for the benchmarks.

    Args:
        counts: data counts of a run, in the format of its record.
    """
    facts_by_name = {
        name: source.get("calls_read_back") for name, source in counts["sources"].items()
    }
    facts_by_name["benchmarks"] = counts.get("benchmark_calls_read_back")
    return [
        f"{name}: calls that do not parse back to the same values, so no answer can be exact: "
        f"{', '.join(f'{split} {n:,}' for split, n in facts['differ'].items())} of "
        f"{facts['tried']:,} rows tried, such as {facts['example']}"
        for name, facts in facts_by_name.items()
        if facts and facts["differ"]
    ]


def _is_lossy(renderer: Renderer) -> bool:
    form = renderer.call_form
    return form is not None and (form.body in _LOSSY_BODIES or form.as_python)


def _rows_with_calls(rows: Iterable[Row], seen: Counter[Any], limit: int | None) -> Iterator[Row]:
    """Yield rows with calls, limited to `limit` of each kind."""
    for row in rows:
        calls = [m for m in row["messages"] if m["role"] == "assistant" and m.get("tool_calls")]
        if not calls:
            continue
        kind = (row.get("category"), *_kind(calls[-1]))
        seen[kind] += 1
        if limit is None or seen[kind] <= limit:
            yield row


def _kind(message: Row) -> tuple[bool, ...]:
    """Classify a turn: several calls, text besides them, a call without arguments, nesting."""
    arguments = [call["function"]["arguments"] for call in message["tool_calls"]]
    nested = any(
        isinstance(value, dict | list) for values in arguments for value in values.values()
    )
    text = bool((message.get("content") or "").strip())
    return len(arguments) > 1, text, not all(arguments), nested


def _round_trip_problem(row: Row, renderer: Renderer) -> str | None:
    """Return what does not parse back, "" if nothing, or None if the template refuses the row."""
    try:
        turns = renderer.turns(row)
    except DataError:  # counted or refused during rendering
        return None
    form = renderer.call_form
    assistant_messages = [message for message in row["messages"] if message["role"] == "assistant"]
    for message, turn in zip(assistant_messages, turns, strict=False):
        gold = [_name_and_arguments(call["function"]) for call in message.get("tool_calls") or []]
        if not gold:
            continue
        if form is None:
            return f"row {row['id']}: the chat template writes its calls in an unknown format"
        if difference := _call_difference(gold, turn, form, row):
            return f"row {row['id']}: {difference}, so a correct answer would count as wrong"
    return ""


def _name_and_arguments(call: Call) -> Call:
    return {"name": call["name"], "arguments": call["arguments"]}


def _call_difference(gold: list[Call], turn: str, form: CallForm, row: Row) -> str:
    answer = parser.parse(turn, form, row.get("tools") or None)
    if answer.malformed:
        return f"its calls cannot be parsed after rendering ({answer.defects[0]})"
    if len(answer.calls) != len(gold):
        return f"the chat template writes {len(answer.calls)} of its {len(gold)} calls"
    for expected, parsed in zip(gold, answer.calls, strict=True):
        if expected["name"] != parsed["name"]:
            return (
                f"the call of {expected['name']} parses back as "
                f"{parsed['name'][:_MAX_VALUE_LENGTH]}"
            )
        if difference := _argument_difference(expected, parsed):
            return difference
    return ""


def _argument_difference(expected: Call, parsed: Call) -> str:
    expected_arguments, parsed_arguments = expected["arguments"], parsed["arguments"]
    for key in {**expected_arguments, **parsed_arguments}:
        if (
            key not in expected_arguments
            or key not in parsed_arguments
            or not same_value(expected_arguments[key], parsed_arguments[key])
        ):
            expected_text, parsed_text = (
                _value_text(expected_arguments, key),
                _value_text(parsed_arguments, key),
            )
            return (
                f"argument {key} of {expected['name']}, {expected_text}, parses back as "
                f"{parsed_text}"
            )
    return ""


def _value_text(arguments: dict[str, Any], key: str) -> str:
    return repr(arguments[key])[:_MAX_VALUE_LENGTH] if key in arguments else "nothing"
