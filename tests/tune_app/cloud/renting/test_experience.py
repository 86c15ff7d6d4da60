"""What became of earlier machines decides which is rented next; guesses of speed are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.test_bills import QUOTE
from tests.tune_app.cloud.renting.test_verdicts import RUNNING
from tests.tune_app.cloud.vast.fake_vast import offer
from tune_app.cloud.ledger.endings import returned, taken_away
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.stays import Stay
from tune_app.cloud.market.gpu_speeds import GUESSED, SPEEDS, read_speeds, speeds_of
from tune_app.cloud.market.records import Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.experience import Experience
from tune_app.cloud.renting.offers import Choice, choose
from tune_app.cloud.vast.answers import read_offer

RULES = OfferRules()


def made(number: int, **values: Any) -> Offer:
    return read_offer(offer(number, **values))


def seen(machine: int, gpu: str = "RTX 4090", **values: Any) -> Stay:
    usual: dict[str, Any] = {"hours": 4.0, "setup_hours": 0.2, "taken_away": False}
    return Stay(machine=machine, gpu=gpu, **{**usual, **values})


def chosen(*offers: Offer, stays: list[Stay] | None = None) -> Choice:
    found = choose(offers, RULES, experience=Experience(stays=stays or []))
    assert isinstance(found, Choice)
    return found


def test_a_machine_that_is_taken_away_often_must_be_cheaper() -> None:
    one, other = made(1, min_bid=0.20), made(2, min_bid=0.202)
    assert chosen(one, other).quote.offer.id == 1
    often = [seen(one.machine_id, hours=1.0, taken_away=True) for _ in range(6)]
    found = chosen(one, other, stays=often)
    assert found.quote.offer.id == 2
    assert "RTX 4090 was taken away 6 times in 6.0 h" in found.reason
    assert chosen(one, other, stays=[seen(one.machine_id)] * 6).quote.offer.id == 1


def test_a_machine_that_takes_long_to_work_must_be_cheaper() -> None:
    one, other = made(1, min_bid=0.20), made(2, min_bid=0.202)
    slow = [seen(one.machine_id, setup_hours=2.0) for _ in range(4)]
    assert chosen(one, other, stays=slow).quote.offer.id == 2


def test_an_unknown_machine_is_expected_to_do_as_others_with_its_gpu() -> None:
    known = Experience(stays=[seen(1, hours=10.0, taken_away=True), seen(2, hours=20.0)])
    assert known.interruptions_per_hour("RTX 4090", 9) == pytest.approx(1 / 36)
    assert known.interruptions_per_hour("RTX 3090", 9) == 0
    assert known.stay_hours("RTX 3090", 9, wanted=6.0) == 6.0
    assert 5.0 < known.stay_hours("RTX 4090", 9, wanted=6.0) < 6.0
    assert known.setup_hours("RTX 3090", 9, expected=0.3) == pytest.approx(0.3)
    assert Experience().said("RTX 4090", 1) == ""


def test_the_ledger_keeps_what_became_of_machines(tmp_path: Path) -> None:
    clock = Clock()
    with Ledger.open(
        tmp_path / "ledger.sqlite3", cluster="mine", slots=range(2, 5), clock=clock
    ) as ledger:
        made = ledger.reserve("a", cluster="mine", node_type="worker", quote=QUOTE, at_most=8)
        ledger.rented(made.id, RUNNING.id)
        assert ledger.stays() == []
        for _ in range(3):
            clock.now += 1_200.0
            ledger.observe(RUNNING)
            ledger.worked([RUNNING.id, 999_999])
        ledger.doom(RUNNING.id, taken_away("somebody bid more"))
        ledger.ended(RUNNING.id, returned(""))
        (stay,) = ledger.stays()
    assert (stay.gpu, stay.machine) == (QUOTE.offer.gpu_name, QUOTE.offer.machine_id)
    assert stay.setup_hours == pytest.approx(1 / 3)
    assert stay.hours > 0.9
    assert stay.taken_away


def test_a_guess_is_made_from_the_market_s_benchmark_and_named() -> None:
    rated = [made(1, gpu_name="RTX 3090", dlperf=40.0), made(2, dlperf=90.0)]
    speeds = speeds_of(rated, SPEEDS)
    assert speeds[2].tokens_per_second / speeds[1].tokens_per_second == pytest.approx(90 / 40)
    found = chosen(*rated)
    assert "by a speed that is guessed from the market's benchmark" in found.reason
    plain = chosen(made(1))
    assert "by a speed that is guessed" in plain.reason


def test_a_speed_that_is_known_scales_the_benchmark_and_is_no_guess() -> None:
    rated = [made(1, gpu_name="RTX 3090", dlperf=40.0), made(2, dlperf=90.0)]
    speeds = speeds_of(rated, {**SPEEDS, "RTX 3090": 1_000.0})
    assert speeds[1].tokens_per_second == 1_000.0
    assert not speeds[1].is_guess
    assert speeds[2].tokens_per_second == pytest.approx(1_000.0 * 90 / 40)
    assert speeds[2].is_guess


def test_a_table_says_of_each_speed_where_it_is_from(tmp_path: Path) -> None:
    path = tmp_path / "speeds.csv"
    head = "gpu,tokens_per_second,source,how\n"
    path.write_text(f"{head}A,5,{GUESSED},x\n", "utf-8")
    assert read_speeds(path)["A"].is_guess
    for row in ("A,0,measured,x", "A,5,heard,x", "A,fast,measured,x"):
        path.write_text(f"{head}{row}\n", "utf-8")
        with pytest.raises(ValueError, match=r"line 2 of .*speeds\.csv"):
            read_speeds(path)
