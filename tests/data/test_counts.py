"""Counts as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from data.counts import counted, with_counts_read
from data.suggestions import did_you_mean


def test_a_count_may_have_a_multiple() -> None:
    assert [counted(text) for text in ("8k", "1.5M", "2b", "1_000", "16,000", "2e4")] == [
        *(8_000, 1_500_000, 2_000_000_000),
        *(1_000, 16_000, 20_000),
    ]
    with pytest.raises(ValueError, match="'8x' is not a whole number; write it as in 150000, 150k"):
        counted("8x")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(("20k", 20_000), ("1.5M", 1_500_000), ("20_000", 20_000), ("20", "20")),
        *(("1.2345k", "1.2345k"), ("1.5", "1.5"), ("tied", "tied"), (3, 3), (None, None)),
    ],
)
def test_only_a_text_that_is_a_count_is_read_as_a_number(value: Any, read: Any) -> None:
    assert with_counts_read(value) == read


def test_near_names_are_suggested_and_others_are_not() -> None:
    known = ("glu_expansion", "learning_rate", "tokens")
    assert did_you_mean("glu_expension", known) == "did you mean glu_expansion? "
    assert did_you_mean("leraning_rate", known) == "did you mean learning_rate? "
    assert did_you_mean("colour", known) == ""
    assert did_you_mean("tokns", ("tokens", "token"), most=2) == "did you mean tokens or token? "
