"""Mixtures and curricula as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from tune_app.plan.cell import Cell
from tune_app.plan.labels import describe_value
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes, _mix, mixed_values

MIX = {"corpus": "mix:stdlib + web.txt + code.txt"}


def settings(**values: Any) -> Any:
    return Cell.from_values({"context": 128, **values}).settings


@pytest.mark.parametrize(
    "written", ["70/25/5", "70%/25%/5%", "70, 25, 5", [70, 25, 5], (0.7, 0.25, 0.05)]
)
def test_shares_are_read_in_every_form(written: Any) -> None:
    assert settings(**MIX, mixture=written).mixture == (0.7, 0.25, 0.05)


@pytest.mark.parametrize(
    "written", ["10%:32,100k:64:8", ["10%:32", "100k:64:8"], [[0.1, 32], [100_000, 64, 8]]]
)
def test_a_curriculum_is_read_in_every_form(written: Any) -> None:
    found = settings(curriculum=written).curriculum
    assert found == ((0.1, 32, None), (100_000.0, 64, 8))
    assert describe_value("curriculum", found) == "10%:32 100,000:64:8"


def test_only_cells_that_use_them_have_another_key() -> None:
    plain = {"context": 128, **MIX}
    keys = {
        Cell.from_values({**plain, **more}).key
        for more in ({}, {"mixture": None}, {"curriculum": []}, {"mixture_anneal": 0.2})
    }
    assert len(keys) == 1
    for more in ({"mixture": "40/30/30"}, {"curriculum": "10%:64"}):
        cell = Cell.from_values({**plain, **more})
        assert cell.key not in keys
        assert Cell.from_values(cell.values()).key == cell.key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**MIX, "mixture": "70/25"}, "mixture has 2 shares, 70/25, for 3 corpora"),
        ({**MIX, "mixture": "70/25/6"}, "sums to 101; shares must sum to 1, or percentages to 100"),
        ({**MIX, "mixture": "a/b/c"}, "'a/b/c' are no shares; write a share for each corpus"),
        ({**MIX, "mixture": [0.5, "x", 0.5]}, "mixture is .*; it must be a list"),
        ({"mixture": "100"}, "there is only one corpus, stdlib"),
        ({**MIX, "mixture_end": "1/1/98"}, "mixture_end is set, but mixture, the shares at the"),
        ({**MIX, "mixture_surprise": 1.0}, "mixture_surprise is set, but mixture"),
        (
            {**MIX, "mixture": "1/1/98", "mixture_end": "2/2/96", "mixture_surprise": 1.0},
            "both set, but only one of them can decide the shares",
        ),
        ({**MIX, "mixture_anneal": 0}, "mixture_anneal is 0; it must be above 0 and at most 1"),
        ({**MIX, "mixture_surprise": -1}, "mixture_surprise is -1; it must be 0 or more"),
        (
            {"curriculum": "60%:64,50%:32", "tokens": 1_000},
            "have 1,100 tokens, but training has 1,000; shorten them, or train longer",
        ),
        ({"curriculum": "6M:64"}, "have 6,000,000 tokens, but training has 5,000,000"),
        ({"curriculum": "10%:48"}, "48 tokens, into which the context of 128 cannot be cut"),
        ({"curriculum": "10%:256"}, "256 tokens, into which the context of 128 cannot be cut"),
        ({"curriculum": "10%"}, "'10%' is not a stage of a curriculum; write TOKENS:LENGTH or"),
        ({"curriculum": "x:64"}, "'x:64' is not a stage of a curriculum .*; write TOKENS:LENGTH"),
        ({"curriculum": "10%:64:0"}, "the batch size of a stage of the curriculum is 0"),
        ({"curriculum": "-5:64"}, "has -5 tokens|is not a stage"),
        ({"curriculum": 7}, "curriculum is 7; it must be a list"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**values)


class _Typed:
    def __init__(self, value: str) -> None:
        self.value = value


def mix(*texts: str) -> Any:
    return _mix(None, [_Typed(text) for text in texts])  # type: ignore[misc]


def test_a_mix_names_the_corpora_and_their_shares() -> None:
    wished = Wishes(mix=mix("stdlib=70:85", "a=b.txt=25%:10", "code.txt=5"), tokens=20_000)
    assert wished.values == {
        "corpus": "mix:stdlib + a=b.txt + code.txt",
        "mixture": [70.0, 25.0, 5.0],
        "mixture_end": [85.0, 10.0, 5.0],
        "tokens": 20_000,
    }
    assert mixed_values(mix("stdlib", "web.txt")) == {"corpus": "mix:stdlib + web.txt"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("stdlib=x",), "'stdlib=x'; write CORPUS=SHARE, or CORPUS=SHARE:LAST"),
        (("=70", "web.txt=30"), "'=70'; write CORPUS=SHARE"),
        (("stdlib=1:2:3",), "write CORPUS=SHARE"),
        (("stdlib=100",), "the mix is of stdlib; name at least two corpora, each once"),
        (("stdlib=50", "stdlib=50"), "name at least two corpora, each once"),
        (("stdlib=50", "web.txt"), "web.txt has no share in the mix; give every corpus one"),
    ],
)
def test_a_mix_that_says_too_little_is_refused(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixed_values(mix(*texts))


def test_a_mix_beside_a_corpus_is_refused() -> None:
    wished = Wishes(mix=mix("stdlib=50", "web.txt=50"), corpus="stdlib")
    with pytest.raises(ValueError, match="--corpus stdlib and --mix are both given"):
        _ = wished.values


def test_a_plan_says_what_is_drawn() -> None:
    fixed = {
        **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
        **{**MIX, "mixture": "70/25/5", "mixture_end": "85/10/5", "curriculum": "10%:8"},
    }
    plan = make_plan(Space(name="s", axes={"learning_rate": [1e-3]}, fixed=fixed), Wishes())
    assert plan.notes == (
        "training draws 70/25/5 to 85/10/5 over the last 20% of stdlib + web + code",
        "training begins with shorter sequences (tokens:length): 10%:8",
    )
