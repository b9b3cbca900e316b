"""Where the value of a built-in task comes from: a call that reads, and the question for it."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from experiments.agents.task_words import Words

FILES, REPO = "/episode/files", "/episode/repo"
Call = dict[str, Any]


@dataclass(frozen=True)
class ValueSource:
    """A value that one call reads."""

    server: str
    name: str
    arguments: dict[str, Any]
    value: str
    phrase: str
    """Noun phrase that names the value without giving it away."""
    prepare: list[dict[str, Any]] = field(default_factory=list)
    is_number: bool = False

    @property
    def call(self) -> Call:
        """Return the gold call."""
        return {"server": self.server, "name": self.name, "arguments": self.arguments}


def entity(name: str, *observations: str, kind: str = "person") -> dict[str, Any]:
    """Return an entity of the memory server's graph."""
    return {
        "type": "entity",
        "name": name,
        "entityType": kind,
        "observations": list(observations),
    }


def _quantity(w: Words) -> ValueSource:
    table, item, other, number = w.table(), w.item(), w.item(), w.number()
    sql = [
        f"CREATE TABLE {table} (item TEXT, quantity INTEGER)",
        f"INSERT INTO {table} VALUES ('{item}', {number}), ('{other}', {w.number()})",
    ]
    query = {"query": f"SELECT quantity FROM {table} WHERE item = '{item}'"}
    phrase = w.say(
        f"the quantity of {item} in the table {table}",
        f"how much {item} the database table {table} records as quantity",
    )
    return ValueSource("sqlite", "read_query", query, str(number), phrase, [{"sql": sql}], True)


def _table_name(w: Words) -> ValueSource:
    table = w.table()
    sql = [f"CREATE TABLE {table} (item TEXT)"]
    phrase = w.say(
        "the name of the only table in the database", "what the one table here is called"
    )
    return ValueSource("sqlite", "list_tables", {}, table, phrase, [{"sql": sql}])


def _column(w: Words) -> ValueSource:
    table, first, second = w.table(), w.word(), w.word()
    sql = [f"CREATE TABLE {table} ({first} INTEGER, {second} TEXT)"]
    phrase = w.say(
        f"the name of the text column of the table {table}",
        f"which column of {table} has texts",
    )
    given = {"table_name": table}
    return ValueSource("sqlite", "describe_table", given, second, phrase, [{"sql": sql}])


def _file_code(w: Words) -> ValueSource:
    path, code = f"{w.folder()}/{w.word()}.txt", str(w.number(100, 999))
    phrase = w.say(f"the code in {FILES}/{path}", f"which code the file {FILES}/{path} holds")
    prepare = [{"files": {path: f"Reviewed twice. The code is {code}.\n"}}]
    given = {"path": f"{FILES}/{path}"}
    return ValueSource("filesystem", "read_text_file", given, code, phrase, prepare, True)


def _found_file(w: Words) -> ValueSource:
    name, folder = f"{w.word()}.md", w.folder()
    phrase = w.say(
        f"the folder below {FILES} that has the file {name}",
        f"in which folder of {FILES} one finds {name}",
    )
    given = {"path": FILES, "pattern": f"**/{name}"}
    prepare = [{"files": {f"{folder}/{name}": "x\n", f"{w.folder()}/{w.word()}.md": "y\n"}}]
    return ValueSource("filesystem", "search_files", given, folder, phrase, prepare)


def _listed_file(w: Words) -> ValueSource:
    folder, name = w.folder(), w.word()
    phrase = w.say(
        f"the name of the only file in {FILES}/{folder}",
        f"what the single file in {FILES}/{folder} is called",
    )
    prepare = [{"files": {f"{folder}/{name}.txt": "x\n"}}]
    given = {"path": f"{FILES}/{folder}"}
    return ValueSource("filesystem", "list_directory", given, f"{name}.txt", phrase, prepare)


def _opened_node(w: Words) -> ValueSource:
    person, number = w.person(), str(w.number())
    phrase = w.say(
        f"the age of {person} in the knowledge graph", f"how old {person} is, as the graph knows"
    )
    graph = [entity(person, f"is {number} years old"), entity(w.person(), "likes music")]
    given = {"names": [person]}
    return ValueSource("memory", "open_nodes", given, number, phrase, [{"graph": graph}], True)


def _searched_node(w: Words) -> ValueSource:
    person, item = w.person(), w.item()
    phrase = w.say(
        f"the person who likes {item} in the knowledge graph",
        f"whom the graph knows to like {item}",
    )
    graph = [entity(person, f"likes {item}"), entity(w.person(), f"likes {w.item()}")]
    given = {"query": item}
    return ValueSource("memory", "search_nodes", given, person, phrase, [{"graph": graph}])


def _graph_relation(w: Words) -> ValueSource:
    person, friend = w.person(), w.person()
    phrase = w.say(
        "the only person that anyone works for in the knowledge graph",
        "who is somebody's boss in the whole graph",
    )
    relation = {"type": "relation", "from": person, "to": friend, "relationType": "works for"}
    graph = [entity(person), entity(friend), relation]
    return ValueSource("memory", "read_graph", {}, friend, phrase, [{"graph": graph}])


def _history(w: Words) -> list[dict[str, Any]]:
    return [{"files": {"readme.md": "A project.\n"}, "message": f"Start {w.word()}"}]


def _last_message(w: Words) -> ValueSource:
    word = w.word()
    steps = [*_history(w), {"files": {"a.txt": "a\n"}, "message": f"Add {word}"}]
    phrase = w.say(
        f"what the last commit in {REPO} added, by its message",
        f"which thing the newest commit message of {REPO} names",
    )
    given = {"repo_path": REPO, "max_count": 1}
    return ValueSource("git", "git_log", given, word, phrase, [{"git": steps}])


def _other_branch(w: Words) -> ValueSource:
    word = w.word()
    steps = [*_history(w), {"branch": word}]
    phrase = w.say(f"the branch of {REPO} besides main", f"what the second branch of {REPO} is")
    given = {"repo_path": REPO, "branch_type": "local"}
    return ValueSource("git", "git_branch", given, word, phrase, [{"git": steps}])


def _shown_file(w: Words) -> ValueSource:
    word = w.word()
    steps = [*_history(w), {"files": {f"{word}.txt": "a\n"}, "message": "Add a file"}]
    phrase = w.say(
        f"the file that the last commit of {REPO} adds",
        f"which file came with the newest commit of {REPO}",
    )
    given = {"repo_path": REPO, "revision": "HEAD"}
    return ValueSource("git", "git_show", given, f"{word}.txt", phrase, [{"git": steps}])


def _untracked(w: Words) -> ValueSource:
    word = w.word()
    steps = [*_history(w), {"files": {f"{word}.txt": "a\n"}}]
    phrase = w.say(f"the untracked file in {REPO}", f"which file of {REPO} git does not know yet")
    given = {"repo_path": REPO}
    return ValueSource("git", "git_status", given, f"{word}.txt", phrase, [{"git": steps}])


def _unstaged(w: Words) -> ValueSource:
    number = str(w.number(100, 999))
    files = {"limit.txt": "10\n"}
    steps = [{"files": files, "message": "Start"}, {"files": {"limit.txt": f"{number}\n"}}]
    phrase = w.say(
        f"the new number in the uncommitted change of {REPO}",
        f"to which number the pending edit in {REPO} raises the limit",
    )
    given = {"repo_path": REPO}
    return ValueSource("git", "git_diff_unstaged", given, number, phrase, [{"git": steps}], True)


def _converted_time(w: Words) -> ValueSource:
    (here, east), (there, other) = w.zones()
    hour, minute = w.random.randrange(9, 13) + max(0, east - other), w.number(10, 59)
    local = f"{hour % 24:02}:{minute:02}"
    value = f"{(hour + other - east) % 24:02}:{minute:02}"
    phrase = w.say(
        f"the time in {there} when it is {local} in {here}",
        f"what the clock shows in {there} at {local} {here} time",
    )
    given = {"source_timezone": here, "time": local, "target_timezone": there}
    return ValueSource("time", "convert_time", given, value, phrase)


def _arithmetic(name: str, usual: str, test: str) -> Callable[[Words], ValueSource]:
    def make(w: Words) -> ValueSource:
        numbers = _operands(name, w)
        value = _MATH[name][2](numbers)
        listed = " and ".join(filter(None, [", ".join(map(str, numbers[:-1])), str(numbers[-1])]))
        text = f"{value:g}" if value == round(value, 3) else str(value)
        phrase = w.say(usual, test).format(listed)
        return ValueSource("math", name, {"numbers": numbers}, text, phrase, is_number=True)

    return make


def _operands(name: str, w: Words) -> list[int]:
    if name == "sqrt":
        return [w.number() ** 2]
    if name == "mode":
        numbers = w.numbers(3)
        return [*numbers, numbers[1]]
    if name == "power":
        return [w.number(2, 12), w.random.choice([2, 3])]
    if name in ("subtract", "divide", "quotient", "remainder"):
        small, large = sorted([w.number(2, 20), w.number(40, 99)])
        return [large * (small if name == "divide" else 1), small]
    return w.numbers(4 if name != "median" else 5)


_MATH: dict[str, tuple[str, str, Callable[[list[int]], float]]] = {
    "sum": ("the sum of {}", "what {} add up to", sum),
    "product": ("the product of {}", "what {} multiply to", lambda n: n[0] * n[1] * n[2] * n[3]),
    "subtract": ("the difference of {}", "what is left of the first of {}", lambda n: n[0] - n[1]),
    "divide": ("the ratio of {}", "the first of {} over the second", lambda n: n[0] / n[1]),
    "quotient": ("the whole quotient of {}", "how often {} fit", lambda n: n[0] // n[1]),
    "remainder": ("the remainder of {}", "what remains when dividing {}", lambda n: n[0] % n[1]),
    "power": ("the power of {}", "the first of {} to the second", lambda n: n[0] ** n[1]),
    "sqrt": ("the square root of {}", "which number squared is {}", lambda n: n[0] ** 0.5),
    "max": ("the maximum of {}", "the largest of {}", max),
    "min": ("the minimum of {}", "the smallest of {}", min),
    "average": ("the average of {}", "the arithmetic mean of {}", statistics.mean),
    "median": ("the median of {}", "the middle one of {}", statistics.median),
    "mode": ("the mode of {}", "the most frequent of {}", statistics.mode),
    "range": ("the range of {}", "how far apart {} are", lambda n: max(n) - min(n)),
}

SOURCES: dict[str, Callable[[Words], ValueSource]] = {
    "read_query": _quantity,
    "list_tables": _table_name,
    "describe_table": _column,
    "read_text_file": _file_code,
    "search_files": _found_file,
    "list_directory": _listed_file,
    "open_nodes": _opened_node,
    "search_nodes": _searched_node,
    "read_graph": _graph_relation,
    "git_log": _last_message,
    "git_branch": _other_branch,
    "git_show": _shown_file,
    "git_status": _untracked,
    "git_diff_unstaged": _unstaged,
    "convert_time": _converted_time,
    **{name: _arithmetic(name, usual, test) for name, (usual, test, _) in _MATH.items()},
}
"""Maps the tool that reads a value to a function that makes such a source."""
