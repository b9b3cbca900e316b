"""A Hydra experiment framework for LoRA ablations on tool calling.

Importing the package imports no heavy library.
"""

import os

from experiments import config as config  # registers the schema of a run with Hydra

# No library may send telemetry unless the user enables it. Each library reads its variable at
# import, so the variables are set here first.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
