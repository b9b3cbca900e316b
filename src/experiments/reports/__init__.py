"""Build tables and figures from run records; the same records always give the same bytes."""

from experiments.reports import items
from experiments.reports.report import LOG_WIDTH, line_width, model_card, send, summarise, write

__all__ = ["LOG_WIDTH", "items", "line_width", "model_card", "send", "summarise", "write"]
