"""What a piece of code asks of a GPU, operation by operation, and a refusal of what makes it wait.

`DeviceOps` sees what torch dispatches below autograd: each is about one kernel, views are none. It
needs no GPU: see tests/gpu/fake_cuda.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = "cuda"

WAITS = frozenset(
    [
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "item",
        "nonzero",
        "nonzero_static",
        "masked_select",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
    ]
)
"""Operations whose result, or its shape, the host reads from the device."""

UNREPEATABLE = frozenset(
    [
        "histc",
        "kthvalue",
        "put_",
        "median",
        "nanmedian",
        "_ctc_loss",
        "grid_sampler_2d_backward",
        "_embedding_bag_dense_backward",
        "reflection_pad1d_backward",
        "replication_pad1d_backward",
    ]
)
"""Operations for which torch.use_deterministic_algorithms raises on CUDA, besides cumsum of floats:
those of its documentation that a language model might come to use."""

_NO_KERNEL = frozenset(
    [
        "device",
        "detach",
        "alias",
        "lift",
        "lift_fresh",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "_unsafe_view",
        "_reshape_alias",
    ]
)
_COPIES = frozenset({"_to_copy", "copy_", "copy"})


class RefusedError(RuntimeError):
    """An operation that has no place in a step on a GPU. The message says which and why."""


class DeviceOps(TorchDispatchMode):
    """Counts the kernels of the code inside, and refuses what makes the host wait for the device.

    Raises RefusedError for an operation that waits, whose shape depends on data, that takes tensors
    of host and device, or that has no deterministic kernel.

    recorded: whether the code is recorded as a CUDA graph: then it may not copy from the host at
        all, whose memory will hold something else when the graph is started.
    """

    def __init__(self, *, recorded: bool = False) -> None:
        super().__init__()
        self._recorded = recorded
        self.stage = "forward and backward"
        """Under which the next kernels are counted."""
        self.kernels: Counter[tuple[str, str]] = Counter()
        """By stage and operation."""
        self.copied: Counter[str] = Counter()
        """Bytes from the host to the GPU, by stage."""

    def count(self, stage: str) -> int:
        """Kernels of a stage."""
        return sum(number for (of, _), number in self.kernels.items() if of == stage)

    def started(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """Called after each kernel; for those who want to know more than their number."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs an operation after a look at it."""
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        if func.namespace == "stellux":
            with self:
                return body_of(func)(*args, **kwargs)
        if torch.is_inference_mode_enabled() and not _has_kernel(func):
            # There torch hands out operations that are written in terms of others, such as `to`,
            # which is a copy or nothing.
            with self:
                if (result := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        _check(name, args, kwargs)
        try:
            result = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException) as error:
            raise RefusedError(f"{name} has a shape or a result that depends on data") from error
        devices = _devices((args, kwargs, result))
        if GPU in devices and not func.is_view and name not in _NO_KERNEL:
            self.kernels[self.stage, name] += 1
            self.started(func, args, kwargs, result)
        if name in _COPIES:
            source = _check_copy(args, kwargs, result)
            if source.device.type != GPU and result.device.type == GPU:
                self.copied[self.stage] += source.nbytes
                if self._recorded:
                    raise RefusedError("a copy from the host has no place in a recorded step")
        return result


def _has_kernel(func: Any) -> bool:
    """Whether an operation is one of a GPU's, as far as a CPU build knows them."""
    key = torch._C.DispatchKey.CUDA
    return func.namespace == "prim" or torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), key
    )


def body_of(func: Any) -> Any:
    """What an operation of our own does; FakeTensorMode sees only the shape of its result."""
    return torch._library.custom_ops.OPDEFS[func._schema.name]._init_fn


def _check(name: str, args: Any, kwargs: Any) -> None:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_gpu = [tensor for tensor in tensors if tensor.device.type == GPU]
    if not on_gpu or name == "device":
        return
    if name in WAITS:
        raise RefusedError(f"{name} waits for the device")
    if name in ("index", "index_put", "index_put_") and any(
        tensor.dtype in (torch.bool, torch.uint8)
        for tensor in tree_leaves(args[1])
        if isinstance(tensor, Tensor)
    ):
        raise RefusedError(f"{name} by a mask has a shape that depends on data")
    if name in UNREPEATABLE or (name == "cumsum" and on_gpu[0].is_floating_point()):
        raise RefusedError(f"{name} has no deterministic kernel on CUDA")
    # A number on the CPU is passed to the kernel as one.
    from_host = [one for one in tensors if one.device.type != GPU and one.ndim]
    if from_host and name not in _COPIES:
        raise RefusedError(f"{name} takes tensors of host and device")


def _check_copy(args: Any, kwargs: Any, result: Tensor) -> Tensor:
    """What is copied."""
    source = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else args[0]
    if source.device.type == GPU and result.device.type != GPU:
        raise RefusedError("a copy from the device to the host waits for the device")
    waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    if source.device.type != GPU and result.device.type == GPU and waits:
        raise RefusedError("a copy from the host that is not non_blocking waits for the device")
    return source


def _devices(values: Any) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}


@contextmanager
def optimizer_apart(ops: DeviceOps) -> Iterator[None]:
    """Counts what comes after the gradients, from their clipping on, as a stage `optimizer`."""
    clip = torch.nn.utils.clip_grad_norm_

    def clipped(*arguments: Any, **options: Any) -> Any:
        ops.stage = "optimizer"
        return clip(*arguments, **options)

    torch.nn.utils.clip_grad_norm_ = clipped
    try:
        yield
    finally:
        torch.nn.utils.clip_grad_norm_ = clip
