"""A CUDA device without a GPU: tensors with shapes and a device, on which nothing is computed.

What a step asks of a GPU is found in a second on any machine with a C++ compiler: tensors of two
devices in one operation, shapes that depend on data, waits for the device. What the GPU then
computes, and how fast, only a GPU tells.

    with_fake_cuda("module", "argument")   # a process in which `fake_cuda` works

torch's CPU build lacks what autograd asks of a device, which fake_cuda.cpp adds before torch is
imported; so all this runs in a process of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

DEVICE = "cuda:0"
"""With its number: torch would ask the driver for the current one."""

TURING, AMPERE, ADA, HOPPER = (7, 5), (8, 0), (8, 9), (9, 0)

_LIBRARY = "STELLUX_FAKE_CUDA"
_SOURCE = Path(__file__).with_name("fake_cuda.cpp")
_ROOT = Path(__file__).parents[2]


def with_fake_cuda(module: str, *arguments: str) -> str:
    """What `python -m module` prints in a process with a fake device.

    Raises CalledProcessError if the compiler or the module fails.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "tests.gpu.fake_cuda", module, *arguments],
        cwd=_ROOT,
        env={**os.environ, _LIBRARY: str(_built())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ended.stdout


@cache
def _built() -> Path:
    """The library: built once, in five seconds, and gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="stellux-fake-cuda-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "fake_cuda.so"
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    torch = Path(spec.origin).parent
    libraries = torch / "lib"
    command = [os.environ.get("CXX", "g++"), "-std=c++20", "-shared", "-fPIC"]
    command += [str(_SOURCE), "-o", str(library), f"-I{torch / 'include'}"]
    command += [f"-L{libraries}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{libraries}"]
    subprocess.run(command, check=True)
    return library


@contextmanager
def fake_cuda(capability: tuple[int, int] = HOPPER) -> Iterator[None]:
    """Inside the block tensors are fake, and there is a GPU of this compute capability.

    Kernels that only torch's CUDA build has, for which the CPU build writes out a formula, are
    called as there: attention, RMSNorm and the gradient of SiLU.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
    from torch.optim import optimizer as optimizers
    from torch.utils import _foreach_utils

    from model.network import transformer

    build = transformer.Transformer.__init__

    def build_for_real(model: Any, *arguments: Any, **options: Any) -> None:
        # Its weights are drawn on the CPU and moved afterwards.
        with unset_fake_temporarily():
            build(model, *arguments, **options)

    def attention(
        query: Any, key: Any, value: Any, attn_mask: Any = None, is_causal: bool = False, **_: Any
    ) -> Any:
        return torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, query.requires_grad, 0.0, is_causal
        )[0]

    # A kernel for CUDA, which is never called, tells the dispatcher not to write the formula out.
    kernels = torch.library.Library("aten", "IMPL")
    for name in ("silu_backward", "_fused_rms_norm", "_fused_rms_norm_backward"):
        kernels.impl(name, _no_kernel, "CUDA")
    # torch has none for shapes alone if the learning rate is a tensor. The result is in its inputs.
    kernels.impl("_fused_adamw_.tensor_lr", lambda *_, **__: None, "Meta")

    with ExitStack() as stack:
        for patched in (
            patch("torch.cuda.get_device_name", lambda device=None: "fake GPU"),
            patch("torch.cuda.get_device_capability", lambda device=None: capability),
            patch("torch.cuda.is_bf16_supported", lambda **_: capability >= AMPERE),
            patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            patch("torch.Tensor.pin_memory", lambda tensor: tensor),
            patch.object(transformer.Transformer, "__init__", build_for_real),
            patch.object(optimizers, "_foreach_supported_types", [FakeTensor, torch.nn.Parameter]),
            patch.object(_foreach_utils, "_foreach_supported_types", [FakeTensor]),
            patch("torch.nn.functional.scaled_dot_product_attention", attention),
        ):
            stack.enter_context(patched)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.callback(kernels._destroy)
        yield


def _no_kernel(*arguments: Any, **options: Any) -> Any:
    raise AssertionError("a fake tensor has no memory to compute on")


def _main() -> None:
    import runpy

    ctypes.CDLL(os.environ[_LIBRARY])
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
