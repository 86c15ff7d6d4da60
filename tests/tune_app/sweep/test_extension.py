"""A command on a sweep that exists: what is trained is adopted, what is new is added."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.tune_app.sweeps import TOKENS, new_journal, observe, planned
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Decision, Status
from tune_app.plan.plan import SweepPlan
from tune_app.results.amendments import what_changed
from tune_app.results.caveats import caveats
from tune_app.results.report import write_report
from tune_app.results.summary import summarise
from tune_app.results.tables import cell_rows
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.sweep.extension import AnotherSweepError, Extension, extension
from tune_app.sweep.folder import JOURNAL
from tune_app.terminal.tables import status_table


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return new_journal(tmp_path / "journal.sqlite3")


def extended(
    journal: Journal, plan: SweepPlan, rules: StoppingRules | None = None, command: str = "again"
) -> Extension:
    sweep = journal.sweep()
    asked = rules or StoppingRules.from_record(sweep)
    return extension(sweep, journal.cells(), plan, asked, command=command)


def amend(journal: Journal, change: Extension) -> None:
    journal.amend(
        change.sweep,
        command=change.sweep.command,
        changes=change.changes,
        added=change.added,
        left_out=[cell.key for cell in change.left_out],
        again=[cell.key for cell in change.again],
        labels=change.labels,
    )


def finish(journal: Journal, key: str, status: Status = Status.FINISHED) -> None:
    journal.start_attempt(key)
    action = Action.FINISH if status is Status.FINISHED else Action.STOP
    decision = Decision(cell=key, tokens=100, action=action, rule="completed", reason="")
    journal.record(observe(key, 100, 2.0), decision)


def test_the_same_command_changes_nothing(journal: Journal) -> None:
    assert extended(journal, planned()).is_empty
    assert extended(journal, planned(expansions=(4.0, 2.66, 2.0))).is_empty, "in any order"


def test_more_seeds_are_added_and_nothing_is_trained_again(journal: Journal) -> None:
    for cell in journal.cells():
        finish(journal, cell.key)
    before = {cell.key: cell for cell in journal.cells()}
    change = extended(journal, planned(seeds=(0, 1)), command="with seeds")
    assert [(one.name, one.before, one.after) for one in change.changes] == [("seeds", [0], [0, 1])]
    amend(journal, change)
    cells = journal.cells()
    assert [cell.label for cell in cells] == [
        *("2.66 × seed 0", "2 × seed 0", "4 × seed 0"),
        *("2.66 × seed 1", "2 × seed 1", "4 × seed 1"),
    ]
    assert [cell.position for cell in cells] == list(range(6))
    for cell in cells[:3]:
        assert replace(cell, label="") == replace(before[cell.key], label="")
    assert {cell.status for cell in cells[3:]} == {Status.PENDING}
    assert [cell.amendment for cell in cells] == [0, 0, 0, 1, 1, 1]
    sweep = journal.sweep()
    assert (sweep.seeds, sweep.axes) == ((0, 1), ("glu_expansion", "seed"))
    assert sweep.command == "with seeds"
    assert sweep.baseline == cells[0].key
    (amendment,) = journal.amendments()
    assert (amendment.number, amendment.added, amendment.arrival) == (1, 3, 3)
    assert extended(journal, planned(seeds=(0, 1))).is_empty, "the same command again"


def test_another_baseline_seed_alone_keeps_the_others_in_the_results(journal: Journal) -> None:
    for cell in journal.cells():
        finish(journal, cell.key)
    change = extended(journal, planned(seeds=(3,)))
    assert (len(change.added), change.left_out) == (3, ())
    assert change.sweep.seeds == (0, 3)
    amend(journal, change)
    assert journal.sweep().baseline == journal.cells()[0].key


def test_another_value_of_an_axis_is_added(journal: Journal) -> None:
    change = extended(journal, planned(expansions=(2.0, 2.66, 3.0, 4.0)))
    assert [cell.label for cell in change.added] == ["3"]
    assert change.changes[0].name == "glu_expansion"
    assert change.changes[0].after == [2.0, 2.66, 3.0, 4.0]


def test_another_axis_names_every_cell_anew(journal: Journal) -> None:
    change = extended(
        journal, planned(axes={"feed_forward": ["swiglu", "geglu"]}, expansions=(2.66, 4.0))
    )
    assert sorted(change.labels.values()) == [
        *("2 × swiglu", "2.66 × geglu", "2.66 × swiglu", "4 × geglu", "4 × swiglu"),
    ]
    assert change.sweep.axes == ("glu_expansion", "feed_forward")
    assert [cell.label for cell in change.left_out] == ["2 × swiglu"]


def test_what_a_command_does_not_name_is_kept_and_comes_back(journal: Journal) -> None:
    baseline, low, high = (cell.key for cell in journal.cells())
    finish(journal, baseline)
    journal.start_attempt(low)
    amend(journal, extended(journal, planned(expansions=(2.66,)), command="fewer"))
    statuses = {cell.key: cell.status for cell in journal.cells()}
    assert statuses == {
        baseline: Status.FINISHED,
        low: Status.LEFT_OUT,
        high: Status.LEFT_OUT,
    }
    assert "not named by the command: fewer" in journal.cell(low).reason
    assert extended(journal, planned(expansions=(2.66,))).is_empty, "said once"
    amend(journal, extended(journal, planned(expansions=(2.66, 4.0))))
    assert journal.cell(high).status is Status.PENDING
    assert journal.cell(low).status is Status.LEFT_OUT
    first, second = journal.amendments()
    assert (first.left_out, second.left_out, second.added) == (2, 0, 0)


def test_rules_change_with_a_note_and_decisions_say_which_made_them(journal: Journal) -> None:
    baseline, low, high = (cell.key for cell in journal.cells())
    finish(journal, low, Status.STOPPED)
    rules = StoppingRules(kill_rule=KillRule(unit="off"), scheduler=None)
    change = extended(journal, planned(), rules)
    assert [one.name for one in change.changes] == ["scheduler", "kill_rule"]
    assert not change.added
    amend(journal, change)
    assert StoppingRules.from_record(journal.sweep()) == rules
    assert journal.cell(low).status is Status.STOPPED
    finish(journal, high)
    assert [one.amendment for one in journal.decisions()] == [0, 1]
    assert journal.cell(baseline).status is Status.PENDING


def test_the_rules_judge_added_cells_by_the_earlier_arrivals_and_their_own_baseline(
    journal: Journal,
) -> None:
    rules = StoppingRules(
        kill_rule=KillRule(unit="bpb", margin=0.1, span=100, minimum_evaluations=2),
        scheduler=AshaStopSettings(),
    )

    def referee() -> RecordingReferee:
        return RecordingReferee(journal, rules.build(tokens=TOKENS))

    judges = referee()
    for cell, level in zip(journal.cells(), (2.0, 2.1, 2.2), strict=True):
        judges.judge(observe(cell.key, 250, level))
    amend(journal, extended(journal, planned(seeds=(0, 1)), rules))
    judges = referee()
    baseline, low, high = (cell.key for cell in journal.cells()[3:])
    decision = judges.judge(observe(low, 250, 2.3)).decision
    assert decision is not None
    assert decision.evidence["arrivals"] == 3, "those of before the extension"
    assert (decision.rule, decision.action) == ("asha-stop", Action.STOP)
    for tokens in (125, 375):
        decision = judges.judge(observe(high, tokens, 2.05)).decision
    assert decision is not None
    assert decision.rule == "asha-stop", (
        "its baseline is not known yet: that of seed 0 is no substitute"
    )
    for tokens in (125, 375, 500):
        judges.judge(observe(baseline, tokens, 1.5))
    decision = judges.judge(observe(high, 500, 2.0)).decision
    assert decision is not None
    assert decision.rule == "kill_rule"
    assert decision.evidence["evaluations"][-1]["baseline"] == 1.5


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"learning_rate": 2e-3}, r"\(learning_rate is 0.008 there, 0.002 here\)"),
        ({"vocab_size": 2_048}, r"\(vocab_size is 4096 there, 2048 here\)"),
        ({"corpus": "wikitext-2"}, r'\(corpus is "stdlib" there, "wikitext-2" here\)'),
        (
            {"tokens": 2_000},
            r"\(tokens is 1000 there, 2000 here\).*the cosine schedule spans all tokens, so that "
            "over more of them the learning rate would be another from the first step on",
        ),
    ],
)
def test_what_trains_the_baseline_differently_is_refused_by_name(
    journal: Journal, fixed: dict[str, object], message: str
) -> None:
    with pytest.raises(AnotherSweepError, match=message) as refused:
        extended(journal, planned(**fixed))
    assert "--name small-2" in str(refused.value)
    assert not any(cell.key in str(refused.value) for cell in journal.cells()), "no hashes"


def test_a_sweep_is_continued_and_reported_by_any_version_and_extended_by_its_own(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned()
    other = replace(
        plan, cells=tuple(replace(cell, config={**cell.config, "d_ff": 8}) for cell in plan.cells)
    )
    assert extended(journal, other).is_empty, "what is recorded keeps its sizes"
    for cell in journal.cells():
        finish(journal, cell.key)
    assert extended(journal, other).is_empty
    with pytest.raises(
        ValueError, match=r"'3' is new in the sweep, .*: d_ff \d+ there, d_ff 8 now"
    ):
        extended(journal, replace(other, cells=(*other.cells, *planned(expansions=(3.0,)).cells)))


def test_status_report_and_tables_tell_what_was_changed(tmp_path: Path) -> None:
    """After the folder was renamed, too: its name is the sweep's, the journal keeps the first."""
    with new_journal(tmp_path / "small" / JOURNAL) as journal:
        _, low, _ = (cell.key for cell in journal.cells())
        finish(journal, low, Status.STOPPED)
        rules = StoppingRules(kill_rule=KillRule(unit="off"), scheduler=None)
        change = extended(journal, planned(expansions=(2.66, 3.0)), rules, "three")
        amend(journal, change)
    (tmp_path / "small").rename(tmp_path / "renamed")
    with Journal.open(tmp_path / "renamed" / JOURNAL, read_only=True) as journal:
        sweep, results = journal.sweep(), summarise(journal)
        console = Console(width=300, file=io.StringIO(), record=True)
        console.print(status_table(journal))
    assert (sweep.name, sweep.begun_as) == ("renamed", "small")
    status = console.export_text()
    assert "begun as small" in status
    assert "1 cell added; 1 cell left out; expansion 2, 2.66, 4 → 2, 2.66, 3" in status
    assert "kill rule stop at ≥ 0.5 ppl" in status
    assert "no process runs it; continue it with: three (with --name renamed)" in status
    rows = {row["label"]: row for row in cell_rows(results)}
    assert {label: (row["status"], row["amendment"]) for label, row in rows.items()} == {
        "2.66": ("pending", 0),
        "2": ("stopped", 0),
        "4": ("left out", 0),
        "3": ("pending", 1),
    }
    told = caveats(results)
    assert any("1 of its cells were stopped or paused by earlier rules" in text for text in told)
    assert any("1 of 4 cells are left out" in text for text in told)
    write_report(results, [], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "begun as" in page
    assert "1 cell added; 1 cell left out" in page


def test_an_amendment_is_written_whole_or_not_at_all(journal: Journal, tmp_path: Path) -> None:
    """It fails at its last statement: the new label of a cell is that of another."""
    before = (journal.sweep(), journal.cells(), journal.amendments())
    change = extended(journal, planned(seeds=(0, 1), expansions=(2.66, 4.0)))
    clash = dict.fromkeys(change.labels, "same")
    with pytest.raises(Exception, match="UNIQUE constraint failed"):
        amend(journal, replace(change, labels=clash))
    assert (journal.sweep(), journal.cells(), journal.amendments()) == before
    amend(journal, change)
    assert len(journal.cells()) == 5


def test_a_nuisance_axis_comes_in_and_adopts_what_was_trained(journal: Journal) -> None:
    for cell in journal.cells():
        finish(journal, cell.key)
    change = extended(journal, planned(nuisance={"learning_rate_factor": [1, 2]}))
    assert [(one.name, one.before, one.after) for one in change.changes] == [
        ("learning_rate_factor", [1.0], [1.0, 2.0]),
        ("nuisance", [], ["learning_rate_factor"]),
    ]
    amend(journal, change)
    assert journal.sweep().nuisance == ("learning_rate_factor",)
    assert [(cell.label, cell.status) for cell in journal.cells()] == [
        *((f"{name} × 1", Status.FINISHED) for name in ("2.66", "2", "4")),
        *((f"{name} × 2", Status.PENDING) for name in ("2.66", "2", "4")),
    ]
    results = summarise(journal)
    assert [design.label for design in results.designs] == ["2.66", "2", "4"]
    assert results.axes == ("glu_expansion",)
    (history,) = what_changed(results.amendments[0], tokens=TOKENS)[2:]
    assert history == "nuisance none → learning_rate_factor"
    # A third value and a seed later on; a command without them leaves them what they are.
    more = planned(nuisance={"learning_rate_factor": [1, 2, 4]}, seeds=(0, 1))
    change = extended(journal, more)
    assert len(change.added) == 12 and len(change.left_out) == 0
    amend(journal, change)
    change = extended(journal, planned())
    assert change.sweep.nuisance == ("learning_rate_factor",)
    assert change.sweep.axes == ("glu_expansion", "learning_rate_factor", "seed")
    # As an axis it is a question, and no nuisance any more.
    asked = extended(journal, planned(axes={"learning_rate_factor": [1, 2]}))
    assert asked.sweep.nuisance == () and asked.changes[-1].name == "nuisance"


def test_axes_are_paired_as_long_as_all_cells_have_them_so(journal: Journal) -> None:
    pair = ("glu_expansion", "n_heads")
    plan = replace(planned(expansions=(2.66, 3.0)), axes=pair)
    assert extended(journal, replace(plan, paired=(pair,))).sweep.paired == (), "one was alone"
    alone = replace(journal.sweep(), axes=("batch_size",))
    rules = StoppingRules.from_record(alone)
    added = extension(alone, journal.cells(), replace(plan, paired=(pair,)), rules, command="")
    assert added.sweep.paired == (pair,)
    both = replace(alone, axes=pair, paired=(pair,))
    assert extension(both, journal.cells(), plan, rules, command="").sweep.paired == ()
