"""The categories of generated rows, which are the keys of `data.weights`."""

CATEGORIES = (
    "single",
    "choice",
    "parallel",
    "plan",
    "missing_argument",
    "irrelevant",
    "json_output",
    "safety",
    "mcp",
)
