"""A state that nobody else has. Apart from the rest, because it needs no torch.distributed."""

from __future__ import annotations

from typing import Any


class Owned(dict[str, Any]):
    """A state on the CPU whose tensors nothing else refers to, so that nobody need copy them."""
