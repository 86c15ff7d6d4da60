"""The names of precisions: in settings, records and checkpoints, and where they are decided on."""

from __future__ import annotations

BF16 = "bf16"
FP16 = "fp16"
FP32 = "fp32"
FP8 = "fp8"
TF32 = "tf32"
"""Of products only: their factors have 10 bits of mantissa where fp32 has 23. They are added up in
fp32."""
