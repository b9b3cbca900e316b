"""A local server with the hub's endpoints for model repositories: made, written to, read.

It keeps repositories in memory and every byte it was sent, headers left out.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_" + "planted" * 5
# The hub takes these apart from git; which is its choice, and told before an upload.
_LARGE = (".safetensors", ".pt", ".pth", ".gz", ".db")


@dataclass
class Repository:
    """One repository: its files now, and its commits."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    """Title and changed paths of each."""

    @property
    def sha(self) -> str:
        """The newest commit."""
        return hashlib.sha1(repr(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    """What the server holds, and how it behaves."""

    endpoint: str = ""
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: "write"})
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    refuses_commits: bool = False
    after_commit: Callable[[list[str]], None] = lambda changed: None
    """Called with the changed paths before the commit is answered."""

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Return the variables with which the hub's library finds this server and no other."""
        found = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1",
                 "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_TOKEN": token or "",
                 "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
        return found


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._get(body=False)

    def do_GET(self) -> None:
        self._get(body=True)

    def do_POST(self) -> None:
        content = self._content()
        path = unquote(self.path.partition("?")[0]).strip("/")
        if not self._may(path):
            return
        if path == "api/repos/create":
            self._create(json.loads(content))
        elif path == "api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(content))
        elif "/preupload/" in path:
            self._preupload(json.loads(content), path)
        elif "/commit/" in path:
            self._commit(content, path)
        else:
            self._send(404, {})

    def do_PUT(self) -> None:
        content = self._content()
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self._send(200, {})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            content = b"".join(parts)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.received.append(content)
        return content

    def _may(self, path: str) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        may = self.hub.tokens.get(given)
        if may == "write":
            return True
        self._send(403 if may else 401, {"X-Error-Message": "Invalid username or password."})
        return False

    def _create(self, given: dict[str, Any]) -> None:
        name = f"{given['organization']}/{given['name']}"
        there = name in self.hub.repositories
        private = given.get("visibility", "private") == "private"
        self.hub.repositories.setdefault(name, Repository(private))
        content = {"url": f"{self.hub.endpoint}/{name}", "id": name, "name": name}
        self._json(content, status=409 if there else 200)

    def _repository(self, path: str) -> Repository | None:
        parts = path.removeprefix("api/models/").split("/")
        found = self.hub.repositories.get("/".join(parts[:2]))
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if found is None or (found.private and given not in self.hub.tokens):
            self._send(404 if given in self.hub.tokens else 401, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def _preupload(self, given: dict[str, Any], path: str) -> None:
        if self._repository(path) is not None:
            modes = [
                {"path": f["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if f["path"].endswith(_LARGE) else "regular"}
                for f in given["files"]
            ]  # fmt: skip
            self._json({"files": modes})

    def _batch(self, given: dict[str, Any]) -> None:
        objects = []
        for one in given["objects"]:
            target = {"upload": {"href": f"{self.hub.endpoint}/objects/{one['oid']}"}}
            objects.append({**one, **({} if one["oid"] in self.hub.objects else
                                      {"actions": target})})  # fmt: skip
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, content: bytes, path: str) -> None:
        repository = self._repository(path)
        if repository is None:
            return
        if self.hub.refuses_commits:
            self._send(500, {"X-Error-Message": f"no room for {TOKEN}"})
            return
        title, changed = "", []
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
                continue
            changed.append(value["path"])
            if entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                assert entry["key"] == "deletedFile"
                del repository.files[value["path"]]
        repository.commits.append((title, changed))
        self.hub.after_commit(changed)
        name = "/".join(path.split("/")[2:4])
        url = f"{self.hub.endpoint}/{name}/commit/{repository.sha}"
        self._json({"success": True, "commitOid": repository.sha, "commitUrl": url})

    def _get(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0]).strip("/")
        repository = self._repository(path)
        if repository is None:
            return
        if path.startswith("api/models/"):
            files = [{"rfilename": name} for name in sorted(repository.files)]
            about = {"id": "/".join(path.split("/")[2:4]), "sha": repository.sha, "siblings": files}
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
                for name, content in sorted(repository.files.items())
            ]
            self._json(entries if "/tree/" in path else {**about, "private": repository.private})
            return
        name = path.split("/resolve/", 1)[1].partition("/")[2]
        if name not in repository.files:
            self._send(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = repository.files[name]
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": repository.sha}
        self._send(200, headers, content, body=body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(
        self, status: int, headers: dict[str, str], content: bytes = b"", *, body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve until the block is left."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub, "protocol_version": "HTTP/1.1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
