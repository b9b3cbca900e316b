"""A row of a public tool-calling dataset, or of a user's file -> the canonical row, or a reason."""

from experiments.data.formats.convert import CONVERTER_VERSION, FORMATS, convert
from experiments.data.formats.messages import NULLS
from experiments.data.formats.rejection import MEANINGS, REASONS, Rejected, Row

__all__ = [
    "CONVERTER_VERSION",
    "FORMATS",
    "MEANINGS",
    "NULLS",
    "REASONS",
    "Rejected",
    "Row",
    "convert",
]
