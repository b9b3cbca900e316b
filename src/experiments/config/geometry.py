"""The dimensions that define a model's shape; a plan needs only these, not the weights."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures whose layers are known here; all others are counted as llama."""


@dataclass(frozen=True)
class Geometry:
    """A model's shape; `GeometryConfig` documents the fields."""

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
        """Whether this architecture is known; the layers of others are counted as llama's."""
        return self.architecture in FAMILIES

    @property
    def has_head_norms(self) -> bool:
        """Whether queries and keys are normalised per head, as in qwen3."""
        return self.architecture == "qwen3"

    @property
    def query_width(self) -> int:
        """Total width of all query heads."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Total width of all key heads, which is also that of all value heads."""
        return self.kv_heads * self.head_dim


@dataclass
class GeometryConfig:
    """A model's shape; null = read from the `config.json` in the model's folder."""

    architecture: str | None = None
    """`model_type` in config.json: `qwen3`, `qwen2`, `llama` or `mistral`."""
    hidden_size: int | None = None
    intermediate_size: int | None = None
    """Width of the MLP."""
    layers: int | None = None
    heads: int | None = None
    """Number of query heads."""
    kv_heads: int | None = None
    """Number of key and value heads."""
    head_dim: int | None = None
    vocabulary: int | None = None
    """Number of rows in the embedding matrix."""
    tied_embeddings: bool | None = None
    """Whether the LM head shares its weights with the embedding."""
    attention_bias: bool | None = None
    """Whether q, k and v have biases (and o, except in qwen2)."""
    mlp_bias: bool | None = None
    positions: int | None = None
    """Longest sequence, in tokens."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        missing = [name for name, value in values.items() if value is None]
        if missing and len(missing) < len(values):
            yield (
                f"model.geometry lacks {', '.join(missing)}: set all fields, or none if the "
                "model's config.json is available"
            )
        for name, value in values.items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                yield f"model.geometry.{name}={value}: must be at least 1"
        if self.heads and self.kv_heads and self.kv_heads > 0 and self.heads % self.kv_heads:
            yield (
                f"model.geometry.heads={self.heads} is not a multiple of kv_heads={self.kv_heads}: "
                "each key-value head must serve the same number of query heads"
            )

    def shape(self) -> Geometry | None:
        """Return the shape, or None if the config does not set it."""
        if self.architecture is None:
            return None
        return Geometry(**{f.name: getattr(self, f.name) for f in fields(self)})
