"""A lucky score is no advantage, and the reason for every choice has its numbers."""

from __future__ import annotations

import random
import statistics

from tune_app.statistics.nuisance import choose, is_at_end, reversals

NAMES = ("rate 0.5", "rate 1", "rate 2")


def test_the_best_on_the_first_seed_is_scored_on_the_others() -> None:
    choice = choose([{0: 2.2, 1: 2.1}, {0: 2.1, 1: 2.2}, {0: 2.3, 1: 2.0}], NAMES, seeds=(0, 1))
    assert choice is not None and choice.held_out
    assert (choice.value, choice.chosen_on, choice.scored_on) == (1, 0, (1,))
    assert choice.compared == 3
    assert choice.reason == "rate 1 has 2.1000 on seed 0, the best of 3"


def test_one_seed_chooses_and_scores_and_says_so() -> None:
    choice = choose([{0: 2.2}, {0: 2.1}, {}], NAMES, seeds=(0,))
    assert choice is not None and not choice.held_out
    assert (choice.value, choice.scored_on, choice.compared) == (1, (0,), 2)
    assert "1 of 3 did not finish on that seed" in choice.reason
    assert "scored on the same seed, so the score is optimistic" in choice.reason


def test_one_value_leaves_nothing_to_choose() -> None:
    choice = choose([{0: 2.2, 1: 2.1}], NAMES[:1], seeds=(0, 1))
    assert choice is not None and choice.held_out
    assert (choice.chosen_on, choice.scored_on) == (None, (0, 1))


def test_a_value_that_was_stopped_on_every_other_seed_is_not_chosen() -> None:
    scores = [{0: 2.2, 1: 2.2}, {0: 1.9}, {0: 2.3}]
    choice = choose(scores, NAMES, seeds=(0, 1))
    assert choice is not None and choice.value == 0 and choice.held_out
    assert "that finished on a second seed, as rate 1 did not" in choice.reason
    waiting: list[list[int]] = [[], [1], []]
    choice = choose(scores, NAMES, seeds=(0, 1), waiting=waiting)
    assert choice is not None and choice.value == 1 and not choice.held_out, "it still may finish"


def test_where_the_first_seed_was_stopped_the_next_one_chooses() -> None:
    choice = choose([{1: 2.2, 2: 2.0}, {1: 2.1, 2: 2.1}, {}], NAMES, seeds=(0, 1, 2))
    assert choice is not None
    assert (choice.value, choice.chosen_on, choice.scored_on) == (1, 1, (2,))
    assert choose([{}, {}], NAMES, seeds=(0, 1)) is None


def test_choosing_from_equal_rates_gains_nothing_in_the_mean() -> None:
    """Twelve rates that differ by chance alone: their best flatters, the held-out one not."""
    chance = random.Random(7)
    honest, flattered = [], []
    for _ in range(400):
        scores = [{seed: chance.gauss(2.0, 0.02) for seed in (0, 1, 2)} for _ in range(12)]
        choice = choose(scores, [str(at) for at in range(12)], seeds=(0, 1, 2))
        assert choice is not None
        honest.append(statistics.fmean(scores[choice.value][seed] for seed in choice.scored_on))
        flattered.append(min(mine[0] for mine in scores))
    assert abs(statistics.fmean(honest) - 2.0) < 0.003
    assert statistics.fmean(flattered) < 1.975


def test_a_pair_reverses_where_equal_values_say_otherwise() -> None:
    ahead = [{0: 2.3, 1: 2.3}, {0: 2.0, 1: 2.0}]
    behind = [{0: 2.1}, {0: 2.1, 1: 2.1}]
    (found,) = reversals([ahead, behind])
    assert (found.ahead, found.behind, found.value, found.seeds) == (0, 1, 0, 1)
    assert abs(found.by - 0.2) < 1e-12
    assert not list(reversals([ahead, [{}, {}]])), "nothing to compare with"


def test_the_ends_of_a_range_are_known_for_numbers() -> None:
    assert is_at_end(2, [0.5, 1, 2]) and is_at_end(0.5, [0.5, 1, 2])
    assert not is_at_end(1, [0.5, 1, 2])
    assert not is_at_end(1, [1]) and not is_at_end("wsd", ["cosine", "wsd"])
