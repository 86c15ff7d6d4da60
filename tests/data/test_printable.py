from __future__ import annotations

import subprocess
import sys

import pytest

PRINTS = (
    "from data.printable import print_what_can_be_printed\n"
    "print_what_can_be_printed()\n"
    "print('gap −0.0280, ≥ 3 × 4 … 語')"
)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", "gap -0.0280, >= 3 x 4 ... ?"),
        ("latin-1", "gap -0.0280, >= 3 × 4 ... ?"),
        ("utf-8", "gap −0.0280, ≥ 3 × 4 … 語"),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_one_like_it(encoding: str, printed: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": "."},
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode(encoding).strip() == printed
