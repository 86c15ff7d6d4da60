"""What a command finds in its folder: its content decides, not how it or its corpus is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from data.corpus import find_corpus
from tests.tune_app.sweep.test_extension import finish
from tests.tune_app.sweeps import new_journal, planned
from tune_app.journal.journal import Journal
from tune_app.journal.reached import Reached
from tune_app.journal.records import Failure, FailureClass, Status
from tune_app.plan.plan import SweepPlan, make_plan, with_corpus_named
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.continuation import continuation
from tune_app.sweep.extension import AnotherSweepError
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.standing import Standing, standing_of

NEVER_STARTED = Failure(
    cell=planned().baseline.key,
    kind=FailureClass.HOST,
    reason="its process did not start",
    traceback="",
    ended=True,
)


def found(folder: Path, plan: SweepPlan) -> Standing:
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        rules = StoppingRules.from_record(journal.sweep())
    return standing_of(folder, plan, rules, command="again")


def test_a_sweep_that_never_trained_binds_nobody(tmp_path: Path) -> None:
    with new_journal(tmp_path / JOURNAL) as journal:
        record = journal.sweep()
        journal.fail(NEVER_STARTED)
    other = planned(learning_rate=2e-3)
    standing = found(tmp_path, other)
    assert standing.replaces
    assert standing.left == other.cells
    assert continuation(standing, {}) == [
        ("replaces", "the plan of an earlier command with other settings; it started no cell")
    ]
    wanted = replace(record, baseline=other.baseline.key, created_at=5.0)
    with standing.open_journal(tmp_path, wanted) as journal:
        assert [cell.key for cell in journal.cells()] == [cell.key for cell in other.cells]
        assert journal.sweep() == wanted
        assert (journal.amendments(), journal.failures()) == ([], [])
        journal.start_attempt(other.baseline.key)
    with pytest.raises(AnotherSweepError, match=r"learning_rate is 0\.002 there, 0\.008 here"):
        found(tmp_path, planned())


def test_it_says_what_it_continues_and_from_where(tmp_path: Path) -> None:
    with new_journal(tmp_path / JOURNAL) as journal:
        first, second, third = (cell.key for cell in journal.cells())
        finish(journal, first)
        journal.start_attempt(second)
        journal.beat(second, 650, "here")
    standing = found(tmp_path, planned(seeds=(0, 1)))
    assert [cell.key for cell in standing.left][:2] == [second, third]
    assert len(standing.left) == 5
    facts = continuation(standing, {second: Reached(tokens=650, saved=400)})
    assert facts[0][1].endswith(
        "1 done, 1 resumed (2 × seed 0 from 400 of 650 tokens), 4 not started yet"
    )
    for so_far, told in (
        ({second: Reached(tokens=400, saved=400)}, "1 resumed (2 × seed 0 from 400 tokens), 4"),
        (
            {second: Reached(tokens=650, saved=None)},
            "1 resumed (2 × seed 0 had 650 tokens; from its newest checkpoint), 4",
        ),
        ({}, "1 resumed from the newest checkpoint, 4"),
    ):
        assert told in continuation(standing, so_far)[0][1]
    assert standing.plan.baseline.label == "2.66 × seed 0", "as its cells are named once added"
    assert facts[1:] == [
        ("added", "3 cells: 2.66 × seed 1, 2 × seed 1, 4 × seed 1"),
        ("changed", "seeds 0 → 0, 1"),
    ]


def test_a_corpus_by_another_path_is_the_same_and_another_text_is_not(tmp_path: Path) -> None:
    tmp_path = tmp_path / ("deep" * 20)
    tmp_path.mkdir()
    for name, text in (("one.txt", "a b"), ("two.txt", "a b"), ("three.txt", "c")):
        (tmp_path / name).write_text(text)
    plan = planned(corpus=str(tmp_path / "one.txt"))
    with new_journal(tmp_path / JOURNAL) as journal:
        sha256 = find_corpus(str(tmp_path / "one.txt")).content_hash()
        record = replace(
            journal.sweep(),
            corpus=str(tmp_path / "one.txt"),
            corpus_sha256=sha256,
            baseline=plan.baseline.key,
        )
        journal.plan_again(record, plan.cells)
        finish(journal, plan.baseline.key)
    moved = planned(corpus=str(tmp_path / "two.txt"))
    assert {cell.key for cell in moved.cells}.isdisjoint(cell.key for cell in plan.cells)
    standing = found(tmp_path, moved)
    assert standing.plan.cells == with_corpus_named(moved.cells, str(tmp_path / "one.txt"))
    assert standing.extension is not None
    assert standing.extension.is_empty
    standing.refuse_other_text(record)
    with pytest.raises(AnotherSweepError, match="has other text now"):
        standing.refuse_other_text(replace(record, corpus_sha256="f" * 64))
    with pytest.raises(AnotherSweepError, match=r"makes other tokens .*\(3.1000 bytes per token"):
        standing.refuse_other_text(replace(record, bytes_per_token={"byte_level_bpe-4096": 3.1}))
    with pytest.raises(AnotherSweepError, match=r"one.txt\" there, .*three.txt\" here"):
        found(tmp_path, planned(corpus=str(tmp_path / "three.txt")))


def test_a_sweep_keeps_the_draws_of_an_earlier_version(tmp_path: Path) -> None:
    rates = {"learning_rate": FloatDistribution(1e-3, 1e-2, log=True)}
    sizes = {"target_parameters": 1_000_000, "vocab_size": 4_096, "tokens": 20_000}
    space = Space(name="small", axes=rates, samples=2, fixed=sizes)
    plan = make_plan(space, Wishes(seeds=(1,)))
    assert plan.formerly is not None and plan.formerly.cells[1:] != plan.cells[1:]
    assert make_plan(space, Wishes(seeds=(0, 1))).formerly is None
    with new_journal(tmp_path / "other" / JOURNAL, seeds=(1,)) as journal:
        record = replace(journal.sweep(), baseline=plan.baseline.key, corpus=plan.corpus)
    for name, drawn in (("old", plan.formerly), ("new", plan)):
        path = tmp_path / name / JOURNAL
        with Journal.create(path, replace(record, axes=plan.axes), drawn.cells) as journal:
            journal.start_attempt(drawn.baseline.key)
        standing = found(path.parent, plan)
        assert standing.extension is not None and standing.extension.added == ()
        assert [cell.key for cell in standing.left] == [cell.key for cell in drawn.cells]


def test_nothing_is_left_of_a_sweep_that_is_done(tmp_path: Path) -> None:
    with new_journal(tmp_path / JOURNAL) as journal:
        for cell in journal.cells():
            finish(journal, cell.key, Status.STOPPED)
    assert found(tmp_path, planned()).left == ()
    assert len(found(tmp_path, planned(seeds=(0, 1))).left) == 3
