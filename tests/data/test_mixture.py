"""Mixtures: shares are kept at every point, and any part of the order can be asked for alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from data.curriculum import Curriculum, WantedStage, check_stages
from data.mixture import Mixture, Span, annealed, check_shares, in_shares, surprised

START, END = (0.70, 0.25, 0.05), (0.85, 0.10, 0.05)


def mixtures() -> list[Mixture]:
    """Random ones: few or many corpora, shares of 0 or nearly all, spans of 1 to 200 sequences."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(40):
        corpora = int(generator.integers(2, 8))
        shares = generator.exponential(size=(8, 2, corpora)) ** 3
        shares[generator.random(8) < 0.3, :, 0] = 0
        shares /= shares.sum(axis=-1, keepdims=True)
        firsts = np.cumsum([0, *generator.integers(1, 200, size=generator.integers(0, 7))])
        found.append(
            Mixture(
                [
                    Span(first=int(first), begin=tuple(begin), end=tuple(end))
                    for first, (begin, end) in zip(firsts, shares, strict=False)
                ]
            )
        )
    return found


def test_every_sequence_is_of_one_corpus_and_the_next_of_it() -> None:
    for mixture in mixtures():
        corpora_N, ranks_N = mixture.drawn(0, 1_500)
        for corpus in range(len(mixture.spans[0].begin)):
            ranks = ranks_N[corpora_N == corpus]
            np.testing.assert_array_equal(ranks, np.arange(len(ranks)))
        seen_K = np.bincount(corpora_N[:777], minlength=len(mixture.spans[0].begin))
        np.testing.assert_array_equal(mixture.counts(777), seen_K)


def test_a_part_is_the_same_alone_as_in_the_whole() -> None:
    for number, mixture in enumerate(mixtures()):
        whole = mixture.drawn(0, 1_500)
        for first in (0, 1, 7 * number, 1_400):
            for one, all_ in zip(mixture.drawn(first, 60), whole, strict=True):
                np.testing.assert_array_equal(one, all_[first : first + 60])


def test_counts_stay_near_the_integral_of_the_shares() -> None:
    for mixture in mixtures()[:10]:
        corpora_N, _ = mixture.drawn(0, 600)
        corpora = len(mixture.spans[0].begin)
        seen_NK = np.cumsum(corpora_N[:, None] == np.arange(corpora), axis=0)
        at_NK = np.array([mixture.shares(n) for n in range(601)])
        ends = at_NK[1:].copy()
        for one, two in pairwise(mixture.spans):  # shares jump from one span to the next
            ends[two.first - 1 : two.first] = one.end
        # The mean of a linear function over a sequence is its value in the middle.
        due_NK = np.cumsum((at_NK[:-1] + ends) / 2, axis=0)
        assert np.abs(seen_NK - due_NK).max() < corpora


def test_other_shares_from_some_point_on_change_nothing_before_it() -> None:
    for mixture in mixtures():
        end = mixture.spans[-1].first + 333
        later = mixture.then(end, mixture.spans[0].end)
        for one, two in zip(mixture.drawn(0, end), later.drawn(0, end), strict=True):
            np.testing.assert_array_equal(one, two)
        assert later.shares(end) == mixture.spans[0].end


def test_shares_are_annealed_over_the_last_part_of_training() -> None:
    curriculum = Curriculum([], context=10, batch_size=4, tokens=10_000)
    mixture = annealed(START, END, fraction=0.2, curriculum=curriculum, tokens=10_000)
    assert mixture.shares(0) == mixture.shares(800) == START
    assert mixture.shares(900) == pytest.approx((0.775, 0.175, 0.05))
    assert mixture.shares(1_000) == mixture.shares(5_000) == pytest.approx(END)
    assert mixture.counts(1_000).tolist() == [715, 235, 50]


def test_annealing_is_linear_in_tokens_whatever_the_stages_are() -> None:
    stages = [WantedStage(amount=0.9, length=5)]
    curriculum = Curriculum(stages, context=10, batch_size=4, tokens=10_000)
    mixture = annealed(START, END, fraction=0.2, curriculum=curriculum, tokens=10_000)
    for tokens in (8_000, 8_500, 9_000, 9_500, 10_000):
        part = (tokens - 8_000) / 2_000
        expected = [one + part * (two - one) for one, two in zip(START, END, strict=True)]
        assert mixture.shares(curriculum.sequences_at(tokens)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.7, 0.2), "is 0.7/0.2, which sums to 0.9; shares must sum to 1, or percentages to 100"),
        ((0.7, 0.2, 0.1), r"has 3 shares, 0.7/0.2/0.1, for 2 corpora, a, b; give one for each"),
        ((1.2, -0.2), "shares must be 0 or more"),
        ((float("nan"), 1.0), "shares must be 0 or more"),
    ],
)
def test_impossible_shares_are_refused(shares: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shares("mixture", shares, corpora=["a", "b"])
    with pytest.raises(ValueError, match="only one corpus, stdlib; name several with --mix"):
        check_shares("mixture", (1.0,), corpora=["stdlib"])


def test_percentages_are_shares_too() -> None:
    assert in_shares([70, 25, 5]) == START
    assert in_shares([0.5, 0.5]) == (0.5, 0.5)


def test_a_corpus_of_which_little_is_learned_is_drawn_more_often() -> None:
    shares = surprised((0.5, 0.5), [4.0, 2.0], [8.0, 8.0], power=1)
    assert shares == pytest.approx((2 / 3, 1 / 3))
    assert surprised((0.5, 0.5), [4.0, 2.0], [8.0, 8.0], power=2) == pytest.approx((0.8, 0.2))
    assert surprised((0.5, 0.5), [float("nan"), 2.0], [8.0, 8.0], power=1) == (0.5, 0.5)


class TestCurriculum:
    def test_stages_have_their_tokens_and_the_same_tokens_a_step(self) -> None:
        wanted = [
            WantedStage(amount=0.25, length=8),
            WantedStage(amount=2_000, length=16, batch_size=3),
        ]
        curriculum = Curriculum(wanted, context=32, batch_size=4, tokens=10_240)
        assert [(s.length, s.batch_size) for s in curriculum.stages] == [(8, 16), (16, 3), (32, 4)]
        assert [s.first_step for s in curriculum.stages] == [0, 20, 62]
        assert [s.first_token for s in curriculum.stages] == [0, 2_560, 4_576]
        assert [curriculum.number(step) for step in (0, 19, 20, 61, 62, 999)] == [0, 0, 1, 1, 2, 2]
        assert curriculum.sequences_before(63) == 20 * 16 + 42 * 3 + 4
        for sequence in (0, 100, 320, 400, 446, 500):
            assert curriculum.sequences_at(curriculum.tokens_at(sequence)) == sequence

    def test_stages_longer_than_training_are_refused(self) -> None:
        wanted = [WantedStage(amount=0.5, length=8), WantedStage(amount=600, length=8)]
        check_stages(wanted, tokens=1_200)
        with pytest.raises(
            ValueError, match="have 1,100 tokens, but training has 1,000; shorten them, or train"
        ):
            check_stages(wanted, tokens=1_000)

    def test_impossible_stages_are_refused(self) -> None:
        for length in (24, 64):
            with pytest.raises(ValueError, match="use a divisor of it: 1, 2, 4, 8, 16, 32"):
                Curriculum(
                    [WantedStage(amount=0.5, length=length)], context=32, batch_size=1, tokens=100
                )
        with pytest.raises(ValueError, match="the length of a stage of the curriculum is 0"):
            WantedStage(amount=0.5, length=0)
        with pytest.raises(ValueError, match="has -1 tokens; give a number of tokens or a share"):
            WantedStage(amount=-1, length=8)
