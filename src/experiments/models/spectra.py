"""What training has made of a model's trained matrices: their dtype, and how large A and B are."""

from typing import Any

_PEFT_PREFIX = "base_model.model."


def of_trained(model: Any) -> dict[str, Any]:
    """Return facts for the record of a run that has trained.

    Returns:
        `trained_dtype`: names of the dtypes of all trainable parameters, sorted. Of an adapter
        also `spectra`: module name -> the largest singular values of A and B, in 6 digits; null
        where a matrix is no longer finite.
    """
    dtypes = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad}
    norms = {
        name.removeprefix(_PEFT_PREFIX): [
            _largest_singular_value(matrices[adapter].weight)
            for matrices in (module.lora_A, module.lora_B)
        ]
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
        for adapter in module.lora_A
    }
    return {"trained_dtype": sorted(dtypes)} | ({"spectra": norms} if norms else {})


def _largest_singular_value(matrix: Any) -> float | None:
    """Return the spectral norm, by the Gram matrix of the short side (r x r) in fp64."""
    import torch

    whole = matrix.detach().cpu().double()
    short = whole if whole.shape[0] <= whole.shape[1] else whole.T
    gram = short @ short.T
    if not torch.isfinite(gram).all():
        return None
    square = float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0))
    return float(f"{square**0.5:.6g}")
