"""The Muon optimiser in fp32."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum steps made orthogonal: Jordan 2024, https://kellerjordan.github.io/posts/muon.

    Implemented in fp32, because torch.optim.Muon iterates in bfloat16, for which many CPUs have no
    instructions.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for matrix in group["params"]:
                state = self.state[matrix]
                mean = state.setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                update = matrix.grad.lerp(mean, group["momentum"])
                wide = (
                    (matrix, update) if matrix.shape[0] <= matrix.shape[1] else (matrix.T, update.T)
                )
                by_shape.setdefault(tuple(wide[0].shape), []).append(wide)
            for (rows, columns), pairs in by_shape.items():
                updates = _orthogonal(torch.stack([update for _, update in pairs]))
                scale = 0.2 * max(rows, columns) ** 0.5  # the size of an AdamW step
                for (matrix, _), update in zip(pairs, updates, strict=True):
                    matrix.mul_(1 - 0.1 * group["lr"]).add_(update, alpha=-group["lr"] * scale)


def _orthogonal(updates_NRC: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of N matrices close to 1 by five Newton-Schulz steps (ibid.)."""
    x_NRC: torch.Tensor = updates_NRC / (updates_NRC.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = 3.4445 * x_NRC + (-4.775 * gram_NRR + 2.0315 * gram_NRR @ gram_NRR) @ x_NRC
    return x_NRC
