"""Model and test rows -> scores by split and category, and what was answered to every row."""
