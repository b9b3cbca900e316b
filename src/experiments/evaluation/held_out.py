"""Compute a model's loss on a text unrelated to the task, window by window.

The windows are the items of the metric `forgetting`. They are the same for every model with one
tokenizer, so base and tuned model can be compared pairwise.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import models
from experiments.config import RunConfig
from experiments.errors import DataError
from experiments.evaluation import shared
from experiments.models import Base

# Long enough for context to matter and short enough for any model; the last window of a document
# may be shorter.
WINDOW_TOKENS = 256
# More text would narrow the confidence interval below what is useful, and cost time in each run.
MAX_WINDOWS = 256
EMBEDDED_NAME = "held_out.jsonl"


@dataclass(frozen=True)
class Window:
    """A piece of the text."""

    input_ids: list[int]
    """Shape (L,)."""
    text_bytes: int
    """UTF-8 bytes of the predicted tokens, which are all but the first."""

    @property
    def labels(self) -> list[int]:
        """Labels for the loss: every token is predicted except the first, which has no context."""
        return self.input_ids


@dataclass(frozen=True)
class HeldOutText:
    """The held-out text of a run, and the hash of its file."""

    documents: list[str]
    sha256: str
    shipped: bool
    """Whether the text is shipped with the base model; only then are its control tokens parsed as
    such."""


def read(run: RunConfig) -> HeldOutText | None:
    """Return the text that a run names, or the text of its embedded base; None if there is none.

    Raises:
        DataError: the file does not exist, is not UTF-8 text, or is empty.
    """
    name = run.eval.held_out_text
    if name is not None:
        return _read_file(Path(name).expanduser(), f"eval.held_out_text={name}", shipped=False)
    if run.model.embedded is None:
        return None
    file = models.BASES / run.model.embedded / EMBEDDED_NAME
    return _read_file(file, EMBEDDED_NAME, shipped=True) if file.is_file() else None


def _read_file(file: Path, key: str, *, shipped: bool) -> HeldOutText:
    try:
        content = file.read_bytes()
        text = content.decode("utf-8")
        lines = text.splitlines()
        texts = [json.loads(line)["text"] for line in lines] if file.suffix == ".jsonl" else [text]
    except OSError as error:
        raise DataError(f"{key} cannot be read ({error.strerror}): give a text file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{key} is neither UTF-8 text nor JSON lines with a `text` column ({error}): give "
            "another file."
        ) from error
    documents = [str(document) for document in texts if str(document).strip()]
    if not documents:
        raise DataError(f"{key} contains no text: give another file.")
    return HeldOutText(documents, hashlib.sha256(content).hexdigest()[:16], shipped)


def windows(held_out_text: HeldOutText, base: Base) -> list[Window]:
    """Cut the text into windows of tokens, at most MAX_WINDOWS of them."""
    size = min(WINDOW_TOKENS, base.positions)
    result: list[Window] = []
    for document in held_out_text.documents:
        ids = _tokens(base.tokenizer, document, shipped=held_out_text.shipped)
        for start in range(0, len(ids) - 1, size):
            window_ids = ids[start : start + size]
            window_text = base.tokenizer.decode(window_ids[1:], skip_special_tokens=False)
            if len(window_ids) > 1:
                result.append(Window(window_ids, len(window_text.encode("utf-8", "replace"))))
            if len(result) == MAX_WINDOWS:
                return result
    return result


def _tokens(tokenizer: Any, document: str, *, shipped: bool) -> list[int]:
    """Return a document's token ids; control tokens in a user's text are encoded as plain text."""
    backend = tokenizer.backend_tokenizer
    previous = backend.encode_special_tokens
    backend.encode_special_tokens = not shipped
    try:
        return list(backend.encode(document, add_special_tokens=False).ids)
    finally:
        backend.encode_special_tokens = previous


def losses(model: Any, text_windows: list[Window]) -> list[float]:
    """Return the summed NLL of each window, in nats."""
    losses_of_windows = shared.token_losses(model, text_windows, "losses on the held-out text")
    return [math.fsum(window_losses) for window_losses in losses_of_windows]
