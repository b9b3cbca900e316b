"""The servers of a run: started when first used, used by all episodes, replaced if they fail."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.agents import listings
from experiments.agents.episode_folder import EpisodeFolder
from experiments.agents.running_server import RunningServer, ServerInfo, ToolResult
from experiments.agents.server_specs import ServerSpec


@dataclass
class ServerGroup:
    """Servers that share one episode folder."""

    specs: dict[str, ServerSpec]
    """The servers that may be started, by name."""
    folder: EpisodeFolder
    call_timeout_s: float = 5
    """Limit on the wall time of a call, in seconds."""
    _running: dict[str, RunningServer] = field(default_factory=dict)

    def info(self, name: str) -> ServerInfo:
        """Return what a server lists.

        Raises:
            ServerError: it does not start, or lists other tools than its spec pins.
        """
        return self._started(name).info

    def call(self, server: str, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Call a tool; after a time-out or a death the next call starts a new process.

        Raises:
            ServerError: the server does not start, or lists other tools than its spec pins.
        """
        result = self._started(server).call(name, arguments)
        if result.outcome in ("timeout", "dead"):
            del self._running[server]
        return result

    def _started(self, name: str) -> RunningServer:
        running = self._running.get(name)
        if running is None:
            running = RunningServer(self.specs[name], self.folder.place, self.call_timeout_s)
            try:
                listings.check(self.specs[name], running.info.tools)
            except Exception:
                running.kill()
                raise
            self._running[name] = running
        return running

    def stop(self) -> None:
        """End all servers."""
        for running in self._running.values():
            running.stop()
        self._running.clear()


@contextlib.contextmanager
def started(
    specs: dict[str, ServerSpec], sandbox: str, call_timeout_s: float = 5
) -> Iterator[ServerGroup]:
    """Yield servers with a temporary episode folder; all processes end with the block.

    Args:
        specs: the servers that may be used.
        sandbox: `bwrap`, `none` or `stateless`.
        call_timeout_s: limit on the wall time of a call, in seconds.
    """
    root = Path(tempfile.mkdtemp(prefix="episode-"))
    group = ServerGroup(specs, EpisodeFolder(root / "servers", sandbox), call_timeout_s)
    try:
        yield group
    finally:
        group.stop()
        shutil.rmtree(root, ignore_errors=True)
