"""Convert a GGUF file to a folder of safetensors in fp32 with config and tokenizer.

transformers reads the file. The work is done in a process of its own, so that a run's peak memory
does not include it.
"""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError, ExperimentError
from experiments.models import shape
from experiments.models.converted.gguf_header import GgufHeader
from experiments.runtime import disk, transformers_private

LIBRARIES = ("transformers", "gguf", "torch", "safetensors", "tokenizers")
"""The packages whose versions are recorded with a conversion."""
_PROGRAM = "from experiments.models.converted import gguf_conversion; gguf_conversion.main()"
_REFUSED = 3
"""Exit status of a conversion that refuses a file, with its reason on stdout."""
# Of config files: what depends on this machine or on versions, not on the model.
_INCIDENTAL = (
    *("_name_or_path", "_model_name_or_path", "_from_model_config", "transformers_version"),
    *("quantization_config", "is_local", "local_files_only"),
)
# Splitting rules of byte-level tokenizers with the regular expression of GPT-2.
_GPT2_RULES = ("", "default", "gpt-2")
# The same after every digit has become a piece of its own; transformers does not know this rule.
_SINGLE_DIGITS = ("smollm",)


def convert(file: Path, header: GgufHeader, folder: Path) -> dict[str, str]:
    """Write a GGUF file's model into a folder, and return the versions of what converted it.

    Args:
        file: the GGUF file.
        header: its header.
        folder: an existing, empty folder.

    Raises:
        ConfigError: transformers cannot read the architecture or the tokenizer, or the model's
            tensors are not complete.
        RecordError: the disk is full.
    """
    facts = json.dumps([str(file), dataclasses.asdict(header), str(folder)])
    # -P: a file of the working folder that has a library's name is not imported in its place.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, facts],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == _REFUSED:
        raise ConfigError(done.stdout.strip())
    if done.returncode < 0:
        raise ConfigError(
            f"{file}: the process that converts it was ended by signal {-done.returncode}, perhaps "
            f"for want of memory: it needs about {9 * header.parameters / 1e9 + 0.5:.1f} GB."
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {name: version(name) for name in LIBRARIES}


def main() -> None:
    """Convert what the only argument describes; print a refusal and exit with its own status."""
    file, header, folder = json.loads(sys.argv[1])
    try:
        write(Path(file), GgufHeader(**header), Path(folder))
    except ExperimentError as error:
        print(error)
        sys.exit(_REFUSED)


def write(file: Path, header: GgufHeader, folder: Path) -> None:
    """Write a GGUF file's model into a folder, in this process.

    Raises:
        ConfigError: as for `convert`.
        RecordError: the disk is full.
    """
    os.environ["TQDM_DISABLE"] = "1"  # transformers shows a bar for each file that it reads
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if header.architecture not in transformers_private.gguf_architectures():
        raise ConfigError(
            f"{file}: transformers {transformers.__version__} cannot read the architecture "
            f"'{header.architecture}' from GGUF: use a model's folder in the hub's layout with "
            "model=local model.path=DIR."
        )
    try:
        with disk.one_sentence(folder):
            _write_model(file, header, folder)
    except (ValueError, KeyError, IndexError, NotImplementedError, OSError, RuntimeError) as error:
        if isinstance(error, ExperimentError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"{file}: transformers cannot convert this GGUF file ({type(error).__name__}: "
            f"{reason}): use a model's folder in the hub's layout with model=local model.path=DIR."
        ) from error


def _write_model(file: Path, header: GgufHeader, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    model_config = AutoConfig.from_pretrained(file.parent, **place)
    shape.refuse_other_kinds(model_config)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, config=model_config, **place)
    _restore_splitting(tokenizer, header, file)
    _refuse_added_tokens(tokenizer, model_config, file)
    model, loading = AutoModelForCausalLM.from_pretrained(
        file.parent,
        config=model_config,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
        **place,
    )
    if missing := sorted(loading["missing_keys"]):
        raise ConfigError(
            f"{file} lacks {len(missing)} of the model's tensors, such as {missing[0]}: give a "
            "complete file."
        )
    model.hf_quantizer = None  # the weights are plain now
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        _drop_incidental(folder / name)


def _restore_splitting(tokenizer: Any, header: GgufHeader, file: Path) -> None:
    """Split text as the tokenizer was trained, where transformers does not know the rule.

    Raises:
        ConfigError: nobody here knows the rule: tokens would not be those of the training.
    """
    from tokenizers import models, pre_tokenizers

    backend, rule = tokenizer.backend_tokenizer, header.splitting_rule
    byte_level = isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel)
    if not isinstance(backend.model, models.BPE) or not byte_level or rule in _GPT2_RULES:
        return
    if rule in _SINGLE_DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        return
    raise ConfigError(
        f"{file}: its tokenizer splits text by the rule '{rule}' (tokenizer.ggml.pre), which "
        "transformers does not know for GGUF files, so its tokens would be wrong: use a model's "
        "folder in the hub's layout with model=local model.path=DIR."
    )


def _refuse_added_tokens(tokenizer: Any, model_config: Any, file: Path) -> None:
    rows = model_config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise ConfigError(
            f"{file}: its tokenizer has {len(tokenizer):,} tokens once converted, but its "
            f"embedding has {rows:,} rows: the tokenizer does not fit the model; give another file."
        )


def _drop_incidental(file: Path) -> None:
    """Keep of a config file what the model determines, so that equal files give equal bases."""
    if file.is_file():
        tree = json.loads(file.read_text(encoding="utf-8"))
        kept = {key: value for key, value in tree.items() if key not in _INCIDENTAL}
        file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
