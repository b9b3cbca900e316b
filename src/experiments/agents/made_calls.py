"""A call of an agent, as it is recorded."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MadeCall:
    """A call of an agent, and what came of it."""

    tool: str
    """`SERVER__NAME`, as the agent wrote it."""
    arguments: Any
    outcome: str
    """`ok`, `error`, `timeout`, `dead`, or `refused` (not sent, because it is not valid)."""
    text: str
    """The result, or why the call was refused."""
