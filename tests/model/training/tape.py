"""A recorder of steps for the CPU, with the rules of a CUDA graph.

Each operation is repeated on the memory that it had when it was recorded, with the numbers that it
was given then. What a step reads must be made in it, or be named as lasting: other memory may be
gone, or hold last step's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_CONSTANTS = ("lift", "lift_fresh")
"""Operations that bring a tensor of the host's program into the step."""


@dataclass(frozen=True, kw_only=True)
class _Operation:
    function: Any
    arguments: Any
    options: Any
    result: Any


class Tape:
    """Records operations of a CPU.

    lasting: gives the tensors that a recorded step may read and change.
    """

    def __init__(self, lasting: Callable[[], Iterable[Tensor]]) -> None:
        self._lasting = lasting
        self.recordings = 0
        self.starts = 0

    def apart(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """The work is done, and then undone."""
        lasting = list(self._lasting())
        before = [tensor.detach().clone() for tensor in lasting]
        recording = _Recording(lasting)
        with recording:
            work()
        with torch.no_grad():
            for tensor, values in zip(lasting, before, strict=True):
                tensor.copy_(values)
        self.recordings += 1

        def start() -> None:
            self.starts += 1
            recording.play()

        return start


class _Recording(TorchDispatchMode):
    def __init__(self, lasting: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = {_memory(tensor) for tensor in lasting}
        self._operations: list[_Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        assert name != "_local_scalar_dense", "a number is read from the device"
        if name not in _CONSTANTS:
            args, kwargs = tree_map_only(Tensor, self._read, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        self._known |= {_memory(one) for one in tree_leaves(result) if isinstance(one, Tensor)}
        self._operations.append(
            _Operation(function=func, arguments=args, options=kwargs or {}, result=result)
        )
        return result

    def _read(self, tensor: Tensor) -> Tensor:
        if _memory(tensor) in self._known:
            return tensor
        # A number of the host is given to a kernel as it is now.
        assert tensor.ndim == 0, "a step reads memory that does not last"
        return tensor.clone()

    @torch.no_grad()
    def play(self) -> None:
        for operation in self._operations:
            if operation.function.is_view:
                continue
            results = operation.function(*operation.arguments, **operation.options)
            for now, then in zip(tree_leaves(results), tree_leaves(operation.result), strict=True):
                if isinstance(now, Tensor) and now is not then:
                    then.copy_(now)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
