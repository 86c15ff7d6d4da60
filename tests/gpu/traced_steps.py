"""Traces a training step and an evaluation of every variant on a fake GPU: what they ask of it.

    python -m tests.gpu.fake_cuda tests.gpu.traced_steps small|more|large [name …]

prints a JSON object: for each case, or those named, the kernels of each stage up to an operation
that was refused, the bytes that a step copies to the GPU, and what a recorded step would be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import Places
from model.evaluation.bits_per_byte import evaluate, nats_by_token
from model.evaluation.scored_batches import HeldDocuments
from model.network.documents import DOCUMENTS
from model.spec import ModelConfig
from model.training.held_text import HeldText
from model.training.settings import TrainingConfig
from model.training.training import BatchSource, Training
from tests.gpu.device_ops import DeviceOps, RefusedError, optimizer_apart
from tests.gpu.fake_cuda import ADA, DEVICE, HOPPER, TURING, fake_cuda
from tests.model.variants import EVERY, with_variants

_SMALL = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=1, n_heads=2, head_dim=10, d_ff=36
)
SIZES: Mapping[str, ModelConfig] = {
    "small": _SMALL,
    # With more heads of the same width in all, and twice the experts: as many kernels, unless
    # Python loops over heads or experts.
    "more": replace(_SMALL, n_heads=5, head_dim=4),
    # Of ten million parameters, a third of them in the embedding.
    "large": ModelConfig(
        vocab_size=16_000, context=256, d_model=220, n_layers=11, n_heads=4, head_dim=56, d_ff=592
    ),
}
SEQUENCES = 16
STEP = "step"
HELD: Mapping[str, Callable[[Any, Any], object]] = {
    "evaluation of a held sample": evaluate,
    "parts of a held sample": nats_by_token,
}
"""Ways to score documents that the GPU holds."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is traced."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """Sizes and switches of the model that differ."""
    variants: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = False
    """Whether a part of the targets is not scored."""
    capability: tuple[int, int] = HOPPER
    aligned: bool = False
    """Whether widths are rounded up to multiples of 16, as FP8 needs them."""
    held: bool = False
    """Whether the GPU holds the text and makes the batches."""


def cases() -> dict[str, Case]:
    """By name; the first one has nothing but defaults."""
    variants = {
        f"{part} {name}": Case(variants={part: name})
        for one in EVERY
        for part, name in one.items()
        if name != getattr(SIZES["small"], part)
    }
    moe = {"feed_forward": "moe"}
    return {
        "default": Case(),
        **variants,
        "moe of one expert": Case(variants=moe, config={"top_k": 1, "shared_experts": 0}),
        "moe on an RTX 4090": Case(variants=moe, capability=ADA),
        "moe in fp32": Case(variants=moe, training={"precision": "fp32"}),
        "moe under Muon": Case(variants=moe, training={"optimizer": "muon"}),
        "grouped queries": Case(config={"n_kv_heads": 1}),
        "masked documents": Case(config={"document_masking": True}),
        "masked documents, polyglu": Case(
            config={"document_masking": True}, variants={"feed_forward": "polyglu"}
        ),
        "masked documents, grouped queries": Case(
            config={"document_masking": True, "n_kv_heads": 1}
        ),
        "dropout": Case(config={"dropout": 0.1}),
        "Muon": Case(training={"optimizer": "muon"}),
        "Muon, two layers": Case(config={"n_layers": 2}, training={"optimizer": "muon"}),
        "standard parametrization": Case(training={"parametrization": "standard"}),
        "fp32": Case(training={"precision": "fp32"}),
        "fp8": Case(training={"precision": "fp8"}, aligned=True),
        "fp16 on a Turing": Case(capability=TURING),
        "fp16 under Muon": Case(training={"optimizer": "muon"}, capability=TURING),
        "no clipping": Case(training={"gradient_clip": float("inf")}),
        "micro-batches": Case(training={"gradient_accumulation": 4}),
        "gradient checkpointing": Case(training={"gradient_checkpointing": True}),
        "gradient checkpointing, moe": Case(
            variants=moe, training={"gradient_checkpointing": True}
        ),
        "gradient checkpointing, polyglu": Case(
            variants={"feed_forward": "polyglu"}, training={"gradient_checkpointing": True}
        ),
        "some targets": Case(masked=True),
        "held text": Case(held=True),
        "held text, masked documents": Case(held=True, config={"document_masking": True}),
    }


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A batch of one kind of token."""

    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: NDArray[np.bool_] | None
    extras: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Batches, for training and for evaluation."""

    length: int
    masked: bool
    text_bytes: int = 1_000
    sequences: int = SEQUENCES

    def batch(self, step: int) -> Tokens:
        shape = (self.sequences, self.length)
        mask_BT = None
        if self.masked:
            mask_BT = np.ones(shape, dtype=np.bool_)
            mask_BT[:, ::3] = False
        return Tokens(
            inputs_BT=np.zeros(shape, dtype=np.int64),
            targets_BT=np.ones(shape, dtype=np.int64),
            mask_BT=mask_BT,
            extras={DOCUMENTS: np.zeros(shape, dtype=np.int64)},
        )

    def __iter__(self) -> Any:
        return iter([self.batch(0), self.batch(1)])


@dataclass(frozen=True, kw_only=True)
class PlacedSource:
    """Batches from a text of one kind of token."""

    length: int
    end_of_text: int | None

    @property
    def text(self) -> NDArray[np.uint16]:
        return np.zeros(self.length + 1, dtype=np.uint16)

    def places(self, step: int) -> Places:
        return Places(starts_B=np.zeros(SEQUENCES, dtype=np.int64), length=self.length)


def traced(case: Case, size: str) -> dict[str, Any]:
    """The kernels of a second training step by stage, and of an evaluation of two batches; the
    bytes that the step copies to the GPU, and those that evaluations copy."""
    config = replace(with_variants(SIZES[size], case.variants), **case.config)
    if case.aligned:
        widths = {name: getattr(config, name) for name in ("d_model", "head_dim", "d_ff")}
        config = replace(config, **{name: -(-n // 16) * 16 for name, n in widths.items()})
    if size == "more" and config.n_experts is not None:
        config = replace(config, n_experts=2 * config.n_experts)
    settings: dict[str, Any] = {"batch_size": SEQUENCES, "compile": "off", **case.training}
    steps = TrainingConfig(tokens=10**6, **settings)
    source = Source(length=config.context, masked=case.masked)
    with fake_cuda(case.capability):
        batches: BatchSource = source
        if case.held:
            end_of_text = 0 if config.document_masking else None
            placed = PlacedSource(length=config.context, end_of_text=end_of_text)
            batches = HeldText(placed, device=DEVICE)
        recorder = _LooksOn()
        training = Training(
            config, steps, batches, baseline=config, device=DEVICE, recorder=recorder
        )
        training.step()  # moments and the like are made
        # Scored tokens are chosen by a mask.
        text = replace(source, masked=True)
        sample = HeldDocuments(text, device=DEVICE)
        ops = DeviceOps()
        refused = ""
        stages: dict[str, Callable[[], object]] = {
            STEP: training.step,
            "evaluation": lambda: evaluate(training.model, text),
            **{stage: partial(score, training.model, sample) for stage, score in HELD.items()},
        }
        for stage, work in stages.items():
            training_now = stage == STEP
            if not training_now:
                ops.stage = stage
            try:
                with ops, optimizer_apart(ops), torch.set_grad_enabled(training_now):
                    work()
            except RefusedError as error:
                if not _reads_the_result(error):
                    refused = f"{stage}: {error}"
                    break
        with suppress(RefusedError):  # which the recorder keeps
            training.step()
    counts = {name: ops.count(name) for name in ("forward and backward", "optimizer", "evaluation")}
    operations = {f"{stage}: {name}": number for (stage, name), number in ops.kernels.items()}
    copied = ops.copied["forward and backward"] + ops.copied["optimizer"]
    brought = {stage: ops.copied[stage] for stage in ("evaluation", *HELD)}
    return {
        "refused": refused,
        "kernels": counts,
        "operations": operations,
        "copied": copied,
        "copied_to_evaluate": brought,
        "recorded": recorder.kernels,
        "not_recorded": recorder.refused,
    }


class _LooksOn:
    """A recorder of steps that counts what would be recorded, and says why it could not be."""

    def __init__(self) -> None:
        self.kernels = 0
        self.refused = ""

    def apart(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        try:
            with (ops := DeviceOps(recorded=True)):
                work()
        except RefusedError as error:
            self.refused = str(error)
            raise
        self.kernels = ops.count(ops.stage)
        return lambda: None


def _reads_the_result(error: BaseException) -> bool:
    """Whether an evaluation reads what it found, at the end and once."""
    trace = error.__traceback__
    called = []
    while trace is not None:
        called.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    reads = {"_total": "_local_scalar_dense", "nats_by_token": "a copy from the device"}
    return "_scored" not in called and any(
        name in called and str(error).startswith(reading) for name, reading in reads.items()
    )


if __name__ == "__main__":
    size, *names = sys.argv[1:]
    chosen = {name: case for name, case in cases().items() if not names or name in names}
    print(json.dumps({name: traced(case, size) for name, case in chosen.items()}))  # noqa: T201
