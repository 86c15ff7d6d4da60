"""The table of rules: recorded and read back, named, and what is said of them beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune_app.sweeps import new_journal
from tune_app.stopping.all_rules import (
    SCHEDULERS,
    StoppingRules,
    describe_scheduler,
    scheduler_from_record,
    title_of,
)
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.rule import Trial

OFF = StoppingRules(kill_rule=KillRule(unit="off"), scheduler=None)


def test_rules_survive_the_record_of_their_sweep(tmp_path: Path) -> None:
    sweep = new_journal(tmp_path / "journal.sqlite3").sweep()
    rules = StoppingRules.from_record(sweep)
    assert rules.kill_rule == KillRule()
    assert rules.scheduler == AshaStopSettings()
    assert scheduler_from_record(rules.scheduler_record) == AshaStopSettings()
    assert rules.scheduler_record == {
        "name": "asha-stop",
        "reduction_factor": 2,
        "grace_fraction": 0.25,
    }
    assert scheduler_from_record(OFF.scheduler_record) is None


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_of_the_table_is_built_described_and_read_back(name: str) -> None:
    settings = SCHEDULERS[name]()
    assert name == settings.NAME
    assert SCHEDULERS[name].from_record({"name": name, **settings.as_dict()}) == settings
    assert settings.build(tokens=100_000) is not None
    assert "\n" not in settings.describe(100_000)
    assert all(0 < one < 100_000 for one in settings.milestones(100_000))


def test_rules_that_are_off_build_nothing_and_say_nothing() -> None:
    assert OFF.build(tokens=1_000) == {}
    assert OFF.milestones(1_000) == ()
    small = Trial(tokens=1_000, evaluations=10, sample_bytes=12, stretches=1)
    assert OFF.notes(small) == ()


def test_a_dev_sample_too_small_to_decide_on_is_told_of() -> None:
    rules = StoppingRules(kill_rule=KillRule(unit="off"), scheduler=AshaStopSettings())
    small = Trial(tokens=1_000, evaluations=10, sample_bytes=12, stretches=1)
    (note,) = rules.notes(small)
    assert "the dev sample has 12 bytes in 1 stretch of text" in note
    usual = Trial(tokens=1_000, evaluations=10, sample_bytes=65_000, stretches=128)
    assert rules.notes(usual) == ()


def test_a_rule_of_another_version_has_its_name_for_a_title() -> None:
    assert title_of("kill_rule").by == "the kill rule"
    assert title_of("diverged").short == "diverged"
    assert title_of("some_later_rule").by == "some later rule"
    record = {"name": "some_later_rule", "share": 0.5}
    assert describe_scheduler(record, 1_000) == "some_later_rule (share 0.5)"
    assert describe_scheduler({"name": "none"}, 1_000) == "none"
    assert "at 250, 500 tokens" in describe_scheduler({"name": "asha"}, 1_000)
