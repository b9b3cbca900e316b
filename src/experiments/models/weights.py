"""Load a model from a folder of safetensors in the run's precision, and hash its files.

A 4-bit base is quantized here from the same files as the plain one, so that LoRA and QLoRA differ
only in the base. `peft.prepare_model_for_kbit_training` is not used: it converts norms, embeddings
and head to fp32, which the plain base does not do. Its other effect, gradients for the inputs, is
enabled by the trainer itself if gradient checkpointing is on.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.errors import ConfigError
from experiments.models import shape
from experiments.models.precision import Precision, with_kernels_of


def read(run: RunConfig, folder: Path, precision: Precision) -> tuple[Any, Precision]:
    """Return the causal language model in a folder, and how it computes.

    Raises:
        ConfigError: the folder's weights cannot be read, or not in the requested form.
    """
    from transformers import AutoModelForCausalLM

    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"{folder} contains no *.safetensors; other weight formats are refused because loading "
            "them can run code: convert the weights to safetensors."
        )
    _refuse_quantized_files(folder)
    model_config = _read_config(run, folder)
    if model_config is not None:
        shape.refuse_other_kinds(model_config)
    precision = with_kernels_of(precision, run, model_config)
    dtype = _dtype(run, precision)
    options = {} if precision.quantization is None else _four_bits(dtype, precision.device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=run.model.trust_remote_code,
            local_files_only=True,
            attn_implementation=precision.attention,
            **options,
        )
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(
            f"{folder} cannot be loaded as a causal language model: {error}"
        ) from error
    if precision.quantization is not None:
        _keep_gradients_on_a_cpu(model)
    return model, precision


def _read_config(run: RunConfig, folder: Path) -> Any:
    """Return the model's config, or None if loading the model will report the error."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            folder, trust_remote_code=run.model.trust_remote_code, local_files_only=True
        )
    except (ValueError, OSError, KeyError):
        return None


def identity(folder: Path, quantization: str | None) -> str:
    """Return a hash of the weight files and of their quantization in memory."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    if quantization is not None:
        digest.update(f"\0{quantization}, double".encode())
    return digest.hexdigest()[:16]


def _dtype(run: RunConfig, precision: Precision) -> Any:
    """Return fp32 for full fine-tuning (master weights), else the compute dtype of the run."""
    import torch

    if run.lora.method == "none" or precision.name == "fp32":
        return torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[precision.name]


def _refuse_quantized_files(folder: Path) -> None:
    """Refuse weights that are stored quantized: quantization must be chosen by the run's config."""
    try:
        config_fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return  # loading the model reports the error
    quantization = config_fields.get("quantization_config")
    if quantization is not None:
        method = quantization.get("quant_method", "unknown method")
        raise ConfigError(
            f"{folder} contains weights that are already quantised ({method}): use the model's "
            "unquantised weights and set model.quantization=nf4 for 4 bits."
        )


def _four_bits(dtype: Any, device: str) -> dict[str, Any]:
    """Return QLoRA's load options: NF4 and double quantization (arXiv 2305.14314, section 3)."""
    import torch
    from transformers import BitsAndBytesConfig

    # The trainer compares this with its own device, which has an index.
    placement: Any = torch.cuda.current_device() if device == "cuda" else device
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": quantization, "device_map": {"": placement}}


def _keep_gradients_on_a_cpu(model: Any) -> None:
    """Keep bitsandbytes from repacking the weights on a CPU with AVX512-BF16.

    It repacks them in the first forward pass in evaluation mode. The packed kernel has no backward
    pass (bitsandbytes 0.50: a model that was evaluated first then trained with an eighth of the
    gradient's norm) and computes in bf16 whatever dtype was requested.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
