"""What the head lacks is installed, and nothing where nothing is missing."""

from __future__ import annotations

from collections.abc import Sequence

from tune_app.cloud.head.packages import install_packages


def test_only_what_is_missing_is_installed() -> None:
    ran: list[Sequence[str]] = []
    assert install_packages({"sh": "dash"}, run=ran.append) == []
    assert ran == []
    wanted = {"sh": "dash", "no-such-command": "its-package"}
    assert install_packages(wanted, run=ran.append) == ["its-package"]
    assert [words[-1] for words in ran] == ["update", "its-package"]
