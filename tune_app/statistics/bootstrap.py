"""An interval that asks how another choice of seeds and of documents would have come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DRAWS = 2_000


def document_interval(
    one: Mapping[int, Sequence[float]],
    other: Mapping[int, Sequence[float]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Where other less one lies, by a hierarchical bootstrap: seeds first, then documents in each.

    Differences are taken per seed and per document, which both designs have in common. With few
    seeds it is too narrow, as every bootstrap of few values, so it stands beside the test over
    seeds and does not replace it. None if they share no seed.

    Args:
        one, other: seed → bits per byte of each document, the same documents in the same order.
        draws: bootstrap samples.
        seed: of the draws.

    Raises ValueError if the two were scored on different numbers of documents.
    """
    import numpy as np  # noqa: PLC0415

    shared = [number for number in one if number in other and len(one[number]) > 0]
    if not shared:
        return None
    sizes = {len(group[number]) for group in (one, other) for number in shared}
    if len(sizes) > 1:
        raise ValueError(
            f"some runs were scored on {min(sizes)} documents and others on {max(sizes)}; score "
            "all on the same text"
        )
    differences = np.array([np.subtract(other[number], one[number]) for number in shared])
    seeds, documents = differences.shape
    generator = np.random.default_rng(seed)
    chosen = generator.integers(seeds, size=(draws, seeds, 1))
    places = generator.integers(documents, size=(draws, seeds, documents))
    means = differences[chosen, places].mean(axis=(1, 2))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
