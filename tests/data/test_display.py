"""What a terminal shows while a corpus is prepared."""

from __future__ import annotations

import io

from rich.console import Console

from data.display import progress_display


def test_progress_counts_bytes_or_what_it_is_told() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with progress_display(console) as report:
        report("read", 2_000_000, 0)
        report("join words into superwords", 30, 60, "tokens")
    assert "2.0 MB" in shown.getvalue()
    assert "30 tokens" in shown.getvalue()
