"""The range finder: from losses at rising rates to a suggestion, and the run that gives them."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from data.prepare import prepare
from tune_app.command_line import run_command
from tune_app.plan.cell import Cell
from tune_app.rates.__main__ import MODULE, app
from tune_app.rates.finder import rising, run_at_rising_rates
from tune_app.rates.suggestion import NoSuggestionError, smoothed, suggest

RATES = rising(1e-4, 1.0, steps=81)
VALUES = {
    **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 16},
    **{"tokens": 1_536, "batch_size": 4, "evaluations": 3, "evaluation_bytes": 2_048},
}


def valley(rate: float, *, bottom: float = 0.1) -> float:
    """A loss that is lowest at a rate of about `bottom`, and flat far below it."""
    return 5 - 2 / (1 + (bottom / rate / 4) ** 2) + max(0.0, math.log(rate / bottom)) ** 2


def test_the_suggestion_keeps_a_distance_from_the_lowest_loss() -> None:
    found = suggest(RATES, [valley(rate) for rate in RATES])
    assert found.falls_from < found.rate < found.lowest
    assert found.rate == pytest.approx(found.lowest / 10)
    assert 0.05 < found.lowest < 0.4
    assert f"at a rate of {found.lowest:.2g} and rose above it" in found.reason


def test_what_diverged_at_the_end_counts_up_to_there() -> None:
    losses = [valley(rate) for rate in RATES]
    cut = [loss if rate < 0.6 else math.nan for rate, loss in zip(RATES, losses, strict=True)]
    assert suggest(RATES, cut) == suggest(RATES, losses)


def test_it_never_suggests_a_rate_at_which_nothing_fell() -> None:
    # The loss falls late and steeply.
    found = suggest(RATES, [5.0 if rate < 0.05 else valley(rate) for rate in RATES])
    assert found.rate == found.falls_from > found.lowest / 10
    assert "where it began to fall" in found.reason


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([5.0] * 81, "the loss fell by 0.000 nats only"),
        ([5.0 + 0.3 * (-1) ** i for i in range(81)], "within twice its spread"),
        ([5.0 - 0.01 * i for i in range(81)], "still falls at the highest rate, 1"),
        ([math.nan] * 81, "only 0 steps have a finite loss; at least 20"),
        ([5.0 + 0.1 * i for i in range(81)], "fell by 0.000 nats"),
    ],
)
def test_losses_that_say_nothing_give_no_rate(losses: list[float], message: str) -> None:
    with pytest.raises(NoSuggestionError, match=message):
        suggest(RATES, losses)


def test_rates_rise() -> None:
    with pytest.raises(ValueError, match="do not rise"):
        suggest(RATES[::-1], [1.0] * 81)
    with pytest.raises(ValueError, match=r"from 1 to 0\.1; they must be positive and rise"):
        rising(1.0, 0.1, steps=50)
    with pytest.raises(ValueError, match="5 steps are too few"):
        rising(0.1, 1.0, steps=5)
    factors = {round(high / low, 9) for low, high in pairwise(RATES)}
    assert len(factors) == 1


def test_means_begin_with_the_first_loss() -> None:
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smoothed([4.0, 2.0], weight=0.5) == pytest.approx([4.0, 8 / 3])


def test_a_run_trains_each_step_at_its_rate(small_corpus: Path, cache: Path) -> None:
    cell = Cell.from_values({**VALUES, "corpus": str(small_corpus)})
    run = run_at_rising_rates(
        cell,
        corpora=lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache),
        rates=rising(1e-2, 1e3, steps=24),
    )
    assert run.ended
    assert len(run.rates) == len(run.losses) <= 24
    assert 5 < run.losses[0] < 7
    assert min(loss for loss in run.losses if math.isfinite(loss)) < run.losses[0] - 0.3


def test_the_command_draws_and_says_why_it_suggests_nothing(
    small_corpus: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    values = json.dumps({**VALUES, "corpus": str(small_corpus)})
    to = tmp_path / "rates.png"
    few = ["--steps", "20", "--low", "1e-9", "--high", "1e-8", "--to", str(to), "--device", "cpu"]
    with pytest.raises(SystemExit, match="1"):
        run_command(app, MODULE, [values, *few])
    assert "no suggestion: the loss fell by" in capsys.readouterr().out.replace("\n", " ")
    assert to.read_bytes().startswith(b"\x89PNG")
    assert run_command(app, MODULE, [values, "--to", "rates.txt"]) == 2
    assert run_command(app, MODULE, [values, "--low", "-1"]) == 2
    assert run_command(app, MODULE, ["no_such_space"]) == 2
