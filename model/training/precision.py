"""In which precision a training multiplies, and the evaluations in it, decided from what its device
can. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from model.precisions import BF16, FP8, FP16, FP32, TF32


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A decision."""

    name: str
    """`bf16`, `fp16`, `fp32` or `fp8`; of an evaluation `fp32` or `tf32`."""
    reason: str


def chosen_precision(
    asked: str, *, device: str, multiplies: Collection[str], shared: bool = False
) -> Precision:
    """What `precision` means on a device; `auto` takes the fastest, and bf16 before fp16.

    Args:
        asked: `auto`, or one by name.
        device: for messages.
        multiplies: those of bf16 and fp16 that the device has fast instructions for.
        shared: whether several processes share the model, which does not scale its loss.

    Raises ValueError for bf16 and fp16 where they are not; FP8 is taken as asked.
    """
    if asked in (FP32, FP8):
        return Precision(name=asked, reason="as asked")
    if asked == FP16 and shared:
        raise ValueError(
            "precision is 'fp16', which a model that several processes share is not trained in; "
            "use 'auto' or 'fp32', or one process"
        )
    if asked in (BF16, FP16):
        if asked not in multiplies:
            raise ValueError(
                f"precision is {asked!r}, which {device} has no instructions for; use 'auto' or "
                "'fp32'"
            )
        return Precision(name=asked, reason="as asked")
    if BF16 in multiplies:
        return Precision(name=BF16, reason=f"{device} multiplies bf16")
    if FP16 not in multiplies:
        return Precision(name=FP32, reason=f"{device} multiplies neither bf16 nor fp16 fast")
    if shared:
        return Precision(
            name=FP32,
            reason=f"{device} has no bf16, and several processes that share a model do not scale "
            "its loss, as fp16 needs",
        )
    return Precision(
        name=FP16, reason=f"{device} multiplies fp16 and not bf16, so the loss is scaled"
    )


def evaluation_precision(training: str, *, device: str, multiplies_tf32: bool) -> Precision:
    """In which precision products are computed where the dev sample is scored.

    TF32 changes a score by less than 10⁻⁴ bits per byte (docs/gpu.md, "Evaluation") and starts no
    more kernels than fp32; bf16 does, for its casts.

    Args:
        training: the training's precision.
        device: for the reason.
        multiplies_tf32: whether the device has instructions for it.
    """
    if training == FP32:
        return Precision(name=FP32, reason="training is in fp32")
    if multiplies_tf32:
        return Precision(name=TF32, reason=f"{device} multiplies it, and training is in {training}")
    return Precision(name=FP32, reason=f"{device} does not multiply TF32")
