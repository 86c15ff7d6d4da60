"""Training loops that are timed: ours in several ways, and a plain one."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.contenders import PlainTransformer, random_batches
from benchmarks.gpu_check.timing import GPU, Work
from data.batches import TrainingBatches
from data.prepared import PackedSplit
from model.network.batch import TensorBatch
from model.spec import ModelConfig
from model.training.held_text import HeldText
from model.training.settings import TrainingConfig
from model.training.step_graph import CudaRecorder
from model.training.steps import read_all
from model.training.training import Training

READ_EVERY = 16
TEXT_TOKENS = 5_000_000
"""Of the text that our loops train on."""


def training_of(
    config: ModelConfig,
    sequences: int,
    *,
    compiled: bool = False,
    held: bool = False,
    graph: bool = False,
    device: str = GPU,
) -> Training:
    """A training on random text.

    Args:
        config: its sizes.
        sequences: of a step.
        compiled: whether its code is compiled.
        held: whether the GPU holds the text.
        graph: whether a step is one CUDA graph.
        device: to train on.
    """
    text = TrainingBatches(
        random_split(config, TEXT_TOKENS), context=config.context, batch_size=sequences, seed=0
    )
    return Training(
        config,
        TrainingConfig(tokens=10**12, batch_size=sequences, compile="on" if compiled else "off"),
        HeldText(text, device=device) if held else text,
        baseline=config,
        device=device,
        recorder=CudaRecorder(device) if graph else None,
    )


def random_split(config: ModelConfig, size: int) -> PackedSplit:
    """A text of so many random tokens, in one document."""
    tokens = np.random.default_rng(0).integers(config.vocab_size, size=size, dtype=np.uint16)
    return PackedSplit(
        name="train",
        tokens=tokens,
        document_offsets=np.array([0, size]),
        document_bytes=np.array([size]),
    )


def steps_of(training: Training) -> Work:
    """A step of it, whose losses are read a window at a time, as a cell does."""
    ahead = []

    def step() -> None:
        ahead.append(training.step())
        if len(ahead) == READ_EVERY:
            read_all(ahead)
            ahead.clear()

    return step


def plain_steps(config: ModelConfig, sequences: int, *, compiled: bool, device: str = GPU) -> Work:
    """A step of a hand-written loop in bf16, with a batch that is on the device already."""
    network = PlainTransformer(config).to(device)
    if compiled:
        network.compile(dynamic=False, fullgraph=True)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    batch = TensorBatch.of(random_batches(config, sequences).batch(0), device=device)

    def step() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = network(batch.inputs_BT, batch.targets_BT)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
