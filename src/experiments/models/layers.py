"""Read the names of linear layers from the weight files in a folder, without torch."""

from pathlib import Path

from experiments.config import LoraConfig
from experiments.errors import AdapterError, did_you_mean

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
        for tensor_name, shape in _shapes(file).items():
            name, _, kind = tensor_name.rpartition(".")
            if kind != "weight" or len(shape) != 2 or ".experts." in name:
                continue
            if name.rpartition(".")[2] not in _EMBEDDINGS:
                names.add(name)
    return names


def _shapes(file: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor in a safetensors file; empty if the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            names = tensors.keys()
            return {name: tensors.get_slice(name).get_shape() for name in names}
    except (SafetensorError, OSError):
        return {}  # loading the model reports the error
