"""Muon for matrices of which each process has some rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class ShardedMuon(torch.optim.Muon):
    """torch's Muon for parameters that are cut into parts, one matrix after the other.

    Momentum and weights stay cut. An update needs the whole matrix, since its singular values are
    not those of its parts: it is put together, orthogonalised by every process, and cut again. The
    state is that of torch.optim.Muon.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step of every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: DTensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        assert isinstance(update, DTensor)
        step = _orthogonalised(update.full_tensor(), group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        # Every process has computed the same step, so none has to send it.
        own = distribute_tensor(
            step, parameter.device_mesh, parameter.placements, src_data_rank=None
        )
        parameter.add_(own, alpha=-group["lr"])


def _orthogonalised(update: Tensor, group: dict[str, Any]) -> Tensor:
    """The step that torch's Muon makes of an update at the learning rate 1, without momentum."""
    matrix = nn.Parameter(torch.zeros_like(update))
    matrix.grad = update
    muon = torch.optim.Muon(
        [matrix],
        lr=1.0,
        weight_decay=0.0,
        momentum=0.0,
        nesterov=False,
        ns_coefficients=group["ns_coefficients"],
        eps=group["eps"],
        ns_steps=group["ns_steps"],
        adjust_lr_fn=group["adjust_lr_fn"],
    )
    muon.step()  # type: ignore[no-untyped-call]
    return matrix.detach().neg_()
