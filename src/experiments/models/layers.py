"""Read the names of linear layers from the weight files in a folder, without torch."""

import json
import struct
from pathlib import Path

from experiments.config import LoraConfig
from experiments.errors import AdapterError, did_you_mean

_LARGEST_HEADER = 100_000_000  # bytes, the limit of safetensors
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "lm_head", "embed_out")


def refuse_wrong_targets(lora: LoraConfig, folder: Path) -> None:
    """Refuse target modules that match no matrix in the weight files.

    Only the last part of each name is compared, because transformers renames prefixes on loading.

    Raises:
        AdapterError: names the target and the names in the files.
    """
    if lora.method == "none" or isinstance(lora.target_modules, str):
        return
    leaves = {name.rpartition(".")[2] for name in linear_names(folder)}
    for target in lora.target_modules if leaves else []:
        leaf = target.rpartition(".")[2]
        if leaf not in leaves and leaf not in _EMBEDDINGS:
            raise AdapterError(
                f"lora.target_modules: '{target}' matches no linear layer of the model in "
                f"{folder}; {did_you_mean(target, sorted(leaves))}."
            )


def linear_names(folder: Path) -> set[str]:
    """Return the modules whose weights are matrices, without embeddings, LM head and experts."""
    names = set()
    for file in folder.glob("*.safetensors"):
        for tensor, about in _header(file).items():
            name, _, kind = tensor.rpartition(".")
            if kind != "weight" or len(about.get("shape", ())) != 2 or ".experts." in name:
                continue
            if name.rpartition(".")[2] not in _EMBEDDINGS:
                names.add(name)
    return names


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    """Return the tensor table of a safetensors file, or an empty one if the file is damaged."""
    try:
        with file.open("rb") as stream:
            size = struct.unpack("<Q", stream.read(8))[0]
            text = stream.read(size) if size <= _LARGEST_HEADER else b"{}"
        table: dict[str, dict[str, list[int]]] = json.loads(text)
    except (OSError, ValueError, struct.error):
        return {}  # loading the model reports the error
    table.pop("__metadata__", None)
    return table
