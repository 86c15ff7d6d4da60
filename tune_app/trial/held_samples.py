"""Where a trial's dev samples are: on the host, or on the GPU that scores them again and again."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from model.evaluation.scored_batches import HeldDocuments, ScoredDocuments
from model.training.held_text import SHARE_OF_FREE, Holding
from tune_app.devices import free_memory, memory_share
from tune_app.trial.data import TrialData

logger = logging.getLogger(__name__)

MOST_SHARED = 16_000_000
"""Bytes that a GPU holds for each of its cells, however many share it."""
BYTES_OF_A_TOKEN = 32
"""An input, a target, its place, and the document that it is of, 8 each at most."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a trial scores at every evaluation."""

    dev: ScoredDocuments
    domains: tuple[ScoredDocuments, ...]
    """Of each corpus of a mixed one."""
    precision: str
    """Of the products where they are scored. All of dev, scored once, is scored in fp32."""


def should_hold_samples(*, device: str, tokens: int, free: int, share: float) -> Holding:
    """Whether a device holds the samples that it scores. No score depends on it.

    Args:
        device: that scores.
        tokens: of all samples.
        free: bytes of the device's memory.
        share: of the device's memory that this process may use.
    """
    if not device.startswith("cuda"):
        return Holding(held=False, reason=f"{device} is no GPU with a memory of its own")
    kept = tokens * BYTES_OF_A_TOKEN
    size = f"{kept / 1e6:,.1f} MB"
    if kept <= MOST_SHARED:
        return Holding(held=True, reason=f"they are at most {size}")
    if share < 1:
        return Holding(
            held=False, reason=f"other cells use this GPU too, and each would hold up to {size}"
        )
    of_free = f"they are up to {size} where {free / 1e6:,.0f} MB are free"
    if kept > SHARE_OF_FREE * free:
        return Holding(held=False, reason=f"{of_free}, over {SHARE_OF_FREE:.0%}")
    return Holding(held=True, reason=of_free)


def samples_of(data: TrialData, *, device: str, precision: str) -> Samples:
    """The samples of a trial, which score the same wherever they are."""
    on_gpu = device.startswith("cuda")
    domains = tuple(domain.sample for domain in data.domains)
    holding = should_hold_samples(
        device=device,
        tokens=sum(one.tokens + one.documents for one in (data.sample, *domains)),
        free=free_memory(device) if on_gpu else 0,
        share=memory_share(device) if on_gpu else 1.0,
    )
    where = "held by the device" if holding.held else "copied to the device at each evaluation"
    log = logger.info if on_gpu else logger.debug
    log("the dev samples are %s: %s", where, holding.reason)
    if not holding.held:
        return Samples(dev=data.sample, domains=domains, precision=precision)
    return Samples(
        dev=HeldDocuments(data.sample, device=device),
        domains=tuple(HeldDocuments(one, device=device) for one in domains),
        precision=precision,
    )
