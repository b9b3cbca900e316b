"""`fetch`: download a base model before the first run, and convert it if it is a GGUF file."""

import argparse
from pathlib import Path

from experiments import config
from experiments.cli import hydra_arguments
from experiments.config import inputs


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("model", help="a file of conf/model, such as smollm2_135m_q4, or gguf")
    hydra_arguments.add(parser, "model.path=FILE.gguf")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    choice = f"model={arguments.model.removeprefix('model=')}"
    overrides = [choice, *hydra_arguments.overrides_of(arguments)]
    with config.one_sentence_errors():
        run = config.load(config.compose(overrides))
        inputs.check(run)
    from experiments import models
    from experiments.models.converted import base_folders

    spec = run.model
    if spec.wheels is not None or inputs.is_gguf(spec.path):
        folder: Path = base_folders.folder_of(spec, verify=True)
        facts = base_folders.origin(folder)
        licence = facts["licence"] or "not stated"
        print(f"from {facts['quantization']}, dequantized to fp32; licence: {licence}")
    else:
        folder, _ = models.find(spec)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{choice}: {size / 1e6:,.0f} MB in {folder}")
