"""A length in tokens, steps or epochs is one number of tokens."""

from __future__ import annotations

from typing import Any

import pytest

from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.budget import with_tokens
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Wishes

FIXED = {"target_parameters": 1_000_000, "vocab_size": 4_096, "batch_size": 4, "context": 32}


def space(**fixed: Any) -> Space:
    return Space(name="x", axes={"glu_expansion": [2.66, 4.0]}, fixed=FIXED | fixed)


def train_tokens(corpus: str, tokenizer: TokenizerSpec) -> int:
    assert (corpus, tokenizer.vocab_size) == ("stdlib", 4_096)
    return 100_001


@pytest.mark.parametrize(
    ("fixed", "wishes", "tokens", "note"),
    [
        ({}, {"steps": 30}, 3_840, "30 steps of 4 × 32 tokens are 3,840 tokens"),
        ({"steps": 30}, {}, 3_840, "30 steps"),
        ({"steps": 30}, {"set": (("batch_size", 8),)}, 7_680, "30 steps of 8 × 32"),
        ({"tokens": 9}, {"epochs": 0.5}, 50_000, "0.5 epochs are 50,000 tokens: the training text"),
        ({"epochs": 1}, {}, 100_001, "1 epoch is 100,001 tokens"),
        ({"epochs": 2}, {"tokens": 6_000}, 6_000, ""),
        ({"tokens": 9}, {"set": (("steps", 30),)}, 3_840, "30 steps"),
    ],
)
def test_every_way_to_say_it_is_tokens_once(
    fixed: dict[str, Any], wishes: dict[str, Any], tokens: int, note: str
) -> None:
    plan = make_plan(space(**fixed), Wishes(**wishes), train_tokens=train_tokens)
    assert plan.tokens == tokens
    assert "".join(plan.notes).startswith(note)
    changed = {name: value for name, value in wishes.items() if name == "set"}
    others = tuple((n, v) for n, v in changed.get("set", ()) if n != "steps")
    in_tokens = make_plan(space(), Wishes(tokens=tokens, set=others))
    assert [cell.key for cell in plan.cells] == [cell.key for cell in in_tokens.cells]


@pytest.mark.parametrize(
    ("fixed", "wishes", "message"),
    [
        ({}, {"steps": 3, "tokens": 9}, "tokens and steps all say how long to train"),
        ({"steps": 3, "epochs": 1}, {}, "steps and epochs all say"),
        ({"curriculum": "10%:16"}, {"steps": 3}, "steps differ in length under a curriculum"),
        ({}, {"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
        ({"steps": 2.5}, {}, "steps is 2.5; it must be a whole number"),
        ({"steps": True}, {}, "steps is True"),
        ({}, {"epochs": -1}, "epochs is -1; it must be a number above 0"),
        ({}, {"epochs": float("nan")}, "epochs is nan"),
        ({"epochs": "two"}, {}, "epochs is 'two'"),
        ({}, {"epochs": 1e-9}, "less than a token of the 100,001"),
    ],
)
def test_impossible_lengths_are_refused(
    fixed: dict[str, Any], wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(space(**fixed), Wishes(**wishes), train_tokens=train_tokens)


def test_cells_of_one_sweep_have_one_length() -> None:
    with pytest.raises(ValueError, match=r"epochs is in AXES; .* put it into FIXED"):
        make_plan(Space(name="x", axes={"epochs": [1, 2]}), Wishes())


def test_epochs_need_a_corpus() -> None:
    with pytest.raises(ValueError, match="epochs are counted in a corpus"):
        make_plan(load_space("quick"), Wishes(epochs=1.0))


def test_a_cell_alone_may_say_it_in_steps_too() -> None:
    values = {**FIXED, "steps": 30}
    assert with_tokens(values, train_tokens=None) == {**FIXED, "tokens": 3_840}
    assert with_tokens(FIXED, train_tokens=None) == FIXED
    with pytest.raises(ValueError, match="unknown setting 'setps'"):
        with_tokens({**values, "setps": 1}, train_tokens=None)
