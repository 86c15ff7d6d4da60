"""The most kernels that a training step of each variant may ask of a GPU, its optimiser included.

Of the size `small` in tests/gpu/traced_steps.py: one layer of two heads, eager. Each bound is 3 %
over what was counted when it was set, so that a loop in Python, which starts its kernels once for
each head, expert or tensor, goes beyond it. A change that needs more kernels states its own bound
here; one that needs fewer lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_KERNELS: Mapping[str, int] = {
    "default": 187,
    "embedding untied": 186,
    "embedding factorized": 203,
    "embedding factorized_untied": 203,
    "attention qk_norm": 199,
    "feed_forward geglu": 187,
    "feed_forward reglu": 187,
    "feed_forward relu_squared": 184,
    "feed_forward relu": 176,
    "feed_forward gelu": 176,
    "feed_forward moe": 338,
    "feed_forward polyglu": 410,
    "moe of one expert": 298,
    "moe on an RTX 4090": 635,
    "moe in fp32": 577,
    "moe under Muon": 521,
    "grouped queries": 190,
    "masked documents": 192,
    "masked documents, polyglu": 434,
    "masked documents, grouped queries": 195,
    "dropout": 297,
    "Muon": 326,
    "Muon, two layers": 436,
    "standard parametrization": 180,
    "fp32": 143,
    "fp8": 648,
    "fp16 on a Turing": 209,
    "fp16 under Muon": 352,
    "no clipping": 187,
    "micro-batches": 678,
    "gradient checkpointing": 228,
    "gradient checkpointing, moe": 430,
    "gradient checkpointing, polyglu": 547,
    "some targets": 197,
    "held text": 188,
    "held text, masked documents": 195,
}
"""By the name of the case."""
