"""A process trains the next cell while the model of the last one is being stored."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.prepare import prepare
from model.network.transformer import Transformer
from tests.patience import PATIENCE_S
from tests.tune_app.on_ray.processes import config_of, started
from tests.tune_app.trial.running import Corpora, results, run_to_end
from tests.tune_app.trial.test_trial import SMALL
from tune_app.journal.records import Observation
from tune_app.on_ray import trainable
from tune_app.on_ray.messages import (
    CELL,
    CHECKPOINT,
    ERROR,
    FORMER,
    OBSERVATION,
    RESUMED_FROM,
    STORING,
    TOKENS,
)
from tune_app.on_ray.trainable import CellTrainable, RetryError
from tune_app.plan.cell import Cell
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

FIRST = Cell.from_values(SMALL)
SECOND = FIRST.with_seed(1)


class SlowStore:
    """Keeps the last checkpoints of cells waiting until it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go = threading.Event()
        plain = Checkpoints.save

        def save(checkpoints: Checkpoints, state: Any, *, last: bool = False, **facts: Any) -> str:
            if last:
                assert self.may_go.wait(PATIENCE_S)
            return plain(checkpoints, state, last=last, **facts)

        monkeypatch.setattr(Checkpoints, "save", save)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowStore]:
    monkeypatch.setattr(trainable, "SLICE_SECONDS", 0.02)
    monkeypatch.setattr(trainable, "_EARLY_PAUSE", 0.0)
    slow = SlowStore(monkeypatch)
    yield slow
    slow.may_go.set()


class Driver:
    """Starts processes, and takes what they report."""

    def __init__(
        self, corpora: Corpora, folder: Path, monkeypatch: pytest.MonkeyPatch, **timing: Any
    ) -> None:
        self._corpus = corpora(FIRST.tokenizer)
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._monkeypatch = monkeypatch
        self._timing = timing
        self.seen: list[Observation] = []
        """In order of arrival."""
        self.stored: dict[str, str] = {}
        """By cell: its newest checkpoint."""

    def config(self, cell: Cell) -> dict[str, Any]:
        return config_of(cell, self._corpus, checkpoints=self.folder, **self._timing)

    def start(self, cell: Cell) -> CellTrainable:
        return started(self.config(cell), self._monkeypatch)

    def step(self, process: CellTrainable) -> dict[str, Any]:
        report = process.step()
        if (former := report[FORMER]) is not None:
            message = json.loads(former)
            self.seen.append(Observation.from_values(message[OBSERVATION]))
            self.stored[message[CELL]] = message[CHECKPOINT]
        if OBSERVATION in report:
            self.seen.append(Observation.from_values(json.loads(report[OBSERVATION])))
        return report

    def until(self, process: CellTrainable, true: Callable[[dict[str, Any]], object]) -> Any:
        while not true(report := self.step(process)):
            pass
        return report

    def hand_over(self, process: CellTrainable) -> None:
        """Trains the first cell of a process, whose store is slow, and gives it the second one."""
        self.until(process, lambda report: report.get(STORING))
        process.reset_config(self.config(SECOND))

    def of(self, cell: Cell) -> list[Observation]:
        return results([one for one in self.seen if one.cell == cell.key])


@pytest.fixture
def corpora(small_corpus: Path, cache: Path) -> Corpora:
    return lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache)


@pytest.fixture
def drivers(
    corpora: Corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: SlowStore
) -> Callable[..., Driver]:
    """Drivers, given when checkpoints are taken, and the folder that is their store."""

    def driver(folder: Path = tmp_path / "store", **timing: Any) -> Driver:
        return Driver(corpora, folder, monkeypatch, **timing)

    return driver


@pytest.fixture
def driver(drivers: Callable[..., Driver]) -> Driver:
    return drivers()


def alone(cell: Cell, corpora: Corpora) -> list[Observation]:
    return results(run_to_end(Trial(cell, corpora=corpora)))


def test_the_next_cell_trains_up_to_its_last_report_while_the_model_is_stored(
    driver: Driver, store: SlowStore, corpora: Corpora
) -> None:
    process = driver.start(FIRST)
    driver.until(process, lambda report: report.get(STORING))
    assert process._trial is not None
    model = weakref.ref(process._trial._training.model)
    process.reset_config(driver.config(SECOND))
    gc.collect()
    assert model() is None, "its memory is the next cell's"
    expected = {cell.key: alone(cell, corpora) for cell in (FIRST, SECOND)}
    driver.until(process, lambda report: report.get(TOKENS) == SMALL["tokens"])
    for _ in range(10):
        report = driver.step(process)
        assert not report.get(STORING), "one cell at a time is without its model"
    assert driver.of(FIRST) == expected[FIRST.key][:-1], "it has not ended"
    assert driver.of(SECOND) == expected[SECOND.key][:-1]
    store.may_go.set()
    driver.until(process, lambda report: driver.of(SECOND) == expected[SECOND.key])
    assert driver.of(FIRST) == expected[FIRST.key]
    assert [one.cell for one in driver.seen[-2:]] == [FIRST.key, SECOND.key]
    assert driver.stored[FIRST.key].startswith(f"{FIRST.key}/{SMALL['tokens']}-")
    process.cleanup()


def test_a_rung_is_reported_after_the_end_of_the_cell_before(
    drivers: Callable[..., Driver], store: SlowStore
) -> None:
    rung = SMALL["tokens"] // 2
    driver = drivers(rungs=(rung,))
    process = driver.start(FIRST)
    driver.hand_over(process)
    driver.until(process, lambda report: report.get(TOKENS, 0) >= rung)
    for _ in range(10):
        driver.step(process)
    assert {one.tokens for one in driver.of(SECOND)} == {512, 1_024}
    store.may_go.set()
    driver.until(process, lambda report: len(driver.of(SECOND)) > 2)
    assert [one.tokens for one in driver.seen[-2:]] == [SMALL["tokens"], 1_536]
    process.cleanup()


@pytest.mark.parametrize("stored", [False, True], ids=["before it is stored", "once it is stored"])
@pytest.mark.parametrize("interval", [0.0, None], ids=["with checkpoints", "without any"])
def test_a_process_that_is_lost_costs_time_and_changes_nothing(
    interval: float | None,
    stored: bool,
    drivers: Callable[..., Driver],
    store: SlowStore,
    corpora: Corpora,
) -> None:
    driver = drivers(interval=interval)
    lost = driver.start(FIRST)
    driver.hand_over(lost)
    if stored:
        store.may_go.set()
        assert lost._former is not None and lost._former.may_be_reported(PATIENCE_S)
    else:
        driver.until(lost, lambda report: OBSERVATION in report)
    assert len(driver.of(FIRST)) == SMALL["evaluations"] - 1, "its end is not known"
    # What the lost process goes on to send never arrives.
    copy = driver.folder.with_name("copy")
    shutil.copytree(driver.folder, copy)
    again = drivers(copy, interval=interval)
    store.may_go.set()
    other = again.start(FIRST)
    first = again.step(other)
    if stored:
        assert first[RESUMED_FROM] == SMALL["tokens"], "nothing is trained again"
    elif interval is not None:
        assert 0 < first[RESUMED_FROM] < SMALL["tokens"]
    else:
        assert first[RESUMED_FROM] == 0
    again.until(other, lambda report: again.seen and again.seen[-1].full_bits_per_byte is not None)
    assert again.of(FIRST)[-1] == alone(FIRST, corpora)[-1]
    other.cleanup()
    lost.cleanup()


def test_an_error_of_the_next_cell_waits_for_the_end_of_the_one_before(
    driver: Driver, store: SlowStore, corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = driver.start(FIRST)
    driver.hand_over(process)

    def loss(*arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Transformer, "loss", loss)
    driver.until(process, lambda report: ERROR in report)
    for _ in range(3):
        driver.step(process)
    store.may_go.set()
    driver.until(process, lambda report: report[FORMER] is not None)
    with pytest.raises(RetryError):
        process.step()
    monkeypatch.undo()
    assert driver.of(FIRST) == alone(FIRST, corpora)


def test_a_process_that_ends_waits_for_the_model_of_the_cell_before(
    driver: Driver, store: SlowStore, corpora: Corpora
) -> None:
    process = driver.start(FIRST)
    driver.hand_over(process)
    threading.Timer(0.3, store.may_go.set).start()
    process.cleanup()
    other = driver.start(FIRST)
    assert driver.step(other)[RESUMED_FROM] == SMALL["tokens"]
    assert driver.of(FIRST) == alone(FIRST, corpora)
    other.cleanup()


def test_the_end_is_reported_while_a_store_that_is_too_slow_goes_on(
    driver: Driver, store: SlowStore, corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = driver.start(FIRST)
    driver.hand_over(process)
    driver.step(process)
    monkeypatch.setattr("tune_app.trial.unstored.LAST_PATIENCE", 0.0)
    threading.Timer(5.0, store.may_go.set).start()
    driver.until(process, lambda report: report[FORMER] is not None)
    assert not store.may_go.is_set(), "nobody waits for it any more"
    assert driver.of(FIRST) == alone(FIRST, corpora)
    process.reset_config(driver.config(FIRST))
    assert driver.step(process)[RESUMED_FROM] == SMALL["tokens"], "it was stored after all"
    process.cleanup()
