"""Compare what a server lists with what its spec pins: a description is part of a model's input."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from experiments.agents.running_server import ServerError
from experiments.agents.server_specs import ServerSpec


def hashes(tools: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the first 12 hex digits of the hash of each tool's description, by name.

    >>> hashes([{"name": "f", "description": "", "input_schema": {}}])
    {'f': '63d51c517c89'}
    """
    return {str(tool["name"]): _digest(tool) for tool in tools}


def listing_hash(tools: Sequence[dict[str, Any]]) -> str:
    """Return the first 12 hex digits of the hash of a whole listing, whatever its order."""
    return _digest(hashes(tools))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check(spec: ServerSpec, tools: Sequence[dict[str, Any]]) -> None:
    """Check that a server lists the tools that its spec pins.

    Raises:
        ServerError: a tool was added, removed or changed; the message names them.
    """
    if not spec.tools:
        return
    found = hashes(tools)
    changed = {
        "changed": [
            name for name in spec.tools if name in found and found[name] != spec.tools[name]
        ],
        "missing": [name for name in spec.tools if name not in found],
        "added": [name for name in found if name not in spec.tools],
    }
    parts = [f"{how}: {', '.join(names)}" for how, names in changed.items() if names]
    if parts:
        raise ServerError(
            f"server {spec.name} lists other tools than conf/servers/{spec.name}.yaml pins "
            f"({'; '.join(parts)}): read the new descriptions, then pin what "
            f"`python -m experiments servers {spec.name} --pins` prints."
        )
