"""What is parsed from an assistant turn: its calls, its text and what is broken in it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The parsed content of an assistant turn."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """Calls `{"name": str, "arguments": dict}` in text order."""
    content: str = ""
    """Text outside of the calls and after the thinking, stripped."""
    malformed: bool = False
    """Whether a tag is unclosed or stray, contains no valid call, or the thinking does not end."""
    defects: tuple[str, ...] = ()
    """Unique names of broken or accepted defects: `unclosed tag`, `not a call`, ..."""
