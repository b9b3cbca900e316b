"""Suggest the right key for an unknown one, by its last part or its name in other libraries."""

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterator
from typing import Any

from experiments.config.renamed_keys import RENAMED
from experiments.config.schema import RunConfig
from experiments.config.trainer_config import OWN_KEYS

# Minimum similarity, 0-1 (difflib), at which a misspelt name is recognised without its group.
_NEAR = 0.75
# Groups with defaults for keys of other groups; suggested only if no other group has the key.
_DEFAULTS = ("model.recipe.", "model.geometry.", "hardware.", "plan.")
_MODEL = "model=NAME (a file of conf/model), or model=local model.path=FOLDER"
_DATA = "data=NAME (a file of conf/data), or data=jsonl data.path=FILE"
_BATCH = (
    "trainer.batch_size (rows per step) and trainer.micro_batch_size (rows per pass), whose "
    "ratio is the number of accumulation steps,"
)
# Maps names used by TRL, transformers, PEFT, axolotl, Unsloth and LLaMA-Factory to the keys here.
FOREIGN: dict[str, str] = {
    **OWN_KEYS,
    **{former.rpartition(".")[2]: key for former, key in RENAMED.items()},
    **dict.fromkeys(("lr", "learningrate", "peak_lr"), "trainer.learning_rate"),
    **dict.fromkeys(
        ("num_epochs", "n_epochs", "train_epochs", "max_epochs"),
        "trainer.num_train_epochs",
    ),
    **dict.fromkeys(("steps", "num_steps", "max_train_steps", "train_steps"), "trainer.max_steps"),
    **dict.fromkeys(("train_batch_size", "global_batch_size", "bs"), "trainer.batch_size"),
    **dict.fromkeys(
        ("per_device_train_batch_size", "per_gpu_train_batch_size"), "trainer.micro_batch_size"
    ),
    **dict.fromkeys(
        (
            "gradient_accumulation_steps",
            "gradient_accumulation",
            "grad_accum",
            "accumulation_steps",
        ),
        _BATCH,
    ),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "per_gpu_eval_batch_size", "eval_batch_size"),
        "eval.batch_size",
    ),
    **dict.fromkeys(
        ("max_seq_length", "max_seq_len", "max_length", "cutoff_len", "sequence_len"),
        "trainer.max_length",
    ),
    **dict.fromkeys(("warmup", "warmup_ratio"), "trainer.warmup_steps"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "schedule"), "trainer.lr_scheduler_type"),
    **dict.fromkeys(("optim_type", "optimiser"), "trainer.optimizer"),
    **dict.fromkeys(("gradient_clipping", "clip_grad_norm", "grad_clip"), "trainer.max_grad_norm"),
    **dict.fromkeys(("dtype", "torch_dtype", "mixed_precision"), "trainer.precision"),
    **dict.fromkeys(
        ("attn_implementation", "flash_attention", "flash_attn", "flash_attention_2"),
        "trainer.attention",
    ),
    "use_gradient_checkpointing": "trainer.gradient_checkpointing",
    "sample_packing": "trainer.packing",
    **dict.fromkeys(("rank", "lora_r", "lora_rank", "lora_dim"), "lora.r"),
    **dict.fromkeys(
        ("lora_target_modules", "lora_target", "lora_modules", "lora_target_linear", "targets"),
        "lora.target_modules",
    ),
    **dict.fromkeys(("dora", "use_dora", "lora_use_dora"), "lora.use_dora"),
    **dict.fromkeys(("rslora", "lora_use_rslora"), "lora.use_rslora"),
    **dict.fromkeys(("loraplus_ratio",), "lora.loraplus_lr_ratio"),
    **dict.fromkeys(("peft", "peft_config", "peft_method"), "lora=NAME (a file of conf/lora)"),
    **{
        name: f"lora.extra.{name}"
        for name in (
            *("bias", "modules_to_save", "rank_pattern", "alpha_pattern", "exclude_modules"),
            *("layers_to_transform", "layers_pattern", "target_parameters"),
        )
    },
    **dict.fromkeys(("lora_bias",), "lora.extra.bias"),
    **dict.fromkeys(("lora_modules_to_save",), "lora.extra.modules_to_save"),
    **{
        name: f"trainer.extra.{name}"
        for name in (
            *("neftune_noise_alpha", "label_smoothing_factor", "group_by_length"),
            *("adam_beta1", "adam_beta2", "adam_epsilon", "dataloader_num_workers"),
        )
    },
    **dict.fromkeys(
        (
            *("model_name_or_path", "model_name", "model_id", "base_model", "pretrained_model"),
            *("model_path", "pretrained_model_name_or_path", "hf_model"),
        ),
        _MODEL,
    ),
    **dict.fromkeys(("load_in_4bit", "qlora", "load_in_8bit"), "model.quantization=nf4"),
    **dict.fromkeys(("adapter_name_or_path", "adapter_path", "lora_model_dir"), "model.adapter"),
    **dict.fromkeys(
        (
            *("dataset", "datasets", "dataset_name", "dataset_path", "dataset_id"),
            *("data_path", "data_file", "data_files", "train_file", "train_data"),
        ),
        _DATA,
    ),
    **dict.fromkeys(("max_samples", "max_train_samples", "num_samples"), "data.limit"),
    **dict.fromkeys(
        ("val_size", "val_set_size", "eval_split", "validation_split"), "data.validation_share"
    ),
    **dict.fromkeys(("test_size", "test_split_ratio"), "data.test_share"),
    **dict.fromkeys(("system", "default_system"), "data.unified_system_prompt"),
    **dict.fromkeys(("enable_thinking",), "data.thinking"),
    **dict.fromkeys(("output_dir", "out_dir", "save_dir", "outdir"), "hydra.run.dir=FOLDER"),
    **dict.fromkeys(("report_to", "logger", "use_wandb"), "tracker=NAME (a file of conf/tracker)"),
    **dict.fromkeys(("wandb_project", "project_name"), "tracker.project"),
    **dict.fromkeys(("run_name", "experiment_name"), "name"),
    **dict.fromkeys(("random_seed", "random_state", "data_seed"), "seed"),
    "resume_from_checkpoint": "resume=true, which is the default (rerun the same command),",
    **dict.fromkeys(("device", "device_map", "gpu"), "hardware=NAME (a file of conf/hardware)"),
    "push_to_hub": "hub.push",
    **dict.fromkeys(("hub_model_id", "hub_repo"), "hub.repo"),
    "hub_private_repo": "hub.private",
    **dict.fromkeys(("max_hours", "time_limit"), "budget.hours"),
}
"""Maps a name used in other libraries to the key to set here."""


def meant(key: str) -> str | None:
    """Return what to set instead of an unknown key, or None if its name is not recognised.

    >>> meant("epochs"), meant("lora.rank"), meant("limit"), meant("qqq")
    ('trainer.num_train_epochs', 'lora.r', 'data.limit or eval.limit', None)
    """
    leaf = _leaf(key)
    keys = [path for path in _by_leaf().get(leaf, ()) if path != key]
    return _listed(keys) if keys else FOREIGN.get(leaf)


def near(key: str) -> str | None:
    """Return what to set instead of a misspelt key, or None if no name is similar.

    >>> near("learning_rte"), near("lora.rnak"), near("qqq")
    ('trainer.learning_rate', 'lora.r', None)
    """
    known_names = [*_by_leaf(), *FOREIGN]
    similar = difflib.get_close_matches(_leaf(key), known_names, n=1, cutoff=_NEAR)
    return meant(similar[0]) if similar else None


def _leaf(key: str) -> str:
    return key.rpartition(".")[2].lower().replace("-", "_")


def _listed(paths: list[str]) -> str:
    preferred = [path for path in paths if not path.startswith(_DEFAULTS)] or paths
    return " or ".join(preferred)


@functools.cache
def _by_leaf() -> dict[str, list[str]]:
    """Map the last part of each dotted key to the full keys that end in it, `trainer` first."""
    keys_by_leaf: dict[str, list[str]] = {}
    for path in sorted(_paths(RunConfig), key=lambda key: not key.startswith("trainer.")):
        leaf = path.rpartition(".")[2]
        if leaf not in ("label", "resolved_from"):
            keys_by_leaf.setdefault(leaf, []).append(path)
    return keys_by_leaf


def _paths(owner: Any, prefix: str = "") -> Iterator[str]:
    types = typing.get_type_hints(owner)
    for field in dataclasses.fields(owner):
        inner = types[field.name]
        if dataclasses.is_dataclass(inner):
            yield from _paths(inner, f"{prefix}{field.name}.")
        elif prefix:
            yield prefix + field.name
