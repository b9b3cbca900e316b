"""A Hydra experiment framework for LoRA ablations on tool calling.

Importing the package loads nothing heavy; each module says what it needs.
"""

import os

# No library in the stack may report home unless the user asks for it. Each reads its variable at
# import, so they are set here, before any of them is loaded.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
