"""How long tests wait for a process before they take it for hung."""

from __future__ import annotations

PATIENCE_S = 900.0
"""It says nothing about speed: shared cores may give a process a small part of their time."""
