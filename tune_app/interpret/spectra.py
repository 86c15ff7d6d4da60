"""The singular values of embeddings: over how many directions their vectors spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 1 << 14
"""Of the matrix that are multiplied at once in fp64."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The singular values of a matrix, the greatest first."""

    values: tuple[float, ...]
    effective_rank: float
    """exp of the entropy of the values over their sum (Roy and Vetterli, 2007): between 1 and the
    number of values, which it has if all are equal."""
    ninety_percent: int
    """So many of the values have 90 % of the sum of squares."""


def spectrum(matrix_VD: Tensor) -> Spectrum:
    """Of a matrix with far more rows than columns, from the eigenvalues of its Gram matrix.

    In fp64: values down to 1e-8 of the greatest are right. Raises ValueError for a matrix with a
    NaN or an infinite entry, and for one of zeros.
    """
    columns = matrix_VD.shape[1]
    gram_DD = torch.zeros(columns, columns, dtype=torch.float64, device=matrix_VD.device)
    for rows in torch.split(matrix_VD, _ROWS):
        part = rows.double()
        gram_DD += part.T @ part
    if not gram_DD.isfinite().all():
        raise ValueError("an embedding has entries that are NaN or infinite: the model diverged")
    squares_D = torch.linalg.eigvalsh(gram_DD).flip(0).clamp(min=0)
    values_D = squares_D.sqrt()
    if not values_D[0] > 0:
        raise ValueError("an embedding is zero everywhere, so it has no spectrum")
    shares_D = values_D / values_D.sum()
    reached_D = squares_D.cumsum(0) / squares_D.sum()
    return Spectrum(
        values=tuple(values_D.tolist()),
        effective_rank=torch.special.entr(shares_D).sum().exp().item(),
        ninety_percent=int((reached_D < 0.9).sum()) + 1,
    )
