"""The names that `eval.benchmarks` accepts, and the reasons why other names are rejected."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.errors import did_you_mean

BFCL_CATEGORIES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
    *("live_irrelevance", "live_relevance"),
)
"""The single-turn categories of BFCL v4 whose functions are written in Python."""

ON_DISK_ONLY = (
    *("nestful_executable", "nestful_glaive", "nestful_sgd"),
    *("seal_tools_test_in_domain", "seal_tools_test_out_domain"),
)
"""Test sets for which no copy with a readable layout is known on the hub."""

NAMES = (
    "toolworld",
    *(f"bfcl_{category}" for category in BFCL_CATEGORIES),
    *("nestful", "when2call_test", *ON_DISK_ONLY),
)

_TOOLWORLD_SPLITS = {
    "test": "toolworld",
    "unseen_values": "toolworld_unseen_values",
    "unseen_tools": "toolworld_unseen_tools",
}
_OTHER_LANGUAGES = {"java": "Java", "javascript": "JavaScript"}
_NOT_SINGLE_TURN = ("bfcl_multi_turn", "bfcl_web_search", "bfcl_memory")


def split_names(benchmark: str) -> dict[str, str]:
    """Map each split of a benchmark to the data split that it becomes.

    >>> split_names("bfcl_multiple")
    {'test': 'bfcl_multiple'}
    """
    return dict(_TOOLWORLD_SPLITS) if benchmark == "toolworld" else {"test": benchmark}


def problems(benchmarks: Sequence[str], path: str | None) -> Iterator[str]:
    """Yield a sentence for each benchmark that cannot be evaluated, and for an unused path."""
    for name in benchmarks:
        if name not in NAMES:
            yield f"eval.benchmarks={name}: {_reason(name)}"
        elif path is None and name in ON_DISK_ONLY:
            yield (
                f"eval.benchmarks={name}: no copy on the hub is known, so set eval.path to the "
                "folder that contains its files"
            )
    for name in sorted({name for name in benchmarks if benchmarks.count(name) > 1}):
        yield f"eval.benchmarks names {name} more than once: list it once"
    if path is not None and not set(benchmarks) - {"toolworld"}:
        yield (
            f"eval.path={path} would not be used: add a benchmark that is read from files to "
            "eval.benchmarks, or remove eval.path"
        )


def row_problems(rows: Any, benchmarks: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each illegal entry of `eval.benchmark_rows`, which may be null."""
    if not isinstance(rows, Mapping | None):
        yield f"eval.benchmark_rows={rows}: must map names to numbers, {{bfcl_simple_python: 100}}"
        return
    for name, count in (rows or {}).items():
        key = f"eval.benchmark_rows.{name}"
        if name not in benchmarks:
            yield f"{key}={count} would not be used: add {name} to eval.benchmarks, or remove it"
        elif name == "toolworld":
            yield f"{key}={count}: the tool world's test splits are evaluated completely; remove it"
        if not isinstance(count, int) or count < 1:
            yield f"{key}={count}: must be a number of at least 1"


def _reason(name: str) -> str:
    language = _OTHER_LANGUAGES.get(name.removeprefix("bfcl_").removeprefix("simple_"))
    if name.startswith("bfcl") and language:
        return (
            f"its values are {language} literals, which are not converted here; use a Python "
            "category such as bfcl_simple_python"
        )
    if name.startswith(_NOT_SINGLE_TURN):
        return (
            "it is scored by executing calls over several turns, which is not supported; use a "
            "single-turn category such as bfcl_multiple"
        )
    return did_you_mean(name, NAMES)
