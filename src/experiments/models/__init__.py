"""Load the base model and tokenizer of a run, at a fixed commit, with a hash of the weights."""

from experiments.models.layers import refuse_wrong_targets
from experiments.models.precision import Precision, choose_precision
from experiments.models.pretrained import (
    BASES,
    PLAIN_TEMPLATE,
    Base,
    Vocabulary,
    find,
    load,
    load_vocabulary,
    silence_libraries,
)

__all__ = [
    "BASES",
    "PLAIN_TEMPLATE",
    "Base",
    "Precision",
    "Vocabulary",
    "choose_precision",
    "find",
    "load",
    "load_vocabulary",
    "refuse_wrong_targets",
    "silence_libraries",
]
