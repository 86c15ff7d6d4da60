"""The most kernels that a training step of each variant may ask of a GPU, its optimiser included.

Of the size `small` in tests/gpu/traced_steps.py: one layer of two heads, eager. Each bound is 3 %
over what was counted when it was set, so that a loop in Python, which starts its kernels once for
each head, expert or tensor, goes beyond it. A change that needs more kernels states its own bound
here; one that needs fewer lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_KERNELS: Mapping[str, int] = {
    "default": 137,
    "embedding untied": 136,
    "embedding factorized": 154,
    "embedding factorized_untied": 154,
    "attention qk_norm": 150,
    "feed_forward geglu": 137,
    "feed_forward reglu": 137,
    "feed_forward relu_squared": 141,
    "feed_forward relu": 132,
    "feed_forward gelu": 132,
    "feed_forward moe": 289,
    "feed_forward polyglu": 361,
    "moe of one expert": 255,
    "moe on an RTX 4090": 586,
    "moe in fp32": 548,
    "moe under Muon": 471,
    "grouped queries": 141,
    "masked documents": 143,
    "masked documents, polyglu": 385,
    "masked documents, grouped queries": 146,
    "dropout": 248,
    "Muon": 277,
    "Muon, two layers": 337,
    "standard parametrization": 130,
    "fp32": 114,
    "fp8": 620,
    "fp16 on a Turing": 163,
    "fp16 under Muon": 302,
    "no clipping": 137,
    "micro-batches": 480,
    "gradient checkpointing": 161,
    "gradient checkpointing, moe": 363,
    "gradient checkpointing, polyglu": 480,
    "some targets": 148,
    "held text": 140,
    "held text, masked documents": 147,
}
"""By the name of the case."""
