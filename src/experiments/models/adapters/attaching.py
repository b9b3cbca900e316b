"""Attach LoRA adapters to a model through PEFT, and refuse targets that match nothing.

If one name in a list is misspelt, PEFT silently trains fewer modules. An ablation over target
modules would then compare the wrong things, so every name is checked here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from experiments.config import LoraConfig, RunConfig
from experiments.errors import AdapterError, ConfigError, did_you_mean
from experiments.models.adapters import output_layer, targets
from experiments.models.adapters.targets import check_targets
from experiments.runtime import disk

# Fields of peft.LoraConfig that are set through this project's own keys.
_RESERVED_FIELDS = {"r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora"}
_RESERVED_FIELDS |= {"init_lora_weights", "task_type", "fan_in_fan_out"}


@dataclass(frozen=True)
class Attached:
    """A model that is ready for training."""

    model: Any
    trainable_parameters: int
    linear_share: float | None
    """Trained parameters in the linear layers, without the head, as a share of these layers' own;
    None if the model has no linear layer."""
    modules: dict[str, int]
    """Maps the last part of a module name to the number of such modules with an adapter; empty for
    full fine-tuning."""
    idle: tuple[str, ...] = ()
    """Last parts of the names of layers that `all-linear` skips because an adapter there would not
    be trained."""
    notes: tuple[str, ...] = ()
    """What embedding and output head have to do with the training, where it is not the default."""


def check_extra(lora: LoraConfig) -> None:
    """Refuse keys of `lora.extra` that PEFT does not know or that this project sets by another key.

    Raises:
        ConfigError: names the key.
    """
    if not lora.extra:
        return
    import peft

    allowed = sorted({f.name for f in fields(peft.LoraConfig)} - _RESERVED_FIELDS)
    for key in lora.extra:
        if key not in allowed:
            raise ConfigError(f"lora.extra.{key}: {did_you_mean(key, allowed)}.")


def attach(run: RunConfig, model: Any) -> Attached:
    """Attach the run's adapter to the model, with weights initialised from `run.seed`.

    If the run names `model.adapter`, that adapter is loaded instead and trained further. All
    trained parameters are fp32, whatever the base's dtype: half precision rounds small updates
    away, and a gradient scaler cannot unscale half-precision gradients.

    Raises:
        AdapterError: a target matches no linear layer, or the named adapter has another shape.
    """
    from transformers import set_seed

    set_seed(run.seed)
    idle: set[str] = set()
    notes: tuple[str, ...] = ()
    linear_sizes = targets.linear_sizes(model)
    if run.model.adapter is not None:
        attached = load(run.model.adapter, model, trainable=True)
        _check_same_shape(run, attached)
    elif run.lora.method == "none":
        model.requires_grad_(True)
        if run.trainer.freeze_embeddings:
            notes = output_layer.freeze_embeddings(model)
        attached = model
    else:
        if run.lora.target_modules == "all-linear":
            idle = {name.rpartition(".")[2] for name in targets.idle_layers(model)}
        attached = _new_adapter(run.lora, model)
    if output_layer.is_adapted(attached):
        output_layer.refuse_other_losses(run, attached)
        notes = output_layer.notes(attached)
    _train_in_fp32(attached)
    trainable = sum(p.numel() for p in attached.parameters() if p.requires_grad)
    share = _linear_share(attached, linear_sizes)
    modules, idle_names = adapted_modules(attached), tuple(sorted(idle))
    return Attached(attached, trainable, share, modules, idle_names, notes)


def _linear_share(model: Any, linear_sizes: Mapping[str, int]) -> float | None:
    """Return the trained parameters of linear layers as a share of the layers' parameters."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    trained = sum(
        parameter.numel()
        for name in linear_sizes
        for parameter in base.get_submodule(name).parameters()
        if parameter.requires_grad
    )
    return trained / sum(linear_sizes.values()) if linear_sizes else None


def _train_in_fp32(model: Any) -> None:
    """Convert every trainable parameter to fp32 in place; frozen ones keep their dtype.

    A module that is trained in full (`lora.extra.modules_to_save`) then computes in fp32 between
    modules of the base's dtype, also outside autocast.
    """
    from peft.utils import ModulesToSaveWrapper

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for wrapper in [m for m in model.modules() if isinstance(m, ModulesToSaveWrapper)]:
        base_dtype = next(wrapper.original_module.parameters()).dtype
        for module in wrapper.modules_to_save.values():
            trained_dtype = next(module.parameters()).dtype
            if base_dtype != trained_dtype:
                module.register_forward_pre_hook(
                    lambda _, arguments, dtype=trained_dtype: tuple(
                        _cast(value, dtype) for value in arguments
                    )
                )
                module.register_forward_hook(
                    lambda _, arguments, output, dtype=base_dtype: _cast(output, dtype)
                )


def _cast(value: Any, dtype: Any) -> Any:
    return value.to(dtype) if value.is_floating_point() else value


def _new_adapter(lora: LoraConfig, model: Any) -> Any:
    import peft

    assert lora.r is not None and lora.lora_alpha is not None, "config.load resolves both"
    check_targets(lora, model)
    names = lora.target_modules
    if names == "all-linear":
        names = targets.all_linear(model)
    if lora.output_head:
        names = targets.with_head(names, model)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=int(lora.lora_alpha)
        if lora.lora_alpha == int(lora.lora_alpha)
        else lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=names,
        fan_in_fan_out=_has_transposed(model),
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
        init_lora_weights=True if lora.init_lora_weights == "default" else lora.init_lora_weights,
        **lora.extra,
    )
    try:
        with output_layer.tied_on_purpose():
            return output_layer.without_copies(peft.get_peft_model(model, config))
    except ValueError as error:
        message = str(error).splitlines()[0]
        raise AdapterError(f"lora: PEFT rejects this adapter for this model: {message}") from error


def _has_transposed(model: Any) -> bool:
    """Return whether the linear layers are GPT-2's, with weights of shape (inputs, outputs)."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def load(path: str, model: Any, *, trainable: bool = False) -> Any:
    """Load a saved adapter onto the model.

    Raises:
        AdapterError: the folder contains no adapter, or one for another model.
    """
    import peft

    folder = Path(path).expanduser()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise AdapterError(
                f"model.adapter={path}: the folder has no {name}; give a run's `adapter` folder."
            )
    try:
        with output_layer.tied_on_purpose():
            loaded = peft.PeftModel.from_pretrained(model, folder, is_trainable=trainable)
        output_layer.without_copies(loaded)
    except (RuntimeError, ValueError, KeyError) as error:
        message = str(error).splitlines()[0]
        raise AdapterError(
            f"model.adapter={path} does not fit this base model: {message}"
        ) from error
    for peft_config in loaded.peft_config.values():
        # At every save, PEFT looks up the base on the hub by this name, unless it is a local
        # folder.
        peft_config.base_model_name_or_path = model.name_or_path
    return loaded


def _check_same_shape(run: RunConfig, model: Any) -> None:
    saved = next(iter(model.peft_config.values()))
    for key, configured, trained in (
        ("r", run.lora.r, saved.r),
        ("alpha", run.lora.lora_alpha, saved.lora_alpha),
    ):
        if configured != trained:
            raise AdapterError(
                f"lora.{key}={configured} but model.adapter={run.model.adapter} was trained with "
                f"{trained}: set lora.{key}={trained} to continue training it."
            )
    if run.lora.output_head and not output_layer.is_adapted(model):
        raise AdapterError(
            f"lora.output_head=true but model.adapter={run.model.adapter} has no adapter on the "
            "output head: remove the key to continue training it."
        )


def adapted_modules(model: Any) -> dict[str, int]:
    """Count the modules that have an adapter, by the last part of their name."""
    names = (n.rpartition(".")[2] for n, m in model.named_modules() if hasattr(m, "lora_A"))
    return dict(sorted(Counter(names).items()))


def fingerprint(path: str | None) -> str | None:
    """Return a hash of the adapter that a run starts from, or None if it starts from none."""
    if path is None:
        return None
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        file = Path(path).expanduser() / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def save(model: Any, tokenizer: Any, folder: Path, *, base_source: str, card: str) -> None:
    """Write the adapter in the form that plain PEFT loads, with tokenizer, template and model card.

    A fully fine-tuned model is written as a complete model.
    """
    with disk.whole_folder(folder) as partial:
        model.save_pretrained(partial, safe_serialization=True)
        tokenizer.save_pretrained(partial)
        _write_base_name(partial / "adapter_config.json", base_source)
        (partial / "README.md").write_text(card, encoding="utf-8")


def _write_base_name(config: Path, base_source: str) -> None:
    """Write the base's name into an adapter's config, if there is one, and sort unordered lists."""
    if not config.is_file():
        return
    tree = json.loads(config.read_text(encoding="utf-8"))
    tree["base_model_name_or_path"] = base_source
    if isinstance(tree.get("target_modules"), list):  # so that equal runs write equal bytes
        tree["target_modules"] = sorted(tree["target_modules"])
    config.write_text(json.dumps(tree, indent=2, sort_keys=True) + "\n", encoding="utf-8")
