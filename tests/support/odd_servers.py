"""MCP servers that misbehave: real processes, whose tools do what a test asks for."""

from typing import Any

from experiments.agents.server_specs import ServerSpec

_TOOLS = """
import os, socket, sys, time
from mcp.server.mcpserver import MCPServer
from mcp_types import ImageContent
server = MCPServer("odd")

@server.tool()
def hang() -> str:
    while True:
        pass

@server.tool()
def die() -> str:
    os._exit(3)

@server.tool()
def long(megabytes: int) -> str:
    return "x" * (megabytes << 20)

@server.tool()
def write(path: str, megabytes: int = 0) -> str:
    with open(path, "w") as file:
        file.write("x" * (megabytes << 20))
        file.flush()
    return "written"

@server.tool()
def read(path: str) -> str:
    return open(path).read()

@server.tool()
def connect(port: int) -> str:
    socket.create_connection(("127.0.0.1", port), timeout=2)
    return "connected"

@server.tool()
def allocate(gigabytes: int) -> str:
    return str(len(bytearray(gigabytes << 30)))

@server.tool()
def variables() -> str:
    return " ".join(sorted(os.environ))

@server.tool()
def folder() -> str:
    return os.getcwd()

@server.tool()
def image() -> list[ImageContent]:
    return [ImageContent(type="image", data="aGk=", mime_type="image/png")]

@server.tool()
def nothing() -> None:
    return None

@server.tool()
def spawn() -> str:
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    return "spawned"
"""
_PRINTS = _TOOLS + "\nprint('hello from stdout', flush=True)\nserver.run()"
_DIES = "raise SystemExit('no licence found')"
_SILENT = "import time\ntime.sleep(600)"


def spec(code: str = _TOOLS + "\nserver.run()", **changed: Any) -> ServerSpec:
    """Return the spec of a server that runs this code, by default one with all the tools."""
    command = ["bin/python", "-c", code]
    return ServerSpec("odd", "python_sdk2", command, stateful=True, **changed)


def that_prints() -> ServerSpec:
    """Return a server that writes a line to stdout, which belongs to the protocol."""
    return spec(_PRINTS)


def that_dies() -> ServerSpec:
    """Return a server that ends before it answers."""
    return spec(_DIES)


def that_is_silent() -> ServerSpec:
    """Return a server that never answers."""
    return spec(_SILENT, start_timeout_s=2)
