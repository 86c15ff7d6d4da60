"""What is said of a leader is no more than the seeds' noise allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from tests.tune_app.observations import observation
from tune_app.journal.records import CellRecord, Status, SweepRecord
from tune_app.plan.noise_records import NoiseRecord
from tune_app.results import contest as contests
from tune_app.results.caveats import caveats
from tune_app.results.columns import of_designs, of_results
from tune_app.results.design_table import design_rows
from tune_app.results.designs import CellResult, designs_of
from tune_app.results.plots.by_axis import axis_plot
from tune_app.results.plots.by_cost import COSTS, cost_plot
from tune_app.results.summary import SweepResults
from tune_app.results.tables import cell_rows
from tune_app.results.verdict import (
    against_baseline,
    difference_text,
    interval_text,
    mark_text,
    verdict,
)
from tune_app.stopping.curves import Curves

BASELINE = 2.66

Scores = Mapping[float, Sequence[float | None]]
"""By expansion, one for each seed; None for a cell that was stopped."""


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """σ = .017 is recorded for the sweeps of `made`, and nothing else."""
    settings = {"corpus": "stdlib", "target_parameters": 950_000, "tokens": 150_000}
    record = NoiseRecord(
        settings=settings, sigma=0.017, degrees_of_freedom=16, runs=20, source="on a Tuesday"
    )
    monkeypatch.setattr(contests, "recorded_noise", lambda: (record,))


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contests, "recorded_noise", tuple)


def made(scores: Scores) -> SweepResults:
    """A sweep over expansions; the baseline's is BASELINE."""
    seeds = tuple(range(max(map(len, scores.values()))))
    cells = []
    for expansion, by_seed in scores.items():
        for seed, score in zip(seeds, by_seed, strict=True):
            name = f"{expansion:g}"
            record = CellRecord(
                key=f"{name} {seed}",
                label=f"{name} × seed {seed}" if len(seeds) > 1 else name,
                position=len(cells),
                values={
                    "corpus": "stdlib",
                    "target_parameters": 950_000,
                    "tokens": 150_000,
                    "vocab_size": 4_096,
                    "glu_expansion": expansion,
                    "seed": seed,
                },
                config={"d_model": 80, "n_layers": 8},
                parameters={},
                flops_per_token=1.0,
                status=Status.STOPPED if score is None else Status.FINISHED,
            )
            point = observation(record.key, 150_000, full_bits_per_byte=score)
            cells.append(
                CellResult(cell=record, curve=(point,), decision=None, failures=(), attempts=())
            )
    sweep = SweepRecord(
        name="made",
        space="made",
        corpus="stdlib",
        corpus_sha256="0" * 64,
        baseline=f"{BASELINE:g} 0",
        tokens=150_000,
        seeds=seeds,
        scheduler={"name": "none"},
        kill_rule={"unit": "off"},
        bytes_per_token={},
        created_at=0.0,
        command="stellux sweep made",
        axes=("glu_expansion", "seed") if len(seeds) > 1 else ("glu_expansion",),
    )
    return SweepResults(
        sweep=sweep,
        curves=Curves([one.cell for one in cells], baseline=sweep.baseline),
        cells=tuple(cells),
        designs=designs_of(sweep, cells),
        decisions=(),
        failures=(),
        amendments=(),
    )


def close(results: SweepResults) -> list[str]:
    return [design.label for design in results.contest.not_told_apart]


@pytest.mark.usefixtures("recorded")
def test_one_seed_is_judged_by_the_recorded_noise() -> None:
    results = made({2.66: [2.212], 4.0: [2.200], 3.0: [2.210], 2.0: [2.239], 1.0: [2.225]})
    assert close(results) == ["3", "2.66", "1"]
    assert verdict(results) == (
        "4 leads by 0.0100 bpb (0.6 σ): not told apart from 3, the baseline 2.66 and 1 more "
        "(σ = 0.0170 bpb, from 20 recorded runs of such sweeps); more seeds tell, as with "
        "--seeds 0,1,2"
    )
    assert against_baseline(results) == " (0.7 σ, not told apart)"
    assert difference_text(results, 0.017, seeds=4) == ", 2.0 σ"
    assert interval_text(results) == "3 is 0.0100 bpb behind, −0.0240 to 0.0440 within 2 σ"
    text = " ".join(caveats(results))
    assert "σ = 0.0170 bits per byte (95 %: 0.0127 to 0.0259)" in text and "on a Tuesday" in text
    assert "First and second differ by 0.0100, 0.6 σ; below 0.0340 they are not told" in text


@pytest.mark.usefixtures("recorded")
def test_a_leader_beyond_the_noise_is_told_apart() -> None:
    results = made({2.66: [2.25], 4.0: [2.2], 3.0: [2.3]})
    assert close(results) == []
    assert verdict(results).startswith(
        "4 leads by 0.0500 bpb (2.9 σ), and is told apart from all 2 others that finished (σ ="
    )
    assert against_baseline(results) == " (2.9 σ)"


@pytest.mark.usefixtures("unrecorded")
def test_without_any_noise_nothing_is_claimed() -> None:
    results = made({2.66: [2.9], 4.0: [2.2]})
    assert results.contest.noise is None and results.contest.margins == {}
    assert verdict(results) == (
        "4 leads by 0.7000 bpb over 2.66, but the seeds' noise is unknown; train with "
        "--seeds 0,1,2 to measure it"
    )
    assert mark_text(results).startswith("the seeds' noise is unknown; train with --seeds 0,1,2")
    assert (against_baseline(results), difference_text(results, 1.0, seeds=1)) == ("", "")
    assert "By how much is unknown: no design finished on two seeds, and none is recorded" in (
        " ".join(caveats(results))
    )
    assert {row["told_apart"] for row in cell_rows(results)} == {None}


@pytest.mark.usefixtures("unrecorded")
def test_the_sweep_s_own_seeds_measure_it() -> None:
    steps = (-0.01, 0.0, 0.01)
    results = made(
        {mean: [level + step for step in steps] for mean, level in ((2.66, 2.2), (4, 2.19), (3, 3))}
        | {2.0: [2.201, None, math.nan]}
    )
    noise = results.contest.noise
    assert noise is not None and noise.sigma == pytest.approx(0.01)
    assert (noise.degrees_of_freedom, noise.source) == (6, "9 runs of this sweep")
    # Fewer degrees of freedom than are enough: 2.5 σ instead of 2.
    assert results.contest.margins["2.66"].unit == pytest.approx(0.01 / math.sqrt(3))
    assert close(results) == ["2.66", "2"], "one of its seeds was stopped, another has no score"
    assert "σ = 0.0058 bpb for a mean of 3 seeds, 0.0100 for one, from only 9 runs" in verdict(
        results
    )
    assert "so only what is 2.5 σ behind instead of 2 is told apart" in mark_text(results)


@pytest.mark.usefixtures("recorded")
def test_few_own_seeds_are_pooled_with_the_record_and_many_are_not() -> None:
    few = made({2.66: [2.2, 2.3], 4.0: [2.0, 2.01]}).contest.noise
    assert few is not None and (few.degrees_of_freedom, few.runs) == (18, 24)
    assert few.source == "4 runs of this sweep and 20 recorded runs of such sweeps"
    many = made({expansion: [2.2, 2.3] for expansion in (2.66, *range(1, 9))}).contest.noise
    assert many is not None and many.source == "18 runs of this sweep"


@pytest.mark.usefixtures("unrecorded")
def test_a_design_stopped_on_its_other_seed_measures_nothing() -> None:
    results = made({2.66: [2.2, None], 4.0: [None, 2.1]})
    assert results.contest.noise is None
    assert "no design finished on two seeds" in results.contest.why_unknown


@pytest.mark.usefixtures("unrecorded")
def test_seeds_that_change_nothing_measure_nothing() -> None:
    results = made({2.66: [2.2, 2.2], 4.0: [2.1, 2.1]})
    assert results.contest.why_unknown == "all seeds of a design scored exactly the same"


@pytest.mark.usefixtures("recorded")
def test_ties_are_not_told_apart() -> None:
    results = made({2.66: [2.2], 4.0: [2.2], 3.0: [2.2]})
    assert close(results) == ["3", "4"]
    assert verdict(results).startswith(
        "2.66 leads by 0.0000 bpb (0.0 σ): not told apart from 3 and"
    )


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("score", [2.2, None])
def test_a_cell_alone_has_nothing_to_lead(score: float | None) -> None:
    results = made({2.66: [score], 4.0: [None]})
    assert close(results) == [] and mark_text(results) == ""
    told = "2.66 is the only one that finished, so there is nothing to compare it with"
    said, _, rest = verdict(results).partition(". ")
    assert said == (told if score else "")
    assert rest.startswith("1 stopped cell was not trained to the end") == bool(score)


@pytest.mark.usefixtures("recorded")
def test_the_tables_say_it_for_every_design() -> None:
    results = made({2.66: [2.25], 4.0: [2.2], 3.0: [2.21], 2.0: [None]})
    rows: Sequence[Mapping[str, Any]] = cell_rows(results)
    assert {row["label"]: row["told_apart"] for row in rows} == {
        "2.66": True,
        "4": None,
        "3": False,
        "2": None,
    }
    designs = {row["design"]: row for row in design_rows(results)}
    assert designs["3"]["behind_leader_bits_per_byte"] == pytest.approx(0.01)
    assert designs["3"]["behind_leader_sigmas"] == pytest.approx(0.01 / 0.017)
    assert designs["4"]["behind_leader_sigmas"] is None
    assert {row["noise_sigma"] for row in designs.values()} == {0.017}
    assert all(of_designs(name).meaning for name in designs["3"])
    assert of_results("told_apart").meaning


@pytest.mark.usefixtures("recorded")
def test_plots_have_a_band_and_hollow_marks_for_what_is_not_told_apart() -> None:
    results = made({2.66: [2.25], 4.0: [2.2], 3.0: [2.21], 2.0: [2.3]})
    for plot in (axis_plot(results, "glu_expansion"), cost_plot(results, COSTS[1])):
        (axes,) = plot.figure.axes
        (band,) = axes.patches
        assert isinstance(band, Rectangle)
        assert (band.get_y(), band.get_height()) == pytest.approx((2.2, 0.034))
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert [y for line in hollow for y in line.get_ydata()] == [2.21]
        assert "Hollow marks are not told apart from the leader: σ = 0.0170" in plot.caption


@pytest.mark.usefixtures("unrecorded")
def test_plots_without_known_noise_mark_nothing() -> None:
    plot = axis_plot(made({2.66: [2.25], 4.0: [2.2]}), "glu_expansion")
    assert not plot.figure.axes[0].patches and "Hollow" not in plot.caption
