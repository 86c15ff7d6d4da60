"""The kill rule as a pure function: curves in, a kill with its evidence or None out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tests.tune_app.observations import observation
from tune_app.journal.records import Observation
from tune_app.stopping.kill_rule import KillRule, worse_than_baseline
from tune_app.stopping.rule import Trial

RULE = KillRule(unit="ppl", margin=0.5, span=1_000_000)
EVERY = 250_000


def point(
    tokens: int, perplexity: float, *, baseline_tokens: int | None = None, bpb: float = 1.0
) -> Observation:
    return observation(
        "cell",
        tokens,
        baseline_tokens=baseline_tokens,
        bits_per_byte=bpb,
        perplexity=perplexity,
        baseline_token_perplexity=perplexity,
    )


def curve(perplexities: Sequence[float], *, every: int = EVERY) -> list[Observation]:
    return [point((i + 1) * every, value) for i, value in enumerate(perplexities)]


BASELINE = curve([30, 28, 26, 25, 24, 23, 22, 21])


def test_stops_at_the_first_evaluation_that_makes_the_span_whole() -> None:
    trial = curve([31, 29, 27, 26, 25])
    assert worse_than_baseline(trial[:4], BASELINE, RULE) is None
    kill = worse_than_baseline(trial, BASELINE, RULE)
    assert kill is not None
    assert kill.evidence["span"] == 1_000_000
    assert [entry["tokens"] for entry in kill.evidence["evaluations"]] == [
        250_000,
        500_000,
        750_000,
        1_000_000,
        1_250_000,
    ]
    assert "1 worse than the baseline's 24" in kill.reason


def test_reasons_of_early_perplexities_are_written_out() -> None:
    kill = worse_than_baseline(curve([1_664.4] * 5), curve([180.7] * 5), RULE)
    assert kill is not None
    assert kill.reason.startswith("ppl 1,664 is 1,484 worse than the baseline's 180.7; ≥ 0.5 worse")


def test_exactly_the_margin_is_worse_and_a_hair_less_is_not() -> None:
    at_margin = curve([value.perplexity + 0.5 for value in BASELINE])
    below = curve([value.perplexity + 0.499 for value in BASELINE])
    assert worse_than_baseline(at_margin, BASELINE, RULE) is not None
    assert worse_than_baseline(below, BASELINE, RULE) is None


def test_one_good_evaluation_starts_the_count_again() -> None:
    trial = curve([31, 29, 27, 25.2, 25, 24, 23])
    assert worse_than_baseline(trial, BASELINE, RULE) is None
    kill = worse_than_baseline(curve([31, 29, 27, 25.2, 25, 24, 23, 22, 21]), BASELINE, RULE)
    assert kill is None, "the ninth evaluation lies beyond the baseline"
    longer = curve([30, 28, 26, 25, 24, 23, 22, 21, 20])
    kill = worse_than_baseline(curve([31, 29, 27, 25.2, 25, 24, 23, 22, 21]), longer, RULE)
    assert kill is not None
    assert kill.evidence["evaluations"][0]["tokens"] == 1_250_000


def test_nothing_is_decided_while_the_baseline_is_behind() -> None:
    trial = curve([40, 39, 38, 37, 36, 35])
    assert worse_than_baseline(trial, [], RULE) is None
    assert worse_than_baseline(trial, BASELINE[:4], RULE) is None, "known for 750k tokens only"
    assert worse_than_baseline(trial, BASELINE[:5], RULE) is not None


def test_unequal_evaluations_meet_the_baseline_in_between() -> None:
    # Halfway between the baseline's points its curve is 29, 27, 25.5, 24.5, 23.5.
    between = [375_000, 625_000, 875_000, 1_125_000, 1_375_000]
    limits = [29, 27, 25.5, 24.5, 23.5]
    worse = [point(tokens, limit + 0.5) for tokens, limit in zip(between, limits, strict=True)]
    better = [point(tokens, limit + 0.49) for tokens, limit in zip(between, limits, strict=True)]
    assert worse_than_baseline(worse, BASELINE, RULE) is not None
    assert worse_than_baseline(better, BASELINE, RULE) is None


def test_few_evaluations_do_not_stop_however_far_apart() -> None:
    trial = [point(250_000, 60), point(1_000_000, 60), point(2_000_000, 60)]
    assert worse_than_baseline(trial, BASELINE, RULE) is None
    assert worse_than_baseline([*trial[:2], point(1_500_000, 60), trial[2]], BASELINE, RULE)


def test_two_tokenizers_meet_at_equal_text_in_the_baselines_units() -> None:
    # Twice the tokens for the same text, and a lower perplexity a token for the same bits.
    rule = KillRule(unit="ppl", margin=0.5, span=1_000_000)
    trial = [
        observation(
            "other",
            2 * reference.tokens,
            baseline_tokens=reference.tokens,
            bits_per_byte=1.0,
            perplexity=math.sqrt(reference.perplexity + 1),
            baseline_token_perplexity=reference.perplexity + 1,
        )
        for reference in BASELINE[:5]
    ]
    kill = worse_than_baseline(trial, BASELINE, rule)
    assert kill is not None
    assert kill.evidence["span"] == 1_000_000, "2M of its own tokens are 1M of the baseline's"


def test_bits_per_byte_as_the_unit() -> None:
    rule = KillRule(unit="bpb", margin=0.02, span=1_000_000)
    baseline = [point((i + 1) * EVERY, 20, bpb=1.5) for i in range(8)]
    worse = [point((i + 1) * EVERY, 20, bpb=1.53) for i in range(5)]
    near = [point((i + 1) * EVERY, 99, bpb=1.51) for i in range(5)]
    assert worse_than_baseline(worse, baseline, rule) is not None
    assert worse_than_baseline(near, baseline, rule) is None


def test_sigma_measures_the_margin_on_the_baselines_seeds() -> None:
    rule = KillRule(unit="sigma", margin=3, span=1_000_000)
    seeds = [
        [point((i + 1) * EVERY, 20, bpb=1.5 + offset) for i in range(8)] for offset in (0, 0.02)
    ]
    sigma = 0.02 / math.sqrt(2)
    worse = [point((i + 1) * EVERY, 20, bpb=1.51 + 3.1 * sigma) for i in range(5)]
    near = [point((i + 1) * EVERY, 20, bpb=1.51 + 2.9 * sigma) for i in range(5)]
    assert worse_than_baseline(worse, seeds[0], rule, baseline_seeds=seeds) is not None
    assert worse_than_baseline(near, seeds[0], rule, baseline_seeds=seeds) is None
    assert worse_than_baseline(worse, seeds[0], rule, baseline_seeds=seeds[:1]) is None
    assert worse_than_baseline(worse, seeds[0], rule, baseline_seeds=[seeds[0], []]) is None


def test_a_baseline_point_that_is_no_number_decides_nothing() -> None:
    baseline = [point(item.tokens, math.nan) for item in BASELINE]
    assert worse_than_baseline(curve([99] * 8), baseline, RULE) is None
    baseline = [point(item.tokens, math.inf) for item in BASELINE]
    assert worse_than_baseline(curve([99] * 8), baseline, RULE) is None


def test_a_cell_at_infinity_or_without_a_number_is_worse() -> None:
    for value in (math.inf, math.nan):
        assert worse_than_baseline(curve([value] * 8), BASELINE, RULE) is not None


def test_off_never_stops() -> None:
    assert worse_than_baseline(curve([99] * 8), BASELINE, KillRule(unit="off")) is None


def trial(*, tokens: int = 5_000_000, evaluations: int = 20) -> Trial:
    return Trial(tokens=tokens, evaluations=evaluations, sample_bytes=262_000, stretches=512)


def test_a_rule_that_can_never_fire_says_so_and_why() -> None:
    assert RULE.notes(trial()) == ()
    (too_long,) = RULE.notes(trial(tokens=1_000_000))
    assert "tokens is not shorter than a trial of 1,000,000" in too_long
    (too_few,) = RULE.notes(trial(evaluations=4))
    assert "it needs 4 evaluations, but a trial has 3 before its end" in too_few
    assert "raise evaluations to 5 or more" in too_few
    assert RULE.notes(trial(evaluations=5)) == ()
    (too_tight,) = RULE.notes(trial(tokens=1_100_000))
    assert "span is 1,000,000 tokens" in too_tight
    assert "the last before its end are 990,000 apart" in too_tight
    assert KillRule(unit="off").notes(trial(evaluations=1)) == ()


def test_settings_survive_their_record() -> None:
    rule = KillRule(unit="bpb", margin=0.02, span=7, minimum_evaluations=2)
    assert KillRule.from_record(rule.as_dict()) == rule


@pytest.mark.parametrize(
    "settings",
    [
        {"unit": "nats"},
        {"margin": -0.1},
        {"margin": math.nan},
        {"span": 0},
        {"minimum_evaluations": 0},
    ],
)
def test_impossible_rules_are_refused_with_their_value(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        KillRule(**settings)  # type: ignore[arg-type]
