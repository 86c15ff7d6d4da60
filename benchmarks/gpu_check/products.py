"""Whether a layer's products are faster with sizes that are multiples of 8 or 64.

Tensor cores read 16 bytes at a time, which is 8 numbers of bf16; a row of 220 begins on such a
border in one of two cases. Padding a layer's inputs and weights with zeros changes no result, but
copies them. So each product, forward and backward, is timed as it is, at sizes that are such
multiples already (the most that padding could bring), and with the copies.

Shapes: R rows (sequences times tokens), I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_check.timing import GPU, Work, seconds_of
from model.spec import ModelConfig
from model.training.step_graph import CudaRecorder

MULTIPLES = (8, 64)
REPEATED = 200
"""Times that a product is done in one CUDA graph: at this size it takes longer to start than to
do."""


def products(
    config: ModelConfig,
    *,
    sequences: tuple[int, ...],
    repeated: int = REPEATED,
    device: str = GPU,
) -> Iterator[str]:
    """The products of a block of these sizes, for so many sequences a step, in bf16."""
    yield (
        "Microseconds of a product, forward and backward; sizes as they are, at the next multiple, "
        "and padded to it inside; three turns each, the best."
    )
    yield ""
    yield "| product | rows | inputs, outputs | as it is |" + "".join(
        f" at a multiple of {multiple} | padded to it |" for multiple in MULTIPLES
    )
    yield "|" + "---|" * (4 + 2 * len(MULTIPLES))
    for count in sequences:
        rows = count * config.context
        for name, inputs, outputs in sizes_of(config):
            time = partial(_microseconds, rows, repeated=repeated, device=device)
            line = f"| {name} | {rows} | {inputs}, {outputs} | {time(inputs, outputs):.1f} |"
            for multiple in MULTIPLES:
                whole = time(_up(inputs, multiple), _up(outputs, multiple))
                inside = time(inputs, outputs, multiple=multiple)
                line += f" {whole:.1f} | {inside:.1f} |"
            yield line


def sizes_of(config: ModelConfig) -> list[tuple[str, int, int]]:
    """The products of a gated block: name, inputs, outputs."""
    attention = config.n_heads * config.head_dim
    key_value = (config.n_kv_heads or config.n_heads) * config.head_dim
    return [
        ("queries, keys and values", config.d_model, attention + 2 * key_value),
        ("attention's output", attention, config.d_model),
        ("gate and up", config.d_model, 2 * config.d_ff),
        ("down", config.d_ff, config.d_model),
    ]


def padded_product(inputs_RI: Tensor, weight_OI: Tensor, *, multiple: int) -> Tensor:
    """What `functional.linear` gives, [R, O], by a product whose sizes are multiples."""
    outputs, inputs = weight_OI.shape
    missing = -inputs % multiple
    made = functional.linear(
        functional.pad(inputs_RI, (0, missing)),
        functional.pad(weight_OI, (0, missing, 0, -outputs % multiple)),
    )
    return made[:, :outputs]


def _up(size: int, multiple: int) -> int:
    return size + -size % multiple


def _microseconds(
    rows: int,
    inputs: int,
    outputs: int,
    *,
    repeated: int,
    device: str,
    multiple: int | None = None,
) -> float:
    make = partial(torch.randn, device=device, dtype=torch.bfloat16)
    inputs_RI = make(rows, inputs, requires_grad=True)
    weight_OI = make(outputs, inputs, requires_grad=True)
    upstream_RO = make(rows, outputs)

    def once() -> None:
        if multiple is None:
            made_RO = functional.linear(inputs_RI, weight_OI)
        else:
            made_RO = padded_product(inputs_RI, weight_OI, multiple=multiple)
        torch.autograd.grad(made_RO, [inputs_RI, weight_OI], upstream_RO)

    together = _together(once, repeated, device)
    return seconds_of(together, 1, device=device) / repeated * 1e6


def _together(once: Work, repeated: int, device: str) -> Work:
    """The work so many times; on CUDA as one graph."""

    def together() -> None:
        for _ in range(repeated):
            once()

    if torch.device(device).type != "cuda":
        return together
    recorder = CudaRecorder(device)
    with recorder.apart():
        once()
    return recorder.record(together)
