"""Convert rows of public tool-calling data sets and of users' files to canonical rows."""

from experiments.data.formats.convert import FORMATS, convert
from experiments.data.formats.messages import NULLS
from experiments.data.formats.rejection import MEANINGS, REASONS, Rejected, Row

__all__ = [
    "FORMATS",
    "MEANINGS",
    "NULLS",
    "REASONS",
    "Rejected",
    "Row",
    "convert",
]
