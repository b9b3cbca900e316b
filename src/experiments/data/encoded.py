"""A row as tokens."""

from array import array
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Encoded:
    """A row as tokens, 4 bytes each."""

    row: dict[str, Any]
    ids: "array[int]"
    """Token ids of the whole row, shape (L,)."""
    trained: tuple[tuple[int, int], ...]
    """Where trained tokens lie: (first, behind the last), in order."""
    prompt_length: int
    """Number of tokens before the last assistant turn."""
    own_prompt: "array[int] | None" = None
    """The template's own prompt for that turn, where it is not what the row's tokens begin with."""

    @property
    def input_ids(self) -> list[int]:
        """Shape (L,)."""
        return self.ids.tolist()

    @property
    def labels(self) -> list[int]:
        """Shape (L,): the token where it is trained, else -100."""
        labels = [-100] * len(self.ids)
        for first, behind in self.trained:
            labels[first:behind] = self.ids[first:behind]
        return labels

    @property
    def prompt_ids(self) -> list[int]:
        """Everything before the last assistant turn's first token."""
        return self.ids[: self.prompt_length].tolist()

    def asked_ids(self, *, own: bool) -> list[int]:
        """Return what a model is asked with: the template's own prompt, or training's."""
        if own and self.own_prompt is not None:
            return self.own_prompt.tolist()
        return self.prompt_ids

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained."""
        return sum(behind - first for first, behind in self.trained)

    @property
    def answer_tokens(self) -> int:
        """Length of the last assistant turn, end-of-turn included; 0 where it is not trained."""
        return sum(b - a for a, b in self.trained if a >= self.prompt_length)


def joined(row: dict[str, Any], ids: list[list[int]], trained: list[bool]) -> Encoded:
    """Return a row whose pieces were tokenised one by one; the last piece is the last answer."""
    whole = array("i")
    spans = []
    start = 0
    for of_piece, is_trained in zip(ids, trained, strict=True):
        start = len(whole)
        whole.fromlist(of_piece)  # 13 us for 545 ids, extend takes 32
        if is_trained:
            spans.append((start, len(whole)))
    return Encoded(row, whole, tuple(spans), start)
