"""All clusters of an account together spend no more than the total."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_app.cloud.secrets.account_total import (
    FILE,
    AccountTotal,
    read_total,
    set_aside,
    set_free,
    set_total,
)


def test_caps_are_set_aside_and_what_was_not_spent_is_free_again(tmp_path: Path) -> None:
    set_aside(tmp_path, "one", 500.0)
    assert not (tmp_path / FILE).exists(), "without a total nothing is kept"
    assert read_total(tmp_path).lines() == [
        "no total for all clusters; set one with --total-dollars"
    ]
    set_total(tmp_path, 150.0)
    set_aside(tmp_path, "one", 100.0)
    with pytest.raises(ValueError, match=r"\$50.00 of the total of \$150.00 .*one may spend \$100"):
        set_aside(tmp_path, "two", 60.0)
    set_free(tmp_path, "one", 30.0)
    set_aside(tmp_path, "two", 60.0)
    assert read_total(tmp_path).lines() == [
        "$150.00 for all clusters of this account, $60.00 of it free",
        "  one spent $30.00",
        "  two may spend $60.00",
    ]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    set_aside(tmp_path, "two", 20.0)
    assert read_total(tmp_path).taken() == 90.0, "a lower cap may be spent already"
    set_aside(tmp_path, "one", 10.0)
    assert read_total(tmp_path).taken() == 90.0, "what was spent stays spent"
    with pytest.raises(ValueError, match=r"clusters have taken \$90.00"):
        set_total(tmp_path, 80.0)
    with pytest.raises(ValueError, match="must be a number over 0"):
        set_total(tmp_path, float("nan"))


def test_what_was_spent_stays_spent_whatever_a_later_end_says(tmp_path: Path) -> None:
    set_total(tmp_path, 150.0)
    set_aside(tmp_path, "one", 100.0)
    set_free(tmp_path, "one", 30.0)
    set_free(tmp_path, "one", 0.0)  # `ray down` of a head that was released already
    assert read_total(tmp_path).taken() == 30.0
    set_aside(tmp_path, "one", 100.0)
    assert read_total(tmp_path).taken() == 100.0
    set_free(tmp_path, "one", 0.0)  # it came up no further than to have no key
    assert read_total(tmp_path).taken() == 30.0
    old = '{"total_dollars": 9, "clusters": {"a": {"cap": 5, "spent": null}}}'
    (tmp_path / FILE).write_text(old, "utf-8")
    assert read_total(tmp_path).ended("a", 1.0).taken() == 1.0, "of an earlier version"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"total_dollars": -1, "clusters": {}}', '{"clusters": {"a": {}}}']
)
def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_text(text, "utf-8")
    for call in (lambda: read_total(tmp_path), lambda: set_aside(tmp_path, "a", 1.0)):
        with pytest.raises(ValueError, match="correct it, or remove it"):
            call()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0.1, 90), st.floats(0, 1), st.booleans()),
        max_size=12,
    )
)
def test_what_is_spent_and_may_be_spent_is_never_over_the_total(
    events: list[tuple[str, float, float, bool]],
) -> None:
    total = AccountTotal(dollars=150.0)
    spent: dict[str, float] = {}
    for cluster, cap, share, ends in events:
        try:
            total = total.with_cap(cluster, cap)
        except ValueError:
            continue
        # It spends within its cap, and never gives anything back.
        spent[cluster] = max(spent.get(cluster, 0.0), cap * share)
        if ends:
            total = total.ended(cluster, spent[cluster])
        assert sum(spent.values()) <= total.taken() + 1e-9 <= 150.0 + 2e-9
