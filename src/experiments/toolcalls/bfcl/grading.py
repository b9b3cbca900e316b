"""Score single-turn Python answers by the rules of BFCL v4.

The Berkeley Function Calling Leaderboard (ShishirPatil/gorilla@6ea5797, Apache-2.0) compares calls
with lists of allowed values. `decoding` parses an answer, `checking` compares calls and `values`
compares their arguments; this module calls them in that order. Verdicts and error types are
upstream's, except `malformed` and the error types that begin with `not_scorable:`.
"""

import dataclasses

from experiments.errors import ConfigError, did_you_mean
from experiments.toolcalls.bfcl.checking import check_calls
from experiments.toolcalls.bfcl.decoding import decode
from experiments.toolcalls.bfcl.verdicts import NotScorable, Verdict, invalid

NON_LIVE = ("simple_python", "multiple", "parallel", "parallel_multiple")
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
IRRELEVANCE = ("irrelevance", "live_irrelevance")
RELEVANCE = ("live_relevance",)
REFUSED = ("simple_java", "simple_javascript")
"""Categories with values in another language, which would need a separate parser."""


def categories() -> tuple[str, ...]:
    """Return the names of the categories that are scored here."""
    return (*NON_LIVE, *LIVE, *IRRELEVANCE, *RELEVANCE)


def check_category(category: str) -> None:
    """Check that a category is scored here.

    Raises:
        ConfigError: the category is Java, JavaScript or not a single-turn category of BFCL v4.
    """
    if category in REFUSED or category in ("java", "javascript"):
        language = "JavaScript" if category.endswith("javascript") else "Java"
        raise ConfigError(
            f"category '{category}': its values are {language} literals, which are not scored "
            f"here; allowed: {', '.join(categories())}."
        )
    if category not in categories():
        raise ConfigError(f"category '{category}': {did_you_mean(category, categories())}.")


def needs_gold(category: str) -> bool:
    """Return whether a category has gold calls; irrelevance and relevance have none."""
    return "relevance" not in category


def check(
    category: str,
    functions: object,
    ground_truth: object,
    output: object,
    format: str = "tool_call",
    underscore_to_dot: bool = False,
) -> Verdict:
    """Check one answer; never raises for any answer, function description or gold answer.

    >>> gold = [{"add": {"a": [1], "b": ["", 2]}}]
    >>> doc = {"name": "add", "parameters": {"type": "dict", "required": ["a"], "properties": {
    ...     "a": {"type": "integer"}, "b": {"type": "integer"}}}}
    >>> check("simple_python", [doc], gold, "[add(a=1)]", "python").valid
    True
    >>> check("simple_python", [doc], gold, "[add(a=1.0)]", "python").error_type
    'type_error:simple'

    Args:
        category: one of `categories()`.
        functions: the row's function descriptions in BFCL's format.
        ground_truth: the row's gold calls; ignored for irrelevance and relevance.
        output: a list for `fc`, text for the other formats; anything else fails to decode.
        format: `fc`, `tool_call` or `python`.
        underscore_to_dot: whether the model saw dots in function names as underscores.

    Raises:
        ConfigError: unknown category or format.
    """
    check_category(category)
    decoded = decode(output, format)
    if not needs_gold(category):
        verdict = _check_relevance(category, called=bool(decoded.calls))
    elif decoded.calls is None:
        verdict = invalid(str(decoded.error_type), "the answer cannot be parsed into calls")
    else:
        try:
            verdict = check_calls(
                category,
                functions,
                ground_truth,
                decoded.calls,
                underscore_to_dot=underscore_to_dot,
            )
        except NotScorable as error:
            verdict = invalid(str(error), "BFCL's checker fails on this item")
        except RecursionError:
            verdict = invalid("not_scorable:value", "a value is nested too deeply")
    return dataclasses.replace(verdict, malformed=decoded.malformed)


def _check_relevance(category: str, *, called: bool) -> Verdict:
    if category in IRRELEVANCE:
        error_type, correct = "irrelevance_error:decoder_success", not called
    else:
        error_type, correct = "relevance_error:decoder_failed", called
    error = "a call where none is expected" if called else "no call where one is expected"
    return Verdict(True) if correct else invalid(error_type, error)
