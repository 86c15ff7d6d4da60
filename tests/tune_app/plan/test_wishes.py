"""Wishes as the command line reads them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cyclopts import App

from tune_app.plan.wishes import Wishes

NOTHING = Wishes()


def read(*words: str) -> Wishes:
    """The wishes of a command line."""
    app = App(result_action="return_value")
    found: list[Wishes] = []

    @app.default
    def command(*, wishes: Wishes = NOTHING) -> None:
        found.append(wishes)

    app(list(words), exit_on_error=False, print_error=False)
    return found[0]


def test_nothing_that_is_asked_leaves_all_to_the_space() -> None:
    wishes = read()
    assert wishes == NOTHING
    assert wishes.values == wishes.scheduler_settings == {}


def test_options_become_values_of_cells_and_settings_of_rules() -> None:
    wishes = read(
        *("--tokens", "20M", "--vocabulary", "4k", "--corpus", "wikitext-2"),
        *("--set", "learning_rate=2e-3", "--set", "schedule=cosine", "--set", "betas=[0.9, 0.99]"),
        *("--seeds", "0", "--seeds", "1", "--grace-fraction", "0.1"),
        *("--scheduler-set", "reduction_factor=3", "--kill-rule", "off", "--kill-span", "1,000"),
    )
    assert wishes.values == {
        "corpus": "wikitext-2",
        "vocab_size": 4_000,
        "tokens": 20_000_000,
        "learning_rate": 0.002,
        "schedule": "cosine",
        "betas": [0.9, 0.99],
    }
    assert wishes.scheduler_settings == {"grace_fraction": 0.1, "reduction_factor": 3}
    assert (wishes.seeds, wishes.kill_rule, wishes.kill_span) == ((0, 1), "off", 1_000)


def test_pins_and_what_is_left_free_can_be_set() -> None:
    words = ("n_layers=8", "d_model=220", "embedding_ratio=free", "n_heads=None", "d_ff=null")
    assert read(*(word for name in words for word in ("--set", name))).values == {
        "n_layers": 8,
        "d_model": 220,
        "embedding_ratio": None,
        "n_heads": None,
        "d_ff": None,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gradient_clip=inf", ("gradient_clip", math.inf)),
        ("learning_rate=.001", ("learning_rate", 0.001)),
        (" learning_rate = 1E-3", ("learning_rate", 0.001)),
        ("deterministic=False", ("deterministic", False)),
        ("betas=(0.9, .99)", ("betas", (0.9, 0.99))),
        ("betas=.9,.99", ("betas", (0.9, 0.99))),
        ("schedule='cosine'", ("schedule", "cosine")),
        # A decimal comma with zeros is no number: refused where the value is used.
        ("learning_rate=0,001", ("learning_rate", "0,001")),
        ("corpus=runs/1.txt", ("corpus", "runs/1.txt")),
        ("corpus=5x.txt", ("corpus", "5x.txt")),
        ("tokens=5M", ("tokens", 5_000_000)),
        ("evaluation_bytes=1_000", ("evaluation_bytes", 1_000)),
    ],
)
def test_a_value_is_read_as_people_write_it(text: str, value: tuple[str, Any]) -> None:
    assert read("--set", text).set == (value,)


@pytest.mark.parametrize(
    "words",
    [
        ("--seeds", "0,1,2"),
        ("--seeds", "0", "1", "2"),
        ("--seeds", "0,", "1,2"),
        ("--seeds", "0", "--seeds", "1", "2"),
    ],
)
def test_seeds_are_written_with_commas_spaces_or_repeated(words: tuple[str, ...]) -> None:
    assert read(*words).seeds == (0, 1, 2)


def test_the_names_of_the_settings_can_be_asked_for() -> None:
    assert read("--set", "help").asks_for_names
    assert read("--scheduler-set", "help").asks_for_names
    assert not read("--set", "corpus=help").asks_for_names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "learning_rate"), "'learning_rate'; expected name=value"),
        (("--scheduler-set", "=3"), "'=3'; expected name=value"),
        (("--tokens", "1.5"), "'1.5' is not a whole number; write it as in 150000, 150k or 5M"),
        (("--tokens", "5MB"), "'5MB' is not a whole number"),
        (("--tokens", "nan"), "'nan' is not a whole number"),
        (("--tokens", ""), "'' is not a whole number"),
        (("--seeds", "0", "quick"), "'quick' is not a seed; write --seeds 0,1,2"),
        (("--seeds", "-1"), "'-1' is not a seed"),
        (("--kill-rule", "nats"), "nats"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_expected(
    words: tuple[str, ...], message: Any
) -> None:
    with pytest.raises(Exception, match=message):
        read(*words)
