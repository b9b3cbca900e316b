"""Store answers during an evaluation, so that they are not generated again after an interruption.

Each answer is appended to a file in the run's folder as soon as it ends. The first line identifies
the weights, prompts and limits; a file that belongs to others is overwritten.
"""

import hashlib
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import RecordError
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.models import Base

FOLDER = "answers"


class ProgressFile:
    """The answers of one model to one split, by the index of the prompt."""

    def __init__(self, path: Path, key: str) -> None:
        """Read the existing answers if they belong to this key, and open the file for appending."""
        self.path = path
        self.saved_answers = _read(path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "a" if self.saved_answers else "w"
        self._file = path.open(mode, encoding="ascii")
        if mode == "w":
            self._write_line({"key": key})
        else:
            self._file.write("\n")  # ends a line that was cut off

    def add(self, index: int, answer: Generated) -> None:
        """Write an answer to disk at once, so that it survives the end of the process."""
        self._write_line({"index": index, **vars(answer)})

    def close(self) -> None:
        """Close the file; it is kept until the run is finished."""
        self._file.close()

    def _write_line(self, value: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()
        except OSError as error:
            raise RecordError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then rerun "
                "the same command to resume after the last complete answer."
            ) from error


def saved_answers(path: Path, key: str) -> dict[int, Generated]:
    """Return the answers in a file and in the corresponding files of the run's other processes."""
    answers: dict[int, Generated] = {}
    for file in sorted(path.parent.glob("*" + path.suffix)):
        if file.name.startswith(path.stem + "."):
            answers |= _read(file, key)
    return answers


def key(model: Any, base: Base, prompts: Sequence[list[int]], limits: Limits) -> str:
    """Return a hash of everything that an answer depends on, except the code."""
    digest = hashlib.sha256(base.sha256.encode())
    digest.update(json.dumps([base.precision.name, base.end_ids, limits.new_tokens]).encode())
    for prompt in prompts:
        digest.update(array("i", [len(prompt), *prompt]).tobytes())
    for name, tensor in sorted(_changed_weights(model).items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _changed_weights(model: Any) -> dict[str, Any]:
    """Return the weights that may differ from the base: the adapter's, or all trained ones."""
    from peft import PeftModel, get_peft_model_state_dict

    if isinstance(model, PeftModel):
        adapter: dict[str, Any] = get_peft_model_state_dict(model, save_embedding_layers=False)
        return adapter
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _read(path: Path, key: str) -> dict[int, Generated]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return {}
    answers: dict[int, Generated] = {}
    key_matches = False
    for line in lines:
        try:
            value = json.loads(line)
            if "key" in value:
                key_matches = value["key"] == key
            elif key_matches:
                index = value.pop("index")
                answers[index] = Generated(**value)
        except (ValueError, TypeError, KeyError):
            continue  # cut off when the process was killed
    return answers if key_matches else {}
