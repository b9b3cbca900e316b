"""Find the newest complete checkpoint of a run, and read its state and weights."""

import json
from pathlib import Path
from typing import Any

from experiments.records import integrity
from experiments.runtime.progress import log

CHECKPOINTS = "checkpoints"


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint in a run's folder; incomplete ones are logged."""
    checkpoints = []
    for path in (folder / CHECKPOINTS).glob("checkpoint-*"):
        if problem := integrity.checkpoint_problem(path):
            log(f"  skipped: {path.name} ({problem})")
            continue
        checkpoints.append((state_of(path)["global_step"], path))
    return max(checkpoints)[1] if checkpoints else None


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Return the trainer state that is stored in a checkpoint.

    Raises:
        OSError, ValueError: the checkpoint is incomplete.
    """
    text = (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    state: dict[str, Any] = json.loads(text)
    return state


def load_weights(checkpoint: Path, model: Any) -> None:
    """Load the weights of a checkpoint into a model, in place."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
    else:
        model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)
