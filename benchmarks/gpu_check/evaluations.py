"""What a dev sample takes and what TF32 changes, by how many sequences are scored at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.gpu_check.loops import random_split, training_of
from benchmarks.gpu_check.speed import SMALL
from benchmarks.gpu_check.timing import GPU, seconds_of
from data.batches import EvaluationDocuments
from model.evaluation.bits_per_byte import evaluate
from model.evaluation.scored_batches import HeldDocuments
from model.precisions import FP32, TF32
from model.spec import ModelConfig

SAMPLE_TOKENS = 1 << 16
"""Of the dev sample: about as many as the default one has."""
SCORED_AT_ONCE = (16, 32, 64)


def evaluations(config: ModelConfig, *, device: str = GPU) -> Iterator[str]:
    """A model of these sizes that was not trained, on random tokens."""
    model = training_of(config, SMALL, device=device).model
    yield f"A dev sample of {SAMPLE_TOKENS:,} random tokens; three turns each, the best."
    yield ""
    yield "| sequences at once | fp32, ms | TF32, ms | TF32's error, bits per byte |"
    yield "|---|---|---|---|"
    for sequences in SCORED_AT_ONCE:
        sample = EvaluationDocuments(
            random_split(config, SAMPLE_TOKENS),
            context=config.context,
            batch_size=sequences,
            end_of_text=0,
        )
        held = HeldDocuments(sample, device=device)
        found = {one: evaluate(model, held, precision=one).bits_per_byte for one in (FP32, TF32)}
        fp32, tf32 = (
            1e3 * seconds_of(partial(evaluate, model, held, precision=one), 3, device=device)
            for one in (FP32, TF32)
        )
        yield f"| {sequences} | {fp32:.1f} | {tf32:.1f} | {found[TF32] - found[FP32]:+.1e} |"
