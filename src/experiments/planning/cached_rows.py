"""Look up the row lengths that an earlier run encoded and cached on this disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.config import DataConfig

# Maximum number of entries to read, the newest first; each takes a millisecond.
_MOST_ENTRIES = 200
# Keys that do not affect a cache entry, as in `data`.
_IGNORED_KEYS = ("label", "path", "weight", "sources", "test_sources", "train_seed")


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Lengths of the training rows of a cache entry, in tokens."""

    rows: int
    mean: float
    longest: int
    trained_share: float


def find(data: DataConfig, limit: int) -> Lengths | None:
    """Return the newest entry for one hub dataset and token limit, or None if there is none.

    The tokenizer of the entry is not compared, because a plan does not load one.
    """
    folder = Path(data.cache) if data.cache and data.source == "hub" else None
    if folder is None or not folder.is_dir():
        return None
    fields = dataclasses.asdict(data)
    source = json.loads(json.dumps({k: v for k, v in fields.items() if k not in _IGNORED_KEYS}))
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
        return None  # damaged or being written; the run that needs it will rebuild it
    tokens = int(lengths.sum())
    if tokens == 0:
        return None
    trained = int((spans[:, 2] - spans[:, 1]).sum())
    return Lengths(len(lengths), tokens / len(lengths), int(lengths.max()), trained / tokens)
