"""torch.compile as a process uses it for one model after another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from model.network.context import LossOutput
from model.network.transformer import Transformer, run_block
from model.parts.variants import Parts
from model.spec import ModelConfig
from model.training.compiled_code import install, recorded
from model.training.hardware import kind_of

logger = logging.getLogger(__name__)

Loss = Callable[..., LossOutput]
Shape = Mapping[str, Any]
"""All that compiled code depends on but for the machine, as plain values."""


class CodeStore(Protocol):
    """Keeps compiled code for other processes, and only gives out what may be trusted.

    Neither method raises: without a store everything is compiled.
    """

    def find(self, shape: Shape, *, device: str) -> bytes | None:
        """What was kept for this shape by a machine like this one; None if there is nothing."""

    def keep(self, shape: Shape, code: bytes, *, device: str) -> None:
        """Keeps the code of a shape."""

    def spoilt(self, shape: Shape, reason: str, *, device: str) -> None:
        """What `find` gave could not be used; another may take its place."""


class Compiler:
    """Compiles models, and reuses what it has compiled.

    torch.compile keeps its code for the whole process. A process makes one Compiler and trains all
    its models with it, so that the second model of a shape is not compiled at all.

    store: where code is looked for and kept; None for nowhere but in Inductor's folder.
    """

    def __init__(self, store: CodeStore | None = None) -> None:
        self._store = store
        self._held: Shape | None = None
        """The shape whose code torch.compile has in memory."""

    def loss_of(self, model: Transformer, shape: Shape, *, device: str) -> Loss:
        """`model.loss`, to be compiled on its first call.

        Forgets the code of other shapes: after a few versions of a function torch.compile would
        refuse to compile another.
        """
        if shape != self._held:
            torch.compiler.reset()
            self._held = None
        if by_block(model.config, device=device):
            model.run_block = torch.compile(run_block, dynamic=False, fullgraph=True)
            return model.loss
        loss: Loss = torch.compile(model.loss, dynamic=False, fullgraph=True)
        return loss

    @contextmanager
    def compiling(self, shape: Shape, *, device: str) -> Iterator[None]:
        """Around the first call of a compiled loss: takes its code from the store, or keeps it
        there. What the block raises is raised."""
        with _cached_with_functions_of_ours():
            if self._store is None or shape == self._held:
                yield
            else:
                taken = self._take(shape, device=device)
                with recorded() as pack:
                    yield
                    if not taken and (code := pack()) is not None:
                        self._store.keep(shape, code, device=device)
        self._held = shape

    def _take(self, shape: Shape, *, device: str) -> bool:
        assert self._store is not None
        code = self._store.find(shape, device=device)
        if code is None:
            return False
        try:
            install(code)
        except Exception as error:  # whatever is wrong with it, it can be compiled anew
            self._store.spoilt(shape, str(error) or type(error).__name__, device=device)
            return False
        return True


def by_block(config: ModelConfig, *, device: str) -> bool:
    """Whether to compile one block, once, and run it for every layer; else the loss as a whole.

    On a CPU it takes less than half the time to compile at 11 layers, and is as fast
    (docs/measurements.md). It needs layers that are alike: none that draws numbers of its own,
    reports under its own name, or makes something that later ones share.
    """
    parts = Parts.of(config)
    reports = any(part.reports for part in (parts.attention, parts.feed_forward, parts.norm))
    alike = config.dropout == 0 and not config.document_masking and not reports
    return alike and kind_of(device).COMPILES_BY_BLOCK


@contextmanager
def _cached_with_functions_of_ours() -> Iterator[None]:
    """Lets torch cache graphs with a torch.autograd.Function in them, which our loss is.

    Such a function is traced: what it computes is in the graph, and so in the key of the cache.
    """
    import torch._functorch.config as settings  # noqa: PLC0415

    patch: Any = settings.patch
    with patch(autograd_cache_allow_custom_autograd_functions=True):
        yield
