"""Evaluate a model on test rows: scores by split and category, and the answer to every row."""
