"""Describe the trained matrices of a model: their dtype and the spectral norms of A and B."""

from typing import Any

_PEFT_PREFIX = "base_model.model."


def of_trained(model: Any) -> dict[str, Any]:
    """Return facts about the trained parameters for the record of a run.

    Returns:
        `trained_dtype`: sorted names of the dtypes of all trainable parameters. With an adapter
        also `spectra`, which maps each module name to the largest singular values of A and B, with
        6 digits; null if a matrix is not finite.
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
    """Return the spectral norm, from the Gram matrix of the short side (r x r) in fp64."""
    import torch

    matrix_fp64 = matrix.detach().cpu().double()
    wide_matrix = matrix_fp64 if matrix_fp64.shape[0] <= matrix_fp64.shape[1] else matrix_fp64.T
    gram = wide_matrix @ wide_matrix.T
    if not torch.isfinite(gram).all():
        return None
    squared_norm = float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0))
    return float(f"{squared_norm**0.5:.6g}")
