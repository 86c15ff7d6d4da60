"""How the next token is drawn from a model's logits.

Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Raises ValueError for impossible values."""

    temperature: float = 0.8
    """Logits are divided by it; 0 always takes the most probable token."""
    top_p: float = 0.95
    """Only the fewest most probable tokens that have this probability together are drawn (Holtzman
    et al., 2020, arXiv:1904.09751); 1 allows all."""
    seed: int = 0
    """The same seed gives the same tokens on the same machine."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(
                f"the temperature is {self.temperature!r}; it must be a number of at least 0"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p!r}; it must be more than 0 and at most 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"the seed is {self.seed!r}; it must be from 0 to 2⁶³ - 1")

    def generator(self) -> torch.Generator:
        """A generator at its start. It is on the CPU, so that a seed means the same everywhere."""
        return torch.Generator().manual_seed(self.seed)


def draw(logits_V: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token. Raises ValueError if a logit is NaN or infinite."""
    logits_V = logits_V.cpu().double()
    if not torch.isfinite(logits_V).all():
        raise ValueError(
            "the model's logits are NaN or infinite: its training diverged; use another cell"
        )
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    # The greatest is subtracted first: divided by a small temperature it would be infinite.
    scaled_V = (logits_V - logits_V.max()) / sampling.temperature
    probability_V, token_V = scaled_V.softmax(0).sort(descending=True, stable=True)
    before_V = probability_V.cumsum(0) - probability_V
    allowed_V = probability_V.where(before_V < sampling.top_p, 0)
    place = torch.multinomial(allowed_V, 1, generator=generator)
    return int(token_V[place])
