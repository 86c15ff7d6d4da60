"""Where a trial that is trained alone keeps its checkpoints. Imports nothing."""

from __future__ import annotations

DEFAULT_STORE = "runs/trials"
"""From the working folder; each cell has its own folder in it, named by its key."""
