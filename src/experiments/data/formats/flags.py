"""Read the flags of turns and rows that tell whether they are trained.

Public names: `weight` (OpenAI, mistral-finetune, Together, Fireworks), `train` and `training`
(axolotl), `loss` and `loss_scale` (ms-swift, XTuner, ChatGLM), `masked` (torchtune, with inverted
meaning). 0 and false exclude a turn from training, 1 and true include it. Any other value rejects
the row, and so does a name whose meaning depends on the tool that wrote it, such as `mask`.
"""

from typing import Any

from experiments.data.formats.rejection import Rejected, Row, excerpt

_TRAINED = (
    *("weight", "train", "training", "trainable", "do_train"),
    *("loss", "use_loss", "loss_weight", "loss_scale"),
)
_LEFT_OUT = "masked"
_UNREAD = (
    *("mask", "train_detail", "training_detail", "weights", "labels", "completion_mask"),
    *("loss_mask", "loss_masks", "assistant_mask", "assistant_masks"),
)
NAMES = frozenset((*_TRAINED, _LEFT_OUT, *_UNREAD))
# A row's `labels`, `loss` or `training` may be anything; the following are read if they are 0 or 1.
_OF_A_ROW = ("train", "trainable", "do_train")
_UNREAD_OF_A_ROW = frozenset(_UNREAD) - {"labels", "weights"}
_ROW_NAMES = _UNREAD_OF_A_ROW | {"weight", *_OF_A_ROW}


def trained(turn: Row) -> bool | None:
    """Return whether a turn is trained; None if it has no flag.

    Raises:
        Rejected: malformed_flag.
    """
    if NAMES.isdisjoint(turn):
        return None
    said: dict[str, bool] = {}
    for name in (*_TRAINED, _LEFT_OUT):
        if turn.get(name) is not None:
            said[name] = _read(name, turn[name]) is not (name == _LEFT_OUT)
    _refuse(turn, _UNREAD)
    if len(set(said.values())) > 1:
        raise Rejected("malformed_flag", f"{' and '.join(said)} contradict each other in one turn")
    return next(iter(said.values()), None)


def row_trained(raw: Row) -> bool:
    """Return whether a row is trained at all.

    Raises:
        Rejected: malformed_flag.
    """
    if _ROW_NAMES.isdisjoint(raw):
        return True
    _refuse(raw, _UNREAD_OF_A_ROW)
    weight = raw.get("weight")
    if weight is not None and not isinstance(weight, str) and not _read("weight", weight):
        return False
    return not any(is_flag(raw.get(name)) and not raw[name] for name in _OF_A_ROW)


def is_flag(value: Any) -> bool:
    """Return whether a value is true, false, 0 or 1."""
    return isinstance(value, bool | int | float) and value in (0, 1)


def _read(name: str, value: Any) -> bool:
    if not is_flag(value):
        raise Rejected(
            "malformed_flag", f"{name} is {excerpt(value)}; write 1 (trained) or 0 (not trained)"
        )
    return bool(value)


def _refuse(given: Row, names: Any) -> None:
    for name in names:
        if given.get(name) is not None:
            raise Rejected(
                "malformed_flag",
                f"{name!r} is ambiguous: write weight, 1 (trained) or 0, in each turn",
            )
