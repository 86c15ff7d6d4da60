"""What PolyGLU costs against SwiGLU: memory kept for the backward pass, and CPU time of a step.

One feed-forward of the 10M baseline (d_model 224, d_ff 600) on 16 sequences of 256 tokens, in
training with noise, on one thread. `written out` leaves the sum of activations to autograd. Then
the running mean of the gate against torch's cumsum, which is not deterministic on CUDA.

python -m benchmarks.polyglu
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from unittest import mock

import torch
from cyclopts import App
from torch import Tensor

from model.network import polyglu
from model.network.context import Context
from model.network.feed_forward import FEED_FORWARDS
from model.network.mixed_activations import ACTIVATIONS
from model.network.parameters import initialise
from model.network.random_keys import RANDOM_KEYS, sequence_keys
from model.network.running_mean import running_mean
from model.presets import PRESETS

SEQUENCES, LENGTH = 16, 256

app = App(name="python -m benchmarks.polyglu", help=__doc__, version_flags=[])


def written_out(gate: Tensor, up: Tensor, preferences: Tensor, states: Tensor) -> Tensor:
    """The sum that model.network.mixed_activations recomputes."""
    weights = (preferences[:, :, None] + states[..., None]).softmax(0)
    values = torch.stack([function(gate) for _, function in ACTIVATIONS])
    return (weights * values).sum(0) * up


def cpu_milliseconds(run: Callable[[], None], rounds: int) -> float:
    """Median CPU time: other processes on the machine disturb it less than wall time."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return 1e3 * median(taken)


@app.default
def compare(*, rounds: int = 9) -> None:
    """Print memory and time of each, and of the running mean.

    Parameters
    ----------
    rounds
        Steps of each; the median counts.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = replace(PRESETS["stellux-10m"].config, d_ff=600)
    for name in ("swiglu", "polyglu", "written out"):
        module = FEED_FORWARDS["polyglu" if name == "written out" else name](config)
        assert isinstance(module, torch.nn.Module)
        initialise(module)
        swapped = written_out if name == "written out" else polyglu.mixed_activations
        with mock.patch.object(polyglu, "mixed_activations", swapped):
            kept, milliseconds = _measured(module, config.d_model, rounds)
        print(f"{name:<12} {kept / 1e6:7.1f} MB kept {milliseconds:8.0f} ms a step")
    for length in (256, 1_024, 2_048):
        values_BTC = torch.randn(4_096 // length, length, 32, requires_grad=True)
        documents_BT = (torch.arange(length) // 100).expand(len(values_BTC), -1)
        counts_T1 = torch.arange(1, length + 1)[:, None]
        ways: dict[str, Callable[[], Tensor]] = {
            "products": lambda values=values_BTC: running_mean(values),
            "products by document": lambda v=values_BTC, d=documents_BT: running_mean(v, d),
            "cumsum": lambda values=values_BTC, counts=counts_T1: values.cumsum(1) / counts,
        }
        times = {
            name: cpu_milliseconds(lambda way=way: way().sum().backward(), rounds)
            for name, way in ways.items()
        }
        print(f"{length:>5} tokens: " + ", ".join(f"{n} {ms:.1f} ms" for n, ms in times.items()))


def _measured(module: torch.nn.Module, width: int, rounds: int) -> tuple[int, float]:
    """Bytes kept besides weights, and the time of a forward and a backward pass."""
    hidden_BTD = torch.randn(SEQUENCES, LENGTH, width, requires_grad=True)
    keys_B = sequence_keys(seed=0, step=0, sequences=SEQUENCES)
    kept: dict[int, int] = {}
    weights = {one.untyped_storage().data_ptr() for one in module.parameters()}

    def forward() -> Tensor:
        nothing = torch.empty(0)
        context = Context(
            cos_TK=nothing,
            sin_TK=nothing,
            extras={RANDOM_KEYS: keys_B},
            progress=torch.tensor(0.3),
        )
        made: Tensor = module(hidden_BTD, context)
        return made.sum()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    loss.backward()
    return sum(kept.values()), cpu_milliseconds(lambda: forward().backward(), rounds)


if __name__ == "__main__":
    sys.exit(app())
