"""Kernels of a training step and of evaluations of the 10M baseline, and what each moves.

For benchmarks/gpu_trial.py, in a process with a fake GPU (tests/gpu/fake_cuda.py), on which nothing
is computed. Prints a JSON object.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from model.evaluation.bits_per_byte import _scored
from model.evaluation.scored_batches import ScoredBatch
from model.training.settings import TrainingConfig
from model.training.training import Training
from tests.gpu import traced_steps
from tests.gpu.device_ops import DeviceOps
from tests.gpu.fake_cuda import DEVICE, fake_cuda

AT_ONCE = (16, 32, 64)
"""Sequences of an evaluation's batch."""
_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


class Kernels(DeviceOps):
    """Keeps what each kernel moves and multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def started(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """Keeps a kernel."""
        given, made = _tensors((args, kwargs)), _tensors(result)
        flops = flop_registry.get(func._overloadpacket, lambda *_, **__: 0)
        self.found.append(
            {
                "moved": sum(one.nbytes for one in (*given, *made)),
                "flops": int(flops(*args, **kwargs, out_val=result)),
                "precision": _NAMES.get(given[0].dtype, "fp32") if given else "fp32",
            }
        )


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def traced() -> dict[str, list[dict[str, Any]]]:
    """The kernels by what starts them: `step`, and evaluations as `16 in fp32`."""
    config = traced_steps.SIZES["large"]
    found = {}
    with fake_cuda():
        source = traced_steps.Source(length=config.context, masked=False)
        settings = TrainingConfig(tokens=10**6, batch_size=traced_steps.SEQUENCES, compile="off")
        training = Training(config, settings, source, baseline=config, device=DEVICE)
        training.step()
        with (step := Kernels()):
            training.step()
        found["step"] = step.found
        training.model.eval()
        for sequences in AT_ONCE:
            text = traced_steps.Source(length=config.context, masked=False, sequences=sequences)
            batch = ScoredBatch.of(text.batch(0), device=DEVICE)
            for name in _NAMES.values():
                with (
                    Kernels() as kernels,
                    torch.inference_mode(),
                    torch.autocast("cuda", torch.bfloat16, enabled=name == "bf16"),
                ):
                    list(_scored(training.model, [batch]))
                found[f"{sequences} in {name}"] = kernels.found
    return found


if __name__ == "__main__":
    print(json.dumps(traced()))
