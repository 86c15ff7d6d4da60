"""States cut into parts and put together again: one form of state for any number of processes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

CUT = ("model", "optimizer")
"""Parts of a training's state whose tensors are cut."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A tensor that another process has."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def gathered(value: Any, *, keep: bool) -> Any:
    """The value with whole tensors on the CPU, as copies; every process has to take part.

    keep: whether the result is wanted here. Elsewhere nothing of it stays in memory.
    """
    if isinstance(value, Tensor):
        whole = value.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
            # On a CPU that is memory of its own already.
            return whole.to("cpu") if keep else None
        return whole.to("cpu", copy=True) if keep else None
    if isinstance(value, Mapping):
        return {key: gathered(item, keep=keep) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gathered(item, keep=keep) for item in value)
    return copy.copy(value)


def described(state: Mapping[str, Any]) -> dict[str, Any]:
    """A training's state without the tensors that are cut: what other processes are sent of it."""
    return {
        name: _described(value) if name in CUT else _as_sent(value) for name, value in state.items()
    }


def scattered(state: Mapping[str, Any], mesh: DeviceMesh) -> dict[str, Any]:
    """The state with each process's part of what is cut; every process has to take part.

    The first process has the state itself, the others what `described` made of it.
    """
    return {
        name: _scattered(value, mesh) if name in CUT else value for name, value in state.items()
    }


def _is_cut(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _described(value: Any) -> Any:
    if _is_cut(value):
        return Described(shape=tuple(value.shape), dtype=value.dtype)
    if isinstance(value, Mapping):
        return {key: _described(item) for key, item in value.items()}
    return _as_sent(value)


def _as_sent(value: Any) -> Any:
    """With arrays for tensors, which multiprocessing would pass through shared memory."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, Mapping):
        return {key: _as_sent(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_sent(item) for item in value)
    return value


def received(value: Any) -> Any:
    """The inverse of what `described` does to the tensors that are sent."""
    if type(value).__module__ == "numpy":
        return torch.from_numpy(value) if value.ndim else torch.tensor(value.item())
    if isinstance(value, Mapping):
        return {key: received(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(received(item) for item in value)
    return value


def _scattered(value: Any, mesh: DeviceMesh) -> Any:
    if isinstance(value, Described):
        value = torch.empty(value.shape, dtype=value.dtype)
    if _is_cut(value):
        # As fully_shard cuts parameters: along their first dimension. A copy, since the part may be
        # a view of the whole tensor, and keep it in memory.
        return distribute_tensor(value, mesh, [Shard(0)], src_data_rank=0).clone()
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {key: _scattered(item, mesh) for key, item in value.items()}
    return value
