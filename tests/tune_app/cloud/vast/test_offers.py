"""The choice among offers as a pure function: offers and caps in, a choice or the reasons out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune_app.cloud.vast.fake_vast import offer
from tune_app.cloud.market.records import Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.offers import Choice, NoOffer, choose, quote
from tune_app.cloud.vast.answers import read_offer

RULES = OfferRules(gpus=("RTX 3090", "RTX 4090"), speeds={"RTX 3090": 1.0, "RTX 4090": 2.0})


def made(number: int, **values: Any) -> Offer:
    return read_offer(offer(number, **values))


def chosen(*offers: Offer, **given: Any) -> int:
    choice = choose(offers, RULES, **given)
    assert isinstance(choice, Choice), choice
    return choice.quote.offer.id


def refused(*offers: Offer, rules: OfferRules = RULES, **given: Any) -> NoOffer:
    choice = choose(offers, rules, **given)
    assert isinstance(choice, NoOffer), choice
    return choice


def test_a_faster_gpu_may_cost_more() -> None:
    slow = made(1, gpu_name="RTX 3090", min_bid=0.15)
    assert chosen(slow, made(2, min_bid=0.28)) == 2
    assert chosen(slow, made(2, min_bid=0.32)) == 1


def test_all_that_a_stay_costs_counts() -> None:
    cheap_bid = {"min_bid": 0.20}
    plain = made(1, min_bid=0.21)
    assert chosen(plain, made(2, **cheap_bid)) == 2
    assert chosen(plain, made(2, **cheap_bid, storage_cost=0.8)) == 1, "storage"
    assert chosen(plain, made(2, **cheap_bid, inet_up_cost=0.02)) == 1, "bandwidth"
    assert chosen(plain, made(2, **cheap_bid, inet_down_cost=0.02)) == 1, "set-up's downloads"
    assert chosen(plain, made(2, **cheap_bid, inet_down=20.0)) == 1, "set-up's hours"


def test_the_reason_names_the_parts_and_the_next_best() -> None:
    choice = choose([made(1), made(2, gpu_name="RTX 3090")], RULES)
    assert isinstance(choice, Choice)
    assert "offer 1, RTX 4090" in choice.reason
    assert "bid 0.2400" in choice.reason
    assert "best of 2" in choice.reason
    assert "50% cheaper per unit of training than offer 2, RTX 3090" in choice.reason


def test_a_bid_stays_under_the_cap_with_its_storage() -> None:
    found = quote(made(1, min_bid=0.38), RULES)
    assert found.bid + found.storage_per_hour <= RULES.max_dollars_per_hour
    assert found.bid >= 0.38
    assert quote(made(1, min_bid=0.20), RULES).bid == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("values", "cap", "remedy"),
    [
        ({"min_bid": 0.45}, "max_dollars_per_hour", "raise max_dollars_per_hour to 0.4584"),
        ({"reliability2": 0.9}, "min_reliability", "lower min_reliability to 0.9"),
        ({"disk_space": 10.0}, "disk_gb", "lower disk_gb to 10"),
        ({"inet_up_cost": 0.05}, "max_dollars_per_gb", "raise max_dollars_per_gb to 0.05"),
        ({"inet_down_cost": 0.05}, "max_dollars_per_gb", "raise max_dollars_per_gb to 0.05"),
        ({"cuda_max_good": 12.2}, "min_cuda", "lower min_cuda to 12.2"),
        ({"cpu_cores_effective": 2.0}, "min_cpus", "lower min_cpus to 2"),
        ({"cpu_ram": 8_192}, "min_ram_gb", "lower min_ram_gb to 8"),
        ({"duration": 3_600.0}, "min_hours_left", "lower min_hours_left to 1"),
        ({"gpu_name": "RTX 3060"}, "gpus", "add 'RTX 3060' to gpus"),
    ],
)
def test_every_cap_is_hard_and_names_its_remedy(
    values: dict[str, Any], cap: str, remedy: str
) -> None:
    assert chosen(made(1, **values), made(2, gpu_name="RTX 3090")) == 2
    none = refused(made(1, **values))
    assert none.refused == {cap: 1}
    assert remedy in none.reason


def test_the_nearest_miss_is_the_one_to_move_least_for() -> None:
    none = refused(
        made(1, min_bid=0.80), made(2, min_bid=0.41), made(3, min_bid=0.40, reliability2=0.5)
    )
    assert none.nearest is not None
    assert none.nearest.id == 2
    assert none.refused == {"max_dollars_per_hour": 3, "min_reliability": 1}
    assert "no offer of 3 meets the caps (max_dollars_per_hour 3, min_reliability 1)" in (
        none.reason
    )


def test_avoided_machines_and_taken_offers_are_left_alone() -> None:
    one, two = made(1), made(2, gpu_name="RTX 3090")
    assert chosen(one, two) == 1
    assert chosen(one, two, avoided={1_001: "never loaded"}) == 2
    assert chosen(one, two, taken={1}) == 2
    none = refused(one, avoided={1_001: "never loaded"})
    assert "machine 1001 is avoided: never loaded" in none.reason


def test_nothing_offered_says_so() -> None:
    assert "no interruptible offer of RTX 3090, RTX 4090" in refused().reason


@given(
    st.lists(
        st.builds(
            lambda number, bid, reliability, gpu: made(
                number, min_bid=bid, reliability2=reliability, gpu_name=gpu
            ),
            st.integers(1, 999),
            st.floats(0.01, 1.0),
            st.floats(0.5, 1.0),
            st.sampled_from(["RTX 3090", "RTX 4090", "RTX 3060"]),
        ),
        max_size=8,
    )
)
def test_whatever_is_offered_no_cap_is_passed(offers: list[Offer]) -> None:
    choice = choose(offers, RULES)
    if isinstance(choice, NoOffer):
        assert choice.offers == len(offers)
        assert bool(choice.refused) == bool(offers)
        return
    taken = choice.quote
    assert taken.bid + taken.storage_per_hour <= RULES.max_dollars_per_hour + 1e-9
    assert taken.bid >= taken.offer.minimum_bid
    assert taken.offer.reliability >= RULES.min_reliability
    assert taken.offer.gpu_name in RULES.gpus


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gpus": ("RTX 9999",)}, "RTX 9999"),
        ({"gpus": ()}, "none"),
        ({"bid_factor": 0.9}, "0.9"),
        ({"disk_gb": 4.0}, "4 GB"),
        ({"max_dollars_per_hour": 0.0}, "over 0"),
        ({"stay_hours": 0.05}, "longer stay"),
        ({"speeds": {"RTX 3090": 0.0, "RTX 4090": 1.0}}, "over 0"),
    ],
)
def test_impossible_rules_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OfferRules(**settings)
