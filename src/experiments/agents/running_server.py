"""One running MCP server: start it, list its tools, call them with a time-out, end it.

The server belongs to one thread with its own event loop, because a client must be entered and left
in the same task. Calls come from the main thread, one after another.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import re
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import psutil

from experiments.agents import sandbox, server_environments
from experiments.agents.server_specs import ServerSpec
from experiments.errors import ExperimentError

RESULT_BYTES = 16_384
"""Limit on the text of one result, in UTF-8 bytes; the rest is cut and marked `[cut]`."""
ARGUMENT_BYTES = 65_536
"""Limit on the arguments of one call as JSON, in UTF-8 bytes."""


class ServerError(ExperimentError, RuntimeError):
    """A server does not start, is gone, or shows tools that differ from the pinned ones."""


@dataclass(frozen=True)
class ToolResult:
    """What a call returned."""

    text: str
    """Text blocks, joined; `[image]` and the like stand for other blocks."""
    outcome: str
    """`ok`, `error` (reported by the tool), `timeout`, or `dead` (the server is gone)."""


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself."""

    version: str
    protocol: str
    tools: list[dict[str, Any]]
    """In the order of the server, with `name`, `description` and `input_schema`."""


class RunningServer:
    """A started server; `call` and `stop` may be used from one thread."""

    def __init__(self, spec: ServerSpec, place: sandbox.Place, call_timeout_s: float = 5) -> None:
        """Start the server and read its tools.

        Raises:
            ServerError: it does not start or list its tools in time.
            ConfigError: its environment is not built, or it may not run without a sandbox.
        """
        self.spec, self.place, self.call_timeout_s = spec, place, call_timeout_s
        self._mark = uuid.uuid4().hex
        environment = server_environments.built(spec.environment)
        self._command = sandbox.command(spec, environment, place, self._mark)
        self._ready: concurrent.futures.Future[ServerInfo] = concurrent.futures.Future()
        self._messages = place.folder.with_name(f"{spec.name}-{self._mark}.log")
        self._thread = threading.Thread(target=self._serve, name=spec.name, daemon=True)
        self._thread.start()
        try:
            self.info = self._ready.result(spec.start_timeout_s)
        except Exception as error:
            self.kill()
            reason = self._reason(error)
            raise ServerError(f"server {spec.name} did not start: {reason}.") from error

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Call a tool; a server that timed out or died is ended and must be started again."""
        from mcp import MCPError

        given = self.place.inward(arguments)
        waited = asyncio.run_coroutine_threadsafe(self._client.call_tool(name, given), self._loop)
        try:
            return self._read(waited.result(self.call_timeout_s))
        except TimeoutError:
            self.kill()
            return ToolResult(f"no result within {self.call_timeout_s:g} s", "timeout")
        except MCPError as error:
            if self.alive and "closed" not in str(error).lower():
                return ToolResult(self._shown(str(error)), "error")
        except Exception as error:  # whatever a broken server makes the client raise
            logging.getLogger(__name__).debug("%s: %r", self.spec.name, error)
        self.kill()
        return ToolResult("the server ended", "dead")

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._thread.is_alive() and bool(self._processes())

    def stop(self) -> None:
        """End the server in the protocol's way, then by force."""
        with contextlib.suppress(RuntimeError, AttributeError):
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)
        self.kill()

    def kill(self) -> None:
        """End the server's processes at once."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
        with contextlib.suppress(RuntimeError, AttributeError):
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    def _serve(self) -> None:
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        try:
            asyncio.run(self._session())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _session(self) -> None:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client

        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        program, *rest = self._command
        started = StdioServerParameters(
            command=program,
            args=rest,
            env={sandbox.MARK: self._mark},
            cwd=self.place.folder,
            encoding_error_handler="replace",
        )
        with self._messages.open("w", encoding="utf-8") as messages:
            async with Client(stdio_client(started, errlog=messages)) as self._client:
                self._ready.set_result(await _info(self._client))
                await self._closing.wait()

    def _processes(self) -> list[psutil.Process]:
        """Return the first process of the server, the child that has its mark."""
        return [child for child in psutil.Process().children() if self._is_ours(child)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return bool(process.environ().get(sandbox.MARK) == self._mark)
        except psutil.Error:
            return False

    def _read(self, result: Any) -> ToolResult:
        text = self._shown("\n".join(_block_text(block) for block in result.content))
        pattern = self.spec.error_text
        failed = bool(result.is_error) or bool(pattern and re.search(pattern, text))
        return ToolResult(text, "error" if failed else "ok")

    def _shown(self, text: str) -> str:
        text = self.place.outward(text)
        for pattern, replacement in self.spec.replaced.items():
            text = re.sub(pattern, replacement, text)
        content = text.encode("utf-8", "replace")
        if len(content) <= RESULT_BYTES:
            return content.decode()
        return content[:RESULT_BYTES].decode("utf-8", "ignore") + " [cut]"

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no listing of tools within {self.spec.start_timeout_s:g} s"
        text = self._messages.read_text(errors="replace") if self._messages.is_file() else ""
        lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else f"{type(error).__name__}: {error}"


async def _info(client: Any) -> ServerInfo:
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [_tool(tool) for tool in page.tools]
        cursor = page.next_cursor
        if not cursor:
            return ServerInfo(client.server_info.version, str(client.protocol_version), tools)


def _tool(tool: Any) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description or ""}
    return {**described, "input_schema": tool.input_schema}


def _block_text(block: Any) -> str:
    return str(block.text) if block.type == "text" else f"[{block.type}]"
