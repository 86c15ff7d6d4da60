"""Whether the GPU was billed while the image loaded, as far as the charges tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Stay:
    """How long a machine was there, in seconds."""

    existed: float
    """From the request to its end."""
    ran: tuple[float, float]
    """At least, at most: it began to run between two looks. Zeros if it never did."""

    def told(self, gpu_per_hour: float) -> str:
        """What to look for in a bill that comes later."""
        hours = [seconds / 3600 for seconds in (self.ran[1], self.existed)]
        ran, existed = (f"${gpu_per_hour * one:.4f}" for one in hours)
        return f"GPU charges up to {ran} are of its running, {existed} of its loading, too"


def loading_is_free(charged: float, stay: Stay, *, gpu_per_hour: float) -> bool | None:
    """Whether dollars charged for the GPU are those of its running alone.

    None if that cannot be told: charges that are too low may not be complete, and a short loading
    makes no difference.
    """
    least, most = (gpu_per_hour * seconds / 3600 for seconds in stay.ran)
    if gpu_per_hour * stay.existed / 3600 <= most * (1 + TOLERANCE) ** 2:
        return None
    if charged > most * (1 + TOLERANCE):
        return False
    return True if charged >= least * (1 - TOLERANCE) and least > 0 else None
