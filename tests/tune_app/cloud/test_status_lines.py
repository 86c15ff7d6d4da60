"""What `status` says of a cluster: what is in its cap, and what bills besides."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from tests.tune_app.cloud.head.test_accounts import STATUS
from tune_app.cloud.daemon.protocol import read_status
from tune_app.cloud.head.bring_up import head_price
from tune_app.cloud.status_lines import status_lines


def test_the_head_has_a_line_of_its_own_beside_the_cap() -> None:
    priced = replace(STATUS, head_per_hour=0.00672)
    first, head, *_ = status_lines(priced)
    assert first.startswith("Cluster mine: $1.00 of $5.00 spent on rented machines (by the ledger)")
    assert head == (
        "  head         $0.0067/h, with or without a sweep; neither spent above nor in the cap"
    )
    assert "at a price that provider.head does not name, with or" in status_lines(STATUS)[1]
    assert "$0.0067 an hour, counted for sweeps while they run; cap_dollars is" in head_price(
        0.00672
    )
    assert "not counted: provider.head has no dollars_per_hour" in head_price(None)


def test_what_needs_a_person_stands_at_the_top() -> None:
    lines = status_lines(replace(STATUS, alerts=("the market refuses the key",)))
    assert lines[2] == "  ALERT        the market refuses the key"


@pytest.mark.parametrize("lacks", [(), ("head_per_hour",), ("head_per_hour", "head")])
def test_the_status_of_an_earlier_daemon_is_read(lacks: tuple[str, ...]) -> None:
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(replace(STATUS, head="h1", head_per_hour=0.01)).items()
        if name not in lacks
    }
    found = read_status(values)
    assert found.head_per_hour == (None if lacks else 0.01)
    assert found.head == ("" if "head" in lacks else "h1")
