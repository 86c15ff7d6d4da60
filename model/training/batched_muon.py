"""Muon for a GPU: all matrices of one shape in the same products, and no wait for the device.

torch.optim.Muon takes one matrix after another, by 15 products and a dozen other kernels each: at
11 layers over two thousand launches a step. Here there are as many as for a single matrix of each
shape. Its state is that of torch's, so a checkpoint of one goes on with the other; bf16 sums differ
in their order.

Shapes: S matrices of M outputs and N inputs, K = min(M, N).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """As torch.optim.Muon with Nesterov's momentum and the "original" factor of its rate."""

    found_inf: Tensor | None = None
    """1 leaves matrices and momentum as they are, as torch's fused optimisers do; 0 steps."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step of all matrices that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            assert group["nesterov"] and group["adjust_lr_fn"] == "original"
            device = group["params"][0].device
            found_inf = self.found_inf
            kept = torch.ones((), device=device) if found_inf is None else 1 - found_inf
            decay = 1 - _times(group["lr"], group["weight_decay"]) * kept
            for matrices in _by_shape(group["params"]):
                self._step(matrices, group, kept=kept, decay=decay)

    def _step(
        self, matrices: list[Tensor], group: dict[str, Any], *, kept: Tensor, decay: Tensor
    ) -> None:
        """kept: 1, or 0 for a step that is none; decay: what the weights are multiplied by."""
        buffers = [self._momentum(matrix) for matrix in matrices]
        gradient_SMN = torch.stack([_gradient(matrix) for matrix in matrices])
        buffer_SMN = torch.stack(buffers)
        if self.found_inf is not None:
            gradient_SMN = gradient_SMN.where(kept > 0, 0)
        momentum = group["momentum"]
        buffer_SMN.lerp_(gradient_SMN, (1 - momentum) * kept)
        torch._foreach_copy_(buffers, buffer_SMN.unbind())
        update_SMN = orthogonal(
            gradient_SMN.lerp(buffer_SMN, momentum),
            coefficients=group["ns_coefficients"],
            iterations=group["ns_steps"],
            epsilon=group["eps"],
        )
        outputs, inputs = update_SMN.shape[1:]
        rate = _times(group["lr"], max(1.0, outputs / inputs) ** 0.5) * kept
        torch._foreach_mul_(matrices, decay)
        torch._foreach_sub_(matrices, (update_SMN.float() * rate).unbind())

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonal(
    update_SMN: Tensor,
    *,
    coefficients: tuple[float, float, float],
    iterations: int,
    epsilon: float,
) -> Tensor:
    """Each matrix with its singular values set to about 1, [S, M, N] in bf16.

    Newton–Schulz iterations of the quintic with these coefficients (Jordan et al., 2024).
    """
    first, second, third = coefficients
    tall = update_SMN.shape[1] > update_SMN.shape[2]
    part_SKN = update_SMN.bfloat16()
    if tall:
        part_SKN = part_SKN.mT
    part_SKN = part_SKN / part_SKN.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(iterations):
        gram_SKK = part_SKN @ part_SKN.mT
        gram_SKK = torch.baddbmm(gram_SKK, gram_SKK, gram_SKK, beta=second, alpha=third)
        part_SKN = torch.baddbmm(part_SKN, gram_SKK, part_SKN, beta=first)
    return part_SKN.mT if tall else part_SKN


def _times(rate: float | Tensor, factor: float) -> float | Tensor:
    """A rate times a factor: where it is a number of the device, rounded as one of the host is."""
    return (rate.double() * factor).float() if isinstance(rate, Tensor) else rate * factor


def _by_shape(matrices: list[Tensor]) -> Iterator[list[Tensor]]:
    """Those that have a gradient, in lists of one shape."""
    members: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        if matrix.grad is not None:
            members.setdefault(matrix.shape, []).append(matrix)
    yield from members.values()


def _gradient(matrix: Tensor) -> Tensor:
    assert matrix.grad is not None
    return matrix.grad
