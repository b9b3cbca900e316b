"""A hub id becomes a folder and a commit; every way this fails has its sentence, at once."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conftest import environment

COMMIT = "c0ffee" + "0" * 34
OTHER = "badcab" + "1" * 34
ROW = b'{"q": "a"}\n'
TOKEN = "hf_secretsecretsecret"
PROGRAM = """
import json, sys
from experiments.data import hub_dataset
from experiments.errors import DataError
arguments = json.loads(sys.argv[1])
try:
    found = hub_dataset.fetch(**arguments)
    print(json.dumps([str(found.folder), found.commit, found.files]))
except DataError as error:
    print("DataError:", error)
"""


def cached(home: Path, commit: str = COMMIT, ref: str = "main") -> Path:
    """Write a dataset into a hub cache, in the hub's own layout."""
    repository = home / "hub" / "datasets--org--name"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    folder = repository / "snapshots" / commit
    (folder / "data").mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    (repository / "blobs" / "abc").write_bytes(ROW)
    (folder / "data" / "train.jsonl").symlink_to(repository / "blobs" / "abc")
    (folder / "README.md").write_text("card")
    return folder


def fetch(home: Path, env: dict[str, str], **arguments: Any) -> tuple[str, float, str]:
    """Fetch in a process of its own: the hub's library reads its settings once, at import."""
    given = {"hub_id": "org/name", "revision": "main", "patterns": ["data/*"], **arguments}
    started = time.perf_counter()
    clean = {k: v for k, v in environment().items() if not k.startswith(("HF_", "HUGGING"))}
    clean |= {"HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **env}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(given)],
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr
    return done.stdout.strip(), time.perf_counter() - started, done.stderr


class Hub(BaseHTTPRequestHandler):
    """The hub's endpoints that a dataset download uses."""

    refs: ClassVar = {"main": COMMIT}
    gated = False
    private_error = ""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/").split("/")
        if "org/name" not in self.path:
            self._send(401, {"X-Error-Code": "RepoNotFound"})
        elif self.private_error == "server":
            self._send(503, {})
        elif self.headers.get("Authorization") == "Bearer hf_secret_refused":
            text = "Invalid credentials in Authorization header"
            self._send(401, {"X-Error-Message": text})
        elif path[0] == "api":
            self._api(path[4:])
        elif self.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"X-Error-Code": "GatedRepo"})
        else:
            headers = {"ETag": '"abc"', "X-Repo-Commit": COMMIT}
            self._send(200, headers, ROW, body=body)

    def _api(self, rest: list[str]) -> None:
        """Answer revision/<name> and tree/<commit>; a gated set shows these to everybody."""
        commit = self.refs.get(rest[1], rest[1] if rest[1] in self.refs.values() else None)
        if commit is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif rest[0] == "revision":
            self._json({"id": "org/name", "sha": commit, "siblings": []})
        else:
            names = ("README.md", "data/train.jsonl")
            entry = {"type": "file", "oid": "abc", "size": len(ROW)}
            self._json([{**entry, "path": name} for name in names])

    def _json(self, value: Any) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(
        self, status: int, headers: dict[str, str], content: bytes = b"", *, body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(**settings: Any) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), settings))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# A port that nothing listens on: every connection is refused, as without a network.
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.slow
def test_a_branch_is_downloaded_and_its_commit_returned(tmp_path: Path) -> None:
    with serving() as env:
        text, _, _ = fetch(tmp_path, env)
    folder, commit, names = json.loads(text)
    assert (commit, names) == (COMMIT, ["data/train.jsonl"])
    assert (Path(folder) / names[0]).read_bytes() == ROW
    assert not (Path(folder) / "README.md").exists()
    offline, _, _ = fetch(tmp_path, UNREACHABLE)
    assert json.loads(offline) == [folder, commit, names]


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"HF_HUB_OFFLINE": "1"}, UNREACHABLE])
@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_cached_snapshot_is_used_at_once_without_a_network(
    tmp_path: Path, env: dict[str, str], revision: str
) -> None:
    folder = cached(tmp_path)
    text, seconds, _ = fetch(tmp_path, env, revision=revision)
    assert json.loads(text) == [str(folder), COMMIT, ["data/train.jsonl"]]
    assert seconds < 15  # a retry of the hub's library alone takes longer


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"HF_HUB_OFFLINE": "1"}, UNREACHABLE])
@pytest.mark.parametrize("given", [{}, {"revision": OTHER}, {"patterns": ["other/*"]}])
def test_what_is_not_cached_is_refused_at_once_without_a_network(
    tmp_path: Path, env: dict[str, str], given: dict[str, Any]
) -> None:
    if given:
        cached(tmp_path)
    text, seconds, _ = fetch(tmp_path, env, **given)
    revision = given.get("revision", "main")
    assert f"dataset org/name is not in the cache at revision '{revision}', and" in text
    assert ("HF_HUB_OFFLINE disables" if "HF_HUB_OFFLINE" in env else "ConnectError") in text
    assert text.endswith("or set data.path=FOLDER to a folder with its files.")
    assert seconds < 15


@pytest.mark.slow
def test_a_gated_dataset_says_where_its_terms_are_and_opens_with_a_token(tmp_path: Path) -> None:
    with serving(gated=True) as env:
        text, seconds, _ = fetch(tmp_path, env)
        assert "dataset org/name is gated: accept its terms at http://127.0.0.1" in text
        assert "/datasets/org/name, then set HF_TOKEN" in text
        assert seconds < 15
        assert COMMIT in fetch(tmp_path, env, token=f" {TOKEN}\n")[0]
        assert COMMIT in fetch(tmp_path / "again", {**env, "HF_TOKEN": TOKEN})[0]


@pytest.mark.slow
def test_an_unknown_dataset_is_named(tmp_path: Path) -> None:
    with serving() as env:
        text, _, _ = fetch(tmp_path, env, hub_id="org/nmae")
    assert "dataset org/nmae was not found: check the name at" in text


@pytest.mark.slow
def test_a_revision_that_is_gone_is_named_even_where_it_is_cached(tmp_path: Path) -> None:
    cached(tmp_path, ref="v1")
    with serving() as env:
        text, _, _ = fetch(tmp_path, env, revision="v1")
    assert "dataset org/name has no revision 'v1': choose one from" in text


@pytest.mark.slow
def test_a_token_that_the_hub_refuses_is_not_shown(tmp_path: Path) -> None:
    with serving() as env:
        text, _, _ = fetch(tmp_path, env, token="hf_secret_refused")
        assert "the hub rejects the token: set HF_TOKEN to a new one" in text
        text, _, _ = fetch(tmp_path, env, token="hf_secret\nX-Header: 1")
        assert "the access token contains a blank or control character" in text


@pytest.mark.slow
def test_a_hub_that_is_down_leaves_the_cache(tmp_path: Path) -> None:
    with serving(private_error="server") as env:
        text, seconds, _ = fetch(tmp_path, env)
        assert "the hub is not available (status 503): connect to the network once" in text
        folder = cached(tmp_path)
        text, _, _ = fetch(tmp_path, env)
        assert json.loads(text)[0] == str(folder)
    assert seconds < 15


@pytest.mark.slow
def test_patterns_that_match_nothing_and_a_wrong_id_are_named(tmp_path: Path) -> None:
    with serving() as env:
        text, _, _ = fetch(tmp_path, env, patterns=["json-mode.json"])
        assert f"contains no file matching json-mode.json at commit {COMMIT}" in text
        text, _, _ = fetch(tmp_path, env, hub_id="./folder/of/rows")
        assert (
            "dataset ./folder/of/rows is not a valid hub id: it must have the form owner/name"
            in text
        )
