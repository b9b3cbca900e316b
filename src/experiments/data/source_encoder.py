"""Encode the rows of one source, or load them from the cache."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments.config import DataConfig
from experiments.data import cache, encoding, round_trip, sources, tally
from experiments.data.encoding import EncodedSource
from experiments.data.located import Located
from experiments.data.rendering import Renderer
from experiments.errors import DataError


@dataclass(frozen=True)
class SourceEncoder:
    """Encodes the rows of a source, or loads them from the cache."""

    spec: DataConfig
    renderer: Renderer
    limit: int
    vocabulary: str
    inspecting: bool
    """Whether the rows are only inspected, so that a run's limits are not enforced."""

    def encode(self, located: Located, shares: dict[str, float]) -> EncodedSource:
        """Return the rows of a source, with these shares of it held back.

        Raises:
            DataError: the source is unreadable, or too many of its rows are refused.
        """

        def build() -> EncodedSource:
            rows = sources.read(located, **shares)
            shape_row, share = (
                partial(encoding.shaped, spec=self.spec),
                located.spec.max_reject_share,
            )
            check = round_trip.check(rows.splits, self.renderer, share, shape_row)
            encoded = encoding.encode(rows, self.spec, self.renderer, self.limit)
            encoded.facts["calls_read_back"] = check.facts()
            return encoded

        # Generated rows are not cached: generating them is as fast as reading them.
        use_cache = self.spec.cache is not None and located.place is not None
        source = self._cached(located, shares, build) if use_cache else build()
        where, key = str(located.place or located.name), f"{located.key}.max_reject_share"
        share = located.spec.max_reject_share
        if problem := tally.too_many_refused(source.facts, share, where, key):
            if not self.inspecting:
                raise DataError(problem)
            source.facts["too_many_refused"] = problem
        return source

    def _cached(
        self, located: Located, shares: dict[str, float], build: Callable[[], EncodedSource]
    ) -> EncodedSource:
        source = asdict(located.spec)
        for key in ("label", "path", "weight", "train_seed"):
            source.pop(key, None)
        shown_keys = (
            *("thinking", "system_prompt", "unified_system_prompt", "tools_form"),
            *("tools_shown", "distractors", "seed"),
        )
        parts = {
            "files": located.files,
            "source": {k: v for k, v in source.items() if k not in ("sources", "test_sources")},
            "name": located.name,
            "trained": located.trained,
            "train_seed": located.train_seed,
            "shares": shares,
            "shown": {key: getattr(self.spec, key) for key in shown_keys},
            "limit": self.limit,
            "vocabulary": self.vocabulary,
            "mode": self.renderer.mode.facts(),
        }
        return cache.cached(Path(self.spec.cache or ""), parts, build)[0]


def vocabulary(tokenizer: Any, end_ids: list[int]) -> str:
    """Hash everything that determines tokenisation: tokenizer, chat template and end tokens."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([tokenizer.chat_template, end_ids]).encode())
    return digest.hexdigest()
