"""The numbers that fix a model's shape: what a plan needs instead of its weights."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures whose layers are known here; others are counted as if they were llama's."""


@dataclass(frozen=True)
class Geometry:
    """A model's shape; the meaning of each field stands in `GeometryConfig`."""

    architecture: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    positions: int

    @property
    def is_known(self) -> bool:
        """Whether the layers of this architecture are known, or only assumed to be llama's."""
        return self.architecture in FAMILIES

    @property
    def has_head_norms(self) -> bool:
        """Whether queries and keys are normalised head by head, as qwen3 does."""
        return self.architecture == "qwen3"

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim


@dataclass
class GeometryConfig:
    """A model's shape; null = read from the `config.json` of its folder."""

    architecture: str | None = None
    """`model_type` of config.json: `qwen3`, `qwen2`, `llama` or `mistral`."""
    hidden_size: int | None = None
    intermediate_size: int | None = None
    """Width of the MLP."""
    layers: int | None = None
    heads: int | None = None
    """Query heads."""
    kv_heads: int | None = None
    """Key and value heads."""
    head_dim: int | None = None
    vocabulary: int | None = None
    """Rows of the embedding."""
    tied_embeddings: bool | None = None
    """Whether the head is the embedding."""
    attention_bias: bool | None = None
    """Biases on q, k and v (and on o, but for qwen2)."""
    mlp_bias: bool | None = None
    positions: int | None = None
    """Longest sequence, in tokens."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        lacking = [name for name, value in given.items() if value is None]
        if lacking and len(lacking) < len(given):
            yield (
                f"model.geometry lacks {', '.join(lacking)}: give every field, or none where the "
                "model's config.json is at hand"
            )
        for name, value in given.items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                yield f"model.geometry.{name}={value}: must be at least 1"
        if self.heads and self.kv_heads and self.kv_heads > 0 and self.heads % self.kv_heads:
            yield (
                f"model.geometry.heads={self.heads} is not a multiple of "
                f"kv_heads={self.kv_heads}: query heads share key heads in equal groups"
            )

    def whole(self) -> Geometry | None:
        """Return the shape; None where the config does not give it."""
        if self.architecture is None:
            return None
        return Geometry(**{f.name: getattr(self, f.name) for f in fields(self)})
