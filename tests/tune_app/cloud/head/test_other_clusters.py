"""A head that has another cluster's workers is not taken from them."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_vast import offer
from tune_app.cloud.head.other_clusters import refuse_other_clusters, rented_by_others
from tune_app.cloud.ledger.endings import returned
from tune_app.cloud.ledger.file import LedgerError, ledger_path, still_rented
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.offers import quote
from tune_app.cloud.vast.answers import read_offer

QUOTE = quote(read_offer(offer(1)), OfferRules())


def rent(ledger: Ledger, request: str, contract: int) -> None:
    attempt = ledger.reserve(request, cluster="a", node_type="worker", quote=QUOTE, at_most=8)
    ledger.rented(attempt.id, contract)


def ledger_of(state: Path, cluster: str) -> Ledger:
    path = ledger_path(state, cluster)
    return Ledger.open(path, cluster=cluster, slots=range(2, 9), clock=Clock())


def test_what_another_cluster_has_rented_is_seen_while_its_daemon_works(tmp_path: Path) -> None:
    with ledger_of(tmp_path, "a") as ledger:
        rent(ledger, "r", 77)
        rent(ledger, "s", 78)
        ledger.ended(78, returned("asked for"))
        assert rented_by_others(tmp_path, "b") == {"a": [77]}
    assert rented_by_others(tmp_path, "b") == {"a": [77]}, "or when it ended"
    assert rented_by_others(tmp_path, "a") == {}
    with ledger_of(tmp_path, "a") as ledger:
        ledger.ended(77, returned("ray down"))
    assert rented_by_others(tmp_path, "b") == {}, "the head is free again"


def test_each_cluster_has_a_ledger_of_its_own(tmp_path: Path) -> None:
    with ledger_of(tmp_path, "a") as first, ledger_of(tmp_path, "b") as second:
        rent(first, "r", 77)
        assert second.rentals() == []
    assert still_rented(ledger_path(tmp_path, "never")) == []


def test_a_ledger_that_cannot_be_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    path = ledger_path(tmp_path, "a")
    path.parent.mkdir()
    path.write_text("no database at all, but longer than a header" * 20, "utf-8")
    with pytest.raises(LedgerError, match="not a readable ledger"):
        rented_by_others(tmp_path, "b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
def test_it_is_said_before_anything_changes(tmp_path: Path) -> None:
    owner = getpass.getuser()
    refuse_other_clusters(tmp_path / "nothing", "b", owner=owner)
    with ledger_of(tmp_path, "a") as ledger:
        rent(ledger, "r", 77)
    with pytest.raises(ValueError, match=r"'a', which has 1 rented workers \(instances 77\)"):
        refuse_other_clusters(tmp_path, "b", owner=owner)
    refuse_other_clusters(tmp_path, "a", owner=owner)
