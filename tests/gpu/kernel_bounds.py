"""The most kernels that a training step of each variant may ask of a GPU, its optimiser included.

Of the size `small` in tests/gpu/traced_steps.py: one layer of two heads, eager. Each bound is 3 %
over what was counted when it was set, so that a loop in Python, which starts its kernels once for
each head, expert or tensor, goes beyond it. A change that needs more kernels states its own bound
here; one that needs fewer lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_KERNELS: Mapping[str, int] = {
    "default": 166,
    "embedding untied": 165,
    "embedding factorized": 182,
    "embedding factorized_untied": 182,
    "attention qk_norm": 178,
    "feed_forward geglu": 166,
    "feed_forward reglu": 166,
    "feed_forward relu_squared": 169,
    "feed_forward relu": 161,
    "feed_forward gelu": 161,
    "feed_forward moe": 317,
    "feed_forward polyglu": 389,
    "moe of one expert": 283,
    "moe on an RTX 4090": 614,
    "moe in fp32": 569,
    "moe under Muon": 500,
    "grouped queries": 169,
    "masked documents": 171,
    "masked documents, polyglu": 413,
    "masked documents, grouped queries": 174,
    "dropout": 276,
    "Muon": 305,
    "Muon, two layers": 394,
    "standard parametrization": 159,
    "fp32": 134,
    "fp8": 648,
    "fp16 on a Turing": 192,
    "fp16 under Muon": 331,
    "no clipping": 166,
    "micro-batches": 595,
    "gradient checkpointing": 200,
    "gradient checkpointing, moe": 402,
    "gradient checkpointing, polyglu": 519,
    "some targets": 176,
    "held text": 168,
    "held text, masked documents": 175,
}
"""By the name of the case."""
