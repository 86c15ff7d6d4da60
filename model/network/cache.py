"""What a network remembers of the positions before, so that a text is continued token by token.

A part whose output at a position depends on other positions takes part in one of three ways:

- it extends the cache with what it made of the new positions (`Cache.extended`), as attention does
  with keys and values;
- it keeps a state of its own between passes (`Cache.kept`), as a running mean would;
- it says in an attribute `needs_whole_text` why it can do neither, and its model is run over the
  whole text for each new token.

A part that works on each position on its own does nothing.

Shapes: T positions, K entries; other dimensions lead.
"""

from __future__ import annotations

from torch import Tensor, nn


class Cache:
    """The cache of one batch of texts of equal length.

    Args:
        capacity: positions that fit, the context of the model.
    """

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        """Positions that are in it; the model counts them up after each pass."""
        self.kept: dict[tuple[nn.Module, str], Tensor] = {}
        """States of parts, by part and name, from the last pass."""
        self._positions: dict[tuple[nn.Module, str], Tensor] = {}

    def extended(self, part: nn.Module, name: str, new_TK: Tensor) -> Tensor:
        """A tensor [..., T, K] of all positions so far, those of this pass last.

        Valid until the next pass.
        """
        *leading, length, entries = new_TK.shape
        end = self.length + length
        assert end <= self.capacity, "the model checks the length of a text"
        place = (part, name)
        if place not in self._positions:
            self._positions[place] = new_TK.new_empty(*leading, self.capacity, entries)
        held_CK = self._positions[place]
        held_CK[..., self.length : end, :] = new_TK
        return held_CK[..., :end, :]


def needs_whole_text(model: nn.Module) -> str | None:
    """Why a model cannot continue a text from a cache; None if it can."""
    for module in model.modules():
        reason = getattr(module, "needs_whole_text", None)
        if isinstance(reason, str):
            return reason
    return None
