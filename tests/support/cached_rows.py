"""Rows of a file through the cache of converted rows."""

from pathlib import Path

from conftest import load
from experiments import data, models


def build(*overrides: str, may_be_empty: bool = False) -> data.TrainData:
    run = load(*overrides)
    vocabulary = models.load_vocabulary(load().model)
    return data.build(
        run,
        vocabulary.tokenizer,
        end_ids=vocabulary.end_ids,
        positions=vocabulary.positions or 1024,
        may_be_empty=may_be_empty,
    )


def from_cache(folder: Path, path: Path) -> tuple[str, int]:
    """Build once with a cache folder; return the fingerprint and the number of training rows."""
    built = build("data=jsonl", f"data.path={path}", f"data.cache={folder}")
    return built.fingerprint, len(built.train)
