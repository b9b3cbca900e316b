"""Data description -> the lengths of rows that an earlier run has encoded and kept on this disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.config import DataConfig

# Entries that are looked at, the newest first; each costs a millisecond.
_MOST_ENTRIES = 200
# As `data` leaves them out of what an entry depends on.
_NO_PART = ("label", "path", "weight", "sources", "test_sources")


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Training rows of a cache entry, in tokens."""

    rows: int
    mean: float
    longest: int
    trained_share: float


def find(data: DataConfig, limit: int) -> Lengths | None:
    """Return the newest entry for one hub dataset under a limit of tokens; None if there is none.

    Which tokenizer made it is not compared, since a plan loads none.
    """
    folder = Path(data.cache) if data.cache and data.source == "hub" else None
    if folder is None or not folder.is_dir():
        return None
    own = dataclasses.asdict(data)
    source = json.loads(json.dumps({k: v for k, v in own.items() if k not in _NO_PART}))
    wanted = {"source": source, "name": data.label, "limit": limit}
    newest = sorted(folder.glob("*.safetensors"), key=lambda f: f.stat().st_mtime, reverse=True)
    return next(filter(None, (_read(file, wanted) for file in newest[:_MOST_ENTRIES])), None)


def _read(file: Path, wanted: dict[str, Any]) -> Lengths | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            parts = json.loads((stored.metadata() or {}).get("parts", "{}"))
            if any(parts.get(key) != value for key, value in wanted.items()):
                return None
            lengths, spans = stored.get_tensor("train/lengths"), stored.get_tensor("train/spans")
    except (OSError, ValueError, SafetensorError):
        return None  # damaged, or being written: it is made again when it is needed
    tokens = int(lengths.sum())
    if tokens == 0:
        return None
    trained = int((spans[:, 2] - spans[:, 1]).sum())
    return Lengths(len(lengths), tokens / len(lengths), int(lengths.max()), trained / tokens)
