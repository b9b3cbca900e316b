"""`merge`: write a run's base model with its adapter merged into the weights."""

import argparse
from pathlib import Path

from experiments.errors import ConfigError
from experiments.runtime import disk


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the model")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.out.exists() and any(arguments.out.iterdir()):
        raise ConfigError(f"--out {arguments.out} is not empty: name a new folder.")
    from experiments import runs
    from experiments.models import adapters

    base, record = runs.load_run(arguments.run, plain=True)
    quantization = (record.config.get("model") or {}).get("quantization")
    if quantization is not None:
        print(
            f"{arguments.run} trained on {quantization} weights: its adapter is merged into the "
            "base's full-precision weights, so answers can differ slightly from the scored ones"
        )
    model = adapters.merged(base.model) if record.adapter["modules"] else base.model
    with disk.whole_folder(arguments.out) as partial:
        model.save_pretrained(partial, safe_serialization=True)
        base.tokenizer.save_pretrained(partial)
    print(f"wrote {arguments.out}: load it with AutoModelForCausalLM.from_pretrained")
