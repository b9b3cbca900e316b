"""What a built-in task does with a value: calls that write, the words that ask, and the checks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from experiments.agents.task_sources import FILES, REPO, Call, entity
from experiments.agents.task_words import Words

Check = dict[str, Any]


@dataclass(frozen=True)
class Sink:
    """Calls that write a value, or change the state without one."""

    calls: list[Call]
    phrase: str
    """Imperative clause; `{}` stands for the value."""
    checks: list[Check]
    prepare: list[dict[str, Any]] = field(default_factory=list)


def _call(server: str, name: str, **arguments: Any) -> Call:
    return {"server": server, "name": name, "arguments": arguments}


def _state(probe: str, path: str, op: str, value: Any) -> Check:
    return {"kind": "state", "probe": probe, "path": path, "op": op, "value": value}


def _new_file(w: Words, value: str) -> Sink:
    name = f"result-{w.word()}.txt"
    call = _call("filesystem", "write_file", path=f"{FILES}/{name}", content=value)
    phrase = w.say(
        [f"write {{}} to the file {FILES}/{name}", f"save {{}} as {FILES}/{name}"],
        f"put {{}} into a new file {FILES}/{name}",
    )
    return Sink([call], phrase, [_state("text", name, "contains", value)])


def _new_row(w: Words, value: str) -> Sink:
    table = f"log_{w.word()}"
    call = _call("sqlite", "write_query", query=f"INSERT INTO {table} VALUES ('{value}')")
    phrase = w.say(
        f"insert {{}} into the table {table} of the database", f"add {{}} as a row of {table}"
    )
    checks = [_state("sql", f"SELECT entry FROM {table}", "contains", value)]
    return Sink([call], phrase, checks, [{"sql": [f"CREATE TABLE {table} (entry TEXT)"]}])


def _new_observation(w: Words, value: str) -> Sink:
    person = f"Dr. {w.person()}"
    added = [{"entityName": person, "contents": [value]}]
    call = _call("memory", "add_observations", observations=added)
    phrase = w.say(
        f"add {{}} as an observation about {person} in the knowledge graph",
        f"let the graph remember {{}} about {person}",
    )
    checks = [_state("observations", person, "contains", value)]
    return Sink([call], phrase, checks, [{"graph": [entity(person)]}])


def _new_entity(w: Words, value: str) -> Sink:
    name = f"report {w.word()}"
    made = {"name": name, "entityType": "report", "observations": [value]}
    call = _call("memory", "create_entities", entities=[made])
    phrase = w.say(
        f"create an entity '{name}' of type report in the graph with the observation {{}}",
        f"make a graph entity '{name}' (a report) whose observation is {{}}",
    )
    return Sink([call], phrase, [_state("observations", name, "contains", value)])


def _start(w: Words) -> dict[str, Any]:
    return {"git": [{"files": {"readme.md": "A project.\n"}, "message": f"Start {w.word()}"}]}


def _new_commit(w: Words, value: str) -> Sink:
    name, message = f"{w.word()}.txt", f"Record {w.word()}"
    calls = [
        _call("filesystem", "write_file", path=f"{REPO}/{name}", content=value),
        _call("git", "git_add", repo_path=REPO, files=[name]),
        _call("git", "git_commit", repo_path=REPO, message=message),
    ]
    phrase = w.say(
        f"write {{}} to {REPO}/{name} and commit that file with the message '{message}'",
        f"commit a file {name} with {{}} in it to {REPO}, message '{message}'",
    )
    checks = [
        _state("git_file", name, "contains", value),
        _state("git_log", "HEAD", "contains", message),
    ]
    return Sink(calls, phrase, checks, [_start(w)])


def _edited_file(w: Words, value: str) -> Sink:
    name = f"form-{w.word()}.txt"
    edits = [{"oldText": "TODO", "newText": value}]
    call = _call("filesystem", "edit_file", path=f"{FILES}/{name}", edits=edits)
    phrase = w.say(
        f"replace TODO by {{}} in {FILES}/{name}", f"fill {{}} in for TODO in {FILES}/{name}"
    )
    checks = [_state("text", name, "=", f"Result: {value}\n")]
    return Sink([call], phrase, checks, [{"files": {name: "Result: TODO\n"}}])


def _row_and_file(w: Words, value: str) -> Sink:
    row, file = _new_row(w, value), _new_file(w, value)
    phrase = f"{row.phrase} and {file.phrase.replace('{}', 'it')}"
    return Sink(row.calls + file.calls, phrase, row.checks + file.checks, row.prepare)


CARRYING: dict[str, Callable[[Words, str], Sink]] = {
    "write_file": _new_file,
    "write_query": _new_row,
    "add_observations": _new_observation,
    "create_entities": _new_entity,
    "commit": _new_commit,
    "edit_file": _edited_file,
    "row_and_file": _row_and_file,
}
"""Sinks that write a value, by name; `value` is text."""


def _new_table(w: Words) -> Sink:
    table, column = w.table(), w.word()
    call = _call("sqlite", "create_table", query=f"CREATE TABLE {table} ({column} TEXT)")
    phrase = w.say(
        f"create a table {table} with one text column {column}",
        f"set up the table {table}, whose only column is the text {column}",
    )
    query = f"SELECT name FROM pragma_table_info('{table}')"
    return Sink([call], phrase, [_state("sql", query, "=", [[column]])])


def _deleted_row(w: Words) -> Sink:
    table, item, other = w.table(), w.item(), w.item()
    call = _call("sqlite", "write_query", query=f"DELETE FROM {table} WHERE item = '{item}'")
    sql = [
        f"CREATE TABLE {table} (item TEXT)",
        f"INSERT INTO {table} VALUES ('{item}'),('{other}')",
    ]
    phrase = w.say(f"delete {item} from the table {table}", f"drop the row of {item} in {table}")
    checks = [_state("sql", f"SELECT item FROM {table}", "=", [[other]])]
    return Sink([call], phrase, checks, [{"sql": sql}])


def _new_folder(w: Words) -> Sink:
    folder = w.folder()
    call = _call("filesystem", "create_directory", path=f"{FILES}/{folder}")
    phrase = w.say(
        f"make a folder {FILES}/{folder}", f"create the empty directory {FILES}/{folder}"
    )
    return Sink([call], phrase, [_state("names", "", "=", [f"{folder}/"])])


def _moved_file(w: Words) -> Sink:
    old, new = f"{w.word()}.txt", f"{w.word()}.txt"
    given = {"source": f"{FILES}/{old}", "destination": f"{FILES}/{new}"}
    phrase = w.say(f"rename {FILES}/{old} to {new}", f"give {FILES}/{old} the new name {new}")
    checks = [_state("names", "", "=", [new])]
    return Sink(
        [_call("filesystem", "move_file", **given)], phrase, checks, [{"files": {old: "x\n"}}]
    )


def _deleted_entity(w: Words) -> Sink:
    person = w.person()
    call = _call("memory", "delete_entities", entityNames=[person])
    phrase = w.say(f"delete {person} from the knowledge graph", f"let the graph forget {person}")
    checks = [_state("observations", person, "=", None)]
    return Sink([call], phrase, checks, [{"graph": [entity(person, "is tall")]}])


def _deleted_observation(w: Words) -> Sink:
    person, item = w.person(), w.item()
    gone = [{"entityName": person, "observations": [f"likes {item}"]}]
    phrase = w.say(
        f"remove the observation 'likes {item}' about {person}",
        f"let the graph keep {person}, but not that they like {item} ('likes {item}')",
    )
    graph = [entity(person, f"likes {item}", "is tall")]
    checks = [_state("observations", person, "=", ["is tall"])]
    call = _call("memory", "delete_observations", deletions=gone)
    return Sink([call], phrase, checks, [{"graph": graph}])


def _relation(w: Words) -> tuple[dict[str, str], list[dict[str, Any]]]:
    first, second = w.person(), w.person()
    made = {"from": first, "to": second, "relationType": "works with"}
    return made, [entity(first), entity(second)]


def _new_relation(w: Words) -> Sink:
    made, graph = _relation(w)
    phrase = w.say(
        f"record the relation 'works with' from {made['from']} to {made['to']}",
        f"let the graph know that {made['from']} 'works with' {made['to']}",
    )
    checks = [_state("relations", made["from"], "=", [["works with", made["to"]]])]
    call = _call("memory", "create_relations", relations=[made])
    return Sink([call], phrase, checks, [{"graph": graph}])


def _deleted_relation(w: Words) -> Sink:
    made, graph = _relation(w)
    phrase = w.say(
        f"delete the relation 'works with' from {made['from']} to {made['to']}",
        f"let the graph forget that {made['from']} 'works with' {made['to']}",
    )
    checks = [_state("relations", made["from"], "=", [])]
    call = _call("memory", "delete_relations", relations=[made])
    return Sink([call], phrase, checks, [{"graph": [*graph, {"type": "relation", **made}]}])


def _new_branch(w: Words) -> Sink:
    start, branch = _start(w), w.word()
    call = _call("git", "git_create_branch", repo_path=REPO, branch_name=branch)
    phrase = w.say(f"create a branch {branch} in {REPO}", f"open a new branch {branch} in {REPO}")
    checks = [_state("git_branches", "", "unordered_equal", ["main", branch])]
    return Sink([call], phrase, checks, [start])


def _switched_branch(w: Words) -> Sink:
    start, branch = _start(w), w.word()
    start["git"].append({"branch": branch})
    call = _call("git", "git_checkout", repo_path=REPO, branch_name=branch)
    phrase = w.say(f"switch {REPO} to the branch {branch}", f"check {branch} out in {REPO}")
    return Sink([call], phrase, [_state("git_branch", "", "=", [branch])], [start])


def _new_and_switched(w: Words) -> Sink:
    made = _new_branch(w)
    branch = made.calls[0]["arguments"]["branch_name"]
    call = _call("git", "git_checkout", repo_path=REPO, branch_name=branch)
    checks = [_state("git_branch", "", "=", [branch])]
    phrase = f"{made.phrase} and {w.say('switch to it', 'continue there')}"
    return Sink([*made.calls, call], phrase, checks, made.prepare)


def _staged(w: Words) -> Sink:
    start, name = _start(w), f"{w.word()}.txt"
    start["git"].append({"files": {name: "a\n"}})
    call = _call("git", "git_add", repo_path=REPO, files=[name])
    phrase = w.say(f"stage {name} in {REPO}", f"add {name} to the index of {REPO}")
    return Sink([call], phrase, [_state("git_staged", "", "=", [name])], [start])


def _committed(w: Words) -> Sink:
    staged, message = _staged(w), f"Keep {w.word()}"
    name = staged.calls[0]["arguments"]["files"][0]
    call = _call("git", "git_commit", repo_path=REPO, message=message)
    phrase = w.say(
        f"commit {name} in {REPO} with the message '{message}'",
        f"make a commit '{message}' of {name} in {REPO}",
    )
    checks = [
        _state("git_file", name, "=", ["a"]),
        _state("git_log", "HEAD", "contains", message),
    ]
    return Sink([*staged.calls, call], phrase, checks, staged.prepare)


CHANGES: dict[str, Callable[[Words], Sink]] = {
    "create_table": _new_table,
    "delete_row": _deleted_row,
    "create_directory": _new_folder,
    "move_file": _moved_file,
    "delete_entities": _deleted_entity,
    "delete_observations": _deleted_observation,
    "create_relations": _new_relation,
    "delete_relations": _deleted_relation,
    "git_create_branch": _new_branch,
    "git_checkout": _switched_branch,
    "branch_and_checkout": _new_and_switched,
    "git_add": _staged,
    "add_and_commit": _committed,
}
"""Sinks that change the state without a value from elsewhere, by name."""
