"""`servers`: build the environments of the MCP servers, start each server, and print its tools."""

import argparse
import dataclasses
import importlib.util

from experiments.agents.server_specs import ServerSpec
from experiments.errors import ConfigError, ExperimentError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("names", nargs="*", help="servers of conf/servers (default: all)")
    parser.add_argument("--build", action="store_true", help="build missing environments first")
    parser.add_argument("--pins", action="store_true", help="print `tools:` for the server's file")
    parser.add_argument("--sandbox", default="auto", help="auto, bwrap or none (default auto)")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.agents import sandbox, server_environments, server_specs

    check_extra()
    specs = server_specs.chosen(arguments.names)
    mode = sandbox.resolved(arguments.sandbox)
    print(f"sandbox: {mode}" + (f" ({why})" if (why := sandbox.bwrap_problem()) else ""))
    if arguments.build:
        for environment in sorted({spec.environment for spec in specs.values()}):
            server_environments.build(environment)
    failed = [name for name in specs if not _shown(specs[name], mode, arguments.pins)]
    if failed:
        raise ConfigError(f"not usable: {', '.join(failed)}; the reasons are above.")


def check_extra() -> None:
    """Check that the extra `agents` is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("mcp") is None:
        raise ConfigError(
            "the package mcp is not installed: run `pip install -c constraints.txt -e '.[agents]'`."
        )


def _shown(spec: ServerSpec, mode: str, pins: bool) -> bool:
    from experiments.agents import listings, server_group

    checked = dataclasses.replace(spec, tools={}) if pins else spec
    try:
        with server_group.started({spec.name: checked}, mode) as group:
            info = group.info(spec.name)
    except ExperimentError as error:
        print(f"{spec.name}: {error}")
        return False
    names = [tool["name"] for tool in info.tools]
    print(
        f"{spec.name} {info.version}, protocol {info.protocol}, {len(names)} tools, listing "
        f"{listings.listing_hash(info.tools)}: {', '.join(names)}"
    )
    if pins:
        print(
            "tools:", *(f"  {k}: {v!r}" for k, v in listings.hashes(info.tools).items()), sep="\n"
        )
    return True
