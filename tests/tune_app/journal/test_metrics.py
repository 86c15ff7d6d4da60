"""Metrics are declared once, and an observation carries them through JSON and back to the bit."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping

import pytest

from model.parts.dense import FeedForward
from model.parts.part import Reported
from tests.loaded import loaded_by
from tests.tune_app.observations import changed, observation
from tune_app.journal.metrics import (
    METRICS,
    Metric,
    UndeclaredMetricError,
    in_order,
    last,
    mean,
    metric,
    of_parts,
    tag,
)
from tune_app.journal.records import Observation
from tune_app.journal.version_3 import upgraded_observation


def test_a_metric_that_nobody_declared_names_itself_and_the_place() -> None:
    with pytest.raises(UndeclaredMetricError, match=r"'embeding_norm'.*tune_app/journal/metrics"):
        observation("cell", 100, embeding_norm=1.0)


def test_a_family_is_declared_by_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Metric(title="router load", unit="tokens", group="train")
    monkeypatch.setattr("tune_app.journal.metrics.METRICS", {**METRICS, "router_load/*": load})
    assert metric("router_load/3") is load
    assert tag("router_load/3") == "train/router_load/3"
    names = ["router_load/10", "router_load/9", "perplexity", "bits_per_byte", "router_load/9"]
    assert in_order(names) == ["bits_per_byte", "perplexity", "router_load/9", "router_load/10"]
    with pytest.raises(UndeclaredMetricError):
        metric("router_load")


class Telling(FeedForward):
    reports: Mapping[str, Reported] = {"gate_entropy": Reported(title="gate entropy", unit="nats")}


class Otherwise(FeedForward):
    reports: Mapping[str, Reported] = {"gate_entropy": Reported(title="gate entropy", unit="bits")}


def test_what_a_part_reports_is_declared_by_its_entry() -> None:
    parts = {"feed_forward": {"telling": Telling(), "again": Telling()}}
    (declared,) = of_parts(parts).items()
    assert declared[0] == "gate_entropy"
    assert (declared[1].label, declared[1].group) == ("gate entropy, nats", "train")
    with pytest.raises(ValueError, match="two parts report 'gate_entropy'"):
        of_parts({**parts, "attention": {"otherwise": Otherwise()}})


@pytest.mark.parametrize("name", ["perplexity", "train_loss", "loss"])
def test_a_part_cannot_take_the_name_or_the_tag_of_a_central_metric(name: str) -> None:
    class Taking(FeedForward):
        reports: Mapping[str, Reported] = {name: Reported(title="its own")}

    with pytest.raises(ValueError, match=f"a part reports '{name}', which is taken by"):
        of_parts({"feed_forward": {"taking": Taking()}})


def test_tags_are_grouped_and_do_not_say_their_group_twice() -> None:
    assert tag("bits_per_byte") == "dev/bits_per_byte"
    assert tag("train_loss") == "train/loss"
    assert all(declared.group in ("dev", "train") for declared in METRICS.values())
    assert len({tag(name) for name in METRICS}) == len(METRICS)


def test_gathering() -> None:
    assert mean([1.0, 2.0, 6.0]) == 3.0
    assert last([1.0, 2.0, 6.0]) == 6.0


def test_every_float_comes_back_to_the_bit() -> None:
    values = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, math.nan, math.inf, -math.inf)
    for value in values:
        point = observation("cell", 100, train_loss=value, gradient_norm=value)
        back = Observation.from_values(json.loads(json.dumps(point.to_values())))
        assert struct.pack("d", back.train_loss) == struct.pack("d", value)
        assert repr(back) == repr(point)


def test_a_metric_that_is_declared_no_more_does_not_close_an_old_journal() -> None:
    point = observation("cell", 100)
    values = point.to_values()
    values["metrics"]["declared_once"] = 1.0
    assert Observation.from_values(values) == point


@pytest.mark.parametrize(
    "names",
    [
        ("baseline_tokens", "baseline_token_perplexity", "full_bits_per_byte", "full_perplexity"),
        ("reference_tokens", "reference_perplexity", "whole_bits_per_byte", "whole_perplexity"),
    ],
)
def test_observations_with_a_field_a_metric_are_brought_up_to_date(names: tuple[str, ...]) -> None:
    tokens, perplexity, full_bits_per_byte, full_perplexity = names
    flat = {
        "cell": "cell",
        "tokens": 200,
        tokens: 100,
        "bits_per_byte": 2.0,
        "perplexity": math.inf,
        perplexity: 12.0,
        "train_loss": 3.0,
        "learning_rate": 0.01,
        "tokens_per_second": 50.0,
        "seconds": {"train": 1.5},
        full_bits_per_byte: 2.1,
        full_perplexity: None,
    }
    point = Observation.from_values(upgraded_observation(flat))
    assert point == observation(
        "cell",
        200,
        baseline_tokens=100,
        seconds={"train": 1.5},
        perplexity=math.inf,
        baseline_token_perplexity=12.0,
        gradient_norm=None,
        tokens_per_second=50.0,
        full_bits_per_byte=2.1,
    )
    assert point.full_perplexity is None
    assert upgraded_observation(point.to_values()) == point.to_values(), "twice is once"


def test_only_what_was_measured_is_there() -> None:
    point = observation("cell", 100)
    assert point.full_bits_per_byte is None
    assert changed(point, full_bits_per_byte=2.5).full_bits_per_byte == 2.5


def test_the_table_needs_no_torch() -> None:
    assert loaded_by("import tune_app.journal.metrics", "torch") == []
