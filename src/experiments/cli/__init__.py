"""The commands of `python -m experiments`, one per file."""
