"""Read the flags of turns and rows that tell whether they are trained.

Public names: `weight` (OpenAI, mistral-finetune, Together, Fireworks), `train` and `training`
(axolotl), `loss` and `loss_scale` (ms-swift, XTuner, ChatGLM), `masked` (torchtune, with inverted
meaning). 0 and false exclude a turn from training, 1 and true include it. Any other value rejects
the row, and so does a name whose meaning depends on the tool that wrote it, such as `mask`.
"""

from typing import Any

from experiments.data.formats.rejection import Rejected, Row, excerpt

_TRAINED_FLAGS = (
    *("weight", "train", "training", "trainable", "do_train"),
    *("loss", "use_loss", "loss_weight", "loss_scale"),
)
_MASKED_FLAG = "masked"
_AMBIGUOUS_FLAGS = (
    *("mask", "train_detail", "training_detail", "weights", "labels", "completion_mask"),
    *("loss_mask", "loss_masks", "assistant_mask", "assistant_masks"),
)
NAMES = frozenset((*_TRAINED_FLAGS, _MASKED_FLAG, *_AMBIGUOUS_FLAGS))
# A row's `labels`, `loss` or `training` may be anything; the following are read if they are 0 or 1.
_ROW_FLAGS = ("train", "trainable", "do_train")
_AMBIGUOUS_ROW_FLAGS = frozenset(_AMBIGUOUS_FLAGS) - {"labels", "weights"}
_ROW_NAMES = _AMBIGUOUS_ROW_FLAGS | {"weight", *_ROW_FLAGS}


def trained(turn: Row) -> bool | None:
    """Return whether a turn is trained; None if it has no flag.

    Raises:
        Rejected: malformed_flag.
    """
    if NAMES.isdisjoint(turn):
        return None
    flag_values: dict[str, bool] = {}
    for name in (*_TRAINED_FLAGS, _MASKED_FLAG):
        if turn.get(name) is not None:
            flag_values[name] = _flag_value(name, turn[name]) is not (name == _MASKED_FLAG)
    _refuse_ambiguous(turn, _AMBIGUOUS_FLAGS)
    if len(set(flag_values.values())) > 1:
        raise Rejected(
            "malformed_flag", f"{' and '.join(flag_values)} contradict each other in one turn"
        )
    return next(iter(flag_values.values()), None)


def row_trained(raw: Row) -> bool:
    """Return whether a row is trained at all.

    Raises:
        Rejected: malformed_flag.
    """
    if _ROW_NAMES.isdisjoint(raw):
        return True
    _refuse_ambiguous(raw, _AMBIGUOUS_ROW_FLAGS)
    weight = raw.get("weight")
    if weight is not None and not isinstance(weight, str) and not _flag_value("weight", weight):
        return False
    return not any(is_flag(raw.get(name)) and not raw[name] for name in _ROW_FLAGS)


def is_flag(value: Any) -> bool:
    """Return whether a value is true, false, 0 or 1."""
    return isinstance(value, bool | int | float) and value in (0, 1)


def _flag_value(name: str, value: Any) -> bool:
    if not is_flag(value):
        raise Rejected(
            "malformed_flag", f"{name} is {excerpt(value)}; write 1 (trained) or 0 (not trained)"
        )
    return bool(value)


def _refuse_ambiguous(source: Row, names: Any) -> None:
    for name in names:
        if source.get(name) is not None:
            raise Rejected(
                "malformed_flag",
                f"{name!r} is ambiguous: write weight, 1 (trained) or 0, in each turn",
            )
