"""A firewall that keeps its installer out is undone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tune_app.cloud.head.firewall_trial import begin_trial, confirm, trial
from tune_app.cloud.head.shell import HeadShell, HeadUnreachableError


def run(folder: Path, *, within_s: int) -> list[str]:
    """What the trial asks of nft."""
    (folder / "nft").write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\n')
    (folder / "nft").chmod(0o755)
    script = trial(
        folder / "rules", folder / "rules.before", folder / "confirmed", within_s=within_s
    )
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, timeout=20)
    asked = folder / "asked"
    return asked.read_text().splitlines() if asked.exists() else []


def test_rules_that_nobody_confirms_are_undone(tmp_path: Path) -> None:
    rules, before = tmp_path / "rules", tmp_path / "rules.before"
    rules.write_text("new")
    assert run(tmp_path, within_s=0) == ["delete table inet stellux"]
    # Ray's unit loads this file before Ray, and does not start without it.
    assert not rules.exists()
    assert (tmp_path / "rules.refused").read_text() == "new"
    rules.write_text("newer")
    before.write_text("old")
    assert run(tmp_path, within_s=0)[1:] == [f"-f {rules}"]
    assert rules.read_text() == "old"


def test_rules_that_a_login_confirms_stay(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("new")
    (tmp_path / "confirmed").touch()
    assert run(tmp_path, within_s=5) == []
    assert (tmp_path / "rules").read_text() == "new"


def test_the_same_rules_are_not_on_trial_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Sequence[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **_: started.append(words))
    rules, confirmed = tmp_path / "rules", tmp_path / "confirmed"
    confirmed.touch()
    assert begin_trial("new", rules=rules, confirmed=confirmed)
    assert not confirmed.exists(), "an earlier login says nothing of these rules"
    rules.write_text("new")
    assert not begin_trial("new", rules=rules, confirmed=confirmed)
    assert begin_trial("newer", rules=rules, confirmed=confirmed)
    assert (tmp_path / "rules.before").read_text() == "new"
    assert len(started) == 2


def test_who_cannot_log_in_again_is_told_what_happens() -> None:
    began = time.monotonic()
    # Nobody listens there.
    shell = HeadShell(address="127.0.0.1", user="me", port=1)
    with pytest.raises(HeadUnreachableError, match=r"keeps you out: it is undone within 120 s"):
        confirm(shell)
    assert time.monotonic() - began < 15
