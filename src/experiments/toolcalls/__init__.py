"""Parse and check tool calls, and score them as the public graders do."""
