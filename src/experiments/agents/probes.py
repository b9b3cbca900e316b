"""Read the state of an episode without its servers, and compare it with what a task expects."""

import json
import math
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from typing import Any

from experiments.agents import sandbox
from experiments.agents.episode_folder import DATABASE, GRAPH
from experiments.agents.sandbox import Place

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_OPTIONAL_LOCKS": "0"}


def read(place: Place, probe: str, path: str) -> Any:
    """Return a part of the state as a JSON value; None if there is no such part.

    Args:
        place: the episode folder.
        probe: a name in `PROBES`.
        path: what to read; its meaning depends on the probe.
    """
    return PROBES[probe](place, path)


def _sql(place: Place, path: str) -> Any:
    """Return the rows of a query; None if it fails."""
    address = f"file:{place.folder / DATABASE}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return [list(row) for row in connection.execute(path)]
    except sqlite3.Error:
        return None


def _text(place: Place, path: str) -> Any:
    """Return the text of a file below `files`; links are not followed."""
    file = place.folder / "files" / path
    if file.is_symlink() or not file.is_file():
        return None
    return file.read_text(encoding="utf-8", errors="replace")


def _names(place: Place, path: str) -> Any:
    """Return the names in a folder below `files`, those of folders with a slash."""
    folder = place.folder / "files" / path
    if folder.is_symlink() or not folder.is_dir():
        return None
    return sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())


def _git(place: Place, *words: str) -> list[str] | None:
    """Return the lines that git prints.

    A repository may name programs that git then runs, and a server may have written it: git runs
    where the servers run.
    """
    command = sandbox.system_command(["git", "-C", "/episode/repo", *words], _GIT, place)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.splitlines() if done.returncode == 0 else None


def _graph(place: Place) -> list[dict[str, Any]]:
    try:
        lines = (place.folder / GRAPH).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError):
        return []


def _observations(place: Place, path: str) -> Any:
    """Return the observations of an entity."""
    named = [r for r in _graph(place) if r.get("type") == "entity" and r.get("name") == path]
    return named[0].get("observations") if named else None


def _relations(place: Place, path: str) -> Any:
    """Return the relations of an entity as `[type, target]`."""
    found = [r for r in _graph(place) if r.get("type") == "relation" and r.get("from") == path]
    return sorted([r.get("relationType"), r.get("to")] for r in found)


PROBES: dict[str, Callable[[Place, str], Any]] = {
    "sql": _sql,
    "text": _text,
    "names": _names,
    "git_log": lambda place, path: _git(place, "log", "--format=%s", path or "HEAD", "--"),
    "git_file": lambda place, path: _git(place, "show", f"HEAD:{path}"),
    "git_staged": lambda place, path: _git(place, "diff", "--cached", "--name-only"),
    "git_branches": lambda place, path: _git(place, "branch", "--format=%(refname:short)"),
    "git_branch": lambda place, path: _git(place, "symbolic-ref", "--short", "HEAD"),
    "observations": _observations,
    "relations": _relations,
}
"""Maps the name of a probe to its function; `path` is a query, a file, a branch or an entity."""


def contains(found: Any, value: Any) -> bool:
    """Return whether a text, or the JSON of a value, has the words of a value, whatever its case.

    >>> contains("It is 17.", "7"), contains(["Likes Tea"], "likes tea")
    (False, True)
    """
    word = _as_text(value)
    before = r"(?<![\w.-])" if re.match(r"[\w-]", word) else ""
    words = rf"{before}{re.escape(word)}(?!\w|\.\d)"
    return re.search(words, _as_text(found), re.IGNORECASE) is not None


def close(found: Any, value: Any) -> bool:
    """Return whether a text, or the JSON of a value, has a number close to a value.

    >>> close("The sum is 7.50.", 7.5), close("75", 7.5)
    (True, False)
    """
    numbers = (float(match) for match in _NUMBER.findall(_as_text(found)))
    return any(math.isclose(number, float(value), rel_tol=1e-6) for number in numbers)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_order(found: Any, value: Any, holds: Callable[[Any, Any], bool]) -> bool:
    numbers = isinstance(found, int | float) and isinstance(value, int | float)
    return (numbers or (isinstance(found, str) and isinstance(value, str))) and holds(found, value)


def _equal_sets(found: Any, value: Any) -> bool:
    if not isinstance(found, list) or not isinstance(value, list):
        return False
    return sorted(map(_as_text, found)) == sorted(map(_as_text, value))


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, value: bool(found == value),
    "!=": lambda found, value: bool(found != value),
    "<": lambda found, value: _in_order(found, value, lambda a, b: a < b),
    "<=": lambda found, value: _in_order(found, value, lambda a, b: a <= b),
    ">": lambda found, value: _in_order(found, value, lambda a, b: a > b),
    ">=": lambda found, value: _in_order(found, value, lambda a, b: a >= b),
    "in": lambda found, value: isinstance(value, list) and found in value,
    "contains": contains,
    "unordered_equal": _equal_sets,
    "close": close,
}
"""Maps the name of an operator to its function of what was found and the expected value."""
