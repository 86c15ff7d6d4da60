"""Plots stand whatever a sweep has, and show what they claim to show."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from tests.tune_app.journals import EXPANSIONS, SHARES, make_journal
from tune_app.journal.metrics import METRICS
from tune_app.results.plots.all_plots import draw, png
from tune_app.results.plots.by_axis import axis_plot
from tune_app.results.plots.by_cost import COSTS, cost_plot
from tune_app.results.plots.curves import curves_plot, mean_points
from tune_app.results.plots.metrics import metrics_plot
from tune_app.results.plots.ticks import apart
from tune_app.results.summary import SweepResults, summarise

Make = Callable[..., SweepResults]

_EVERYTHING_PENDING = {(s, e): "pending" for s in SHARES for e in EXPANSIONS}
_SWEEPS: dict[str, dict[str, Any]] = {
    "twelve cells": {},
    "three seeds": {"seeds": (0, 1, 2)},
    "categories": {"axes": {"feed_forward": ("swiglu", "relu2"), "embedding": ("tied", "untied")}},
    "one axis": {"axes": {"learning_rate": (0.001, 0.004, 0.1)}},
    "one cell": {"axes": {"embedding_ratio": (0.35,)}},
    "many lines": {
        "axes": {"target_parameters": tuple(range(800_000, 1_200_000, 40_000)), "heads": (2, 4)}
    },
    "nothing begun": {"fates": _EVERYTHING_PENDING},
    "one observation": {"fates": _EVERYTHING_PENDING | {(0.35, 2.66): "running 1"}},
    "all diverged": {"axes": {"heads": (2, 4)}, "fates": {(2,): "diverged 1", (4,): "diverged 3"}},
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(**what: Any) -> SweepResults:
        with make_journal(tmp_path / "journal.sqlite3", **what) as journal:
            return summarise(journal)

    return _make


def _points(axes: Axes, marker: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in axes.lines
        if line.get_marker() == marker
        for x, y in line.get_xydata()
    ]


@pytest.mark.parametrize("what", _SWEEPS.values(), ids=_SWEEPS)
def test_every_plot_can_be_drawn(make: Make, what: dict[str, Any]) -> None:
    before = "matplotlib.pyplot" in sys.modules  # Optuna's charts bring it along
    results = make(**what)
    plots = draw(results)
    names = [plot.name for plot in plots]
    training = ["training"] if any(cell.curve for cell in results.cells) else []
    assert names == [
        "curves",
        *(f"by_{axis}" for axis in results.axes),
        "pareto_seconds",
        "pareto_flops",
        *training,
    ]
    picture = png(plots[-1] if "cell" in what else plots[1])
    assert picture.startswith(b"\x89PNG") and len(picture) > 5_000
    assert before or "matplotlib.pyplot" not in sys.modules, "no window library is touched"


def test_every_drawn_metric_has_a_panel_with_its_unit(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make(axes={"heads": (2, 4)}, fates={(4,): "diverged 2"})
    plot = metrics_plot(results)
    assert plot is not None
    titles = ["training loss, nats/token", "learning rate of the reference"]
    titles.append("gradient norm before clipping")
    assert [axes.get_title(loc="left") for axes in plot.figure.axes] == titles
    finished = results.cells[0]
    norms = [value for _, value in finished.points_of("gradient_norm")]
    assert len(norms) == len(finished.curve)
    lines = plot.figure.axes[2].lines
    assert any(list(line.get_ydata()) == norms for line in lines)
    assert "gradient norm" in plot.caption
    drawn = METRICS["tokens_per_second"]
    monkeypatch.setitem(METRICS, "tokens_per_second", replace(drawn, drawn=True))  # type: ignore[arg-type]
    more = metrics_plot(results)
    assert more is not None and len(more.figure.axes) == 4
    monkeypatch.setitem(METRICS, "gradient_norm", replace(METRICS["gradient_norm"], drawn=False))  # type: ignore[arg-type]
    fewer = metrics_plot(results)
    assert fewer is not None and "gradient norm" not in fewer.caption


def test_axis_plot_shows_full_scores_of_finished_cells_and_breaks_at_the_others(
    make: Make,
) -> None:
    results = make()
    strip, axes = axis_plot(results, "embedding_ratio").figure.axes
    by_label = {design.label: design.mean for design in results.ranking}
    line = next(line for line in axes.lines if line.get_xydata()[1][1] == by_label["35% × 2.66"])
    shares, scores = zip(*line.get_xydata(), strict=True)
    assert shares == SHARES
    assert scores[0] == by_label["25% × 2.66"] and math.isnan(scores[2]), "45% was stopped"
    assert len(_points(strip, "x")) == 6, "the stopped cells stand apart, without a value"


def test_seeds_stand_beside_their_mean(make: Make) -> None:
    results = make(axes={"embedding": ("tied", "untied")}, seeds=(0, 1, 2))
    (axes,) = axis_plot(results, "embedding").figure.axes
    means, *seeds = axes.lines
    assert [y for _, y in means.get_xydata()] == [design.mean for design in results.designs]
    assert [len(line.get_xydata()) for line in seeds] == [3, 3]


def test_cost_plot_keeps_stopped_cells_off_the_front_and_off_the_scale(make: Make) -> None:
    results = make()
    stopped, finished = cost_plot(results, COSTS[1]).figure.axes
    assert len(_points(stopped, "x")) == 4 and len(_points(stopped, "+")) == 1
    assert _points(finished, "x") == []
    front = next(line for line in finished.lines if line.get_drawstyle() == "steps-post")
    leader = results.leader
    assert leader is not None
    assert [tuple(point) for point in front.get_xydata()] == [(leader.training_flops, leader.mean)]
    assert min(y for _, y in _points(stopped, "x")) > stopped.get_ylim()[0]


def test_curves_mark_ends_and_gaps_at_equal_tokens(make: Make) -> None:
    results = make()
    top, bottom = curves_plot(results).figure.axes
    ends = {
        (cell.points[-1])
        for cell in results.cells
        if cell.decision and cell.decision.rule == "asha-stop"
    }
    assert ends == set(_points(top, "x"))
    assert {tokens for tokens, _ in ends} == {tokens for tokens, _ in _points(bottom, "x")}
    thick = [line for line in bottom.lines if line.get_linewidth() == 3.0]
    assert [y for line in thick for _, y in line.get_xydata()] == [0.0] * 8, "the baseline itself"


def test_seeds_are_thin_lines_below_their_mean(make: Make) -> None:
    results = make(axes={"embedding": ("tied", "untied")}, seeds=(0, 1))
    plot = curves_plot(results)
    design = results.designs[0]
    thin = [line for line in plot.figure.axes[0].lines if line.get_linewidth() == 0.8]
    assert len(thin) == len(results.cells) == 4
    one, other = (dict(cell.points) for cell in design.cells)
    middle = {at: (one[at] + other[at]) / 2 for at in one if at in other}
    assert dict(mean_points([cell.points for cell in design.cells])) == pytest.approx(middle)
    assert mean_points([design.cells[0].points]) == mean_points([]) == []
    assert "Thin lines are seeds" in plot.caption


def test_one_that_diverges_does_not_flatten_the_others(make: Make) -> None:
    results = make()
    top = curves_plot(results).figure.axes[0]
    late = [y for cell in results.cells for x, y in cell.points if x >= 37_500]
    assert top.get_ylim()[1] < max(late) + 0.2


HARD = {
    "learning_rate": (1e-4, 1.01e-4, 1.05e-4, 3.2e-4, 1e-3),
    "feed_forward": ("$a$ and $b$", "[red]a very long name of a part[/red]", "_hidden"),
    "schedule": ("/data/one/of/a/very/long/path.json", "/data/two/of/a/very/long/path.json"),
}


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    """Three axes with values that are hard to show; some cells are stopped, half never began."""
    fates = {
        values: "asha 2" if at % 7 == 3 else "pending"
        for at, values in enumerate(product(*HARD.values()))
        if at % 7 == 3 or at % 3
    }
    path = tmp_path_factory.mktemp("hard") / "journal.sqlite3"
    with make_journal(path, axes=HARD, fates=fates) as journal:
        return summarise(journal)


def _boxes(artists: Iterable[Any]) -> list[Bbox]:
    return [artist.get_window_extent() for artist in artists]


def _overlap(boxes: Sequence[Bbox]) -> bool:
    return any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("name", ["curves", "learning_rate", "schedule", "flops"])
def test_whatever_the_values_nothing_is_cut_off_or_overlaps(hard: SweepResults, name: str) -> None:
    plot = (
        curves_plot(hard)
        if name == "curves"
        else cost_plot(hard, COSTS[1])
        if name == "flops"
        else axis_plot(hard, name)
    )
    figure = plot.figure
    figure.draw_without_rendering()
    legends = _boxes(figure.legends)
    assert len(legends) >= 2 and not _overlap(legends)
    panels = [axes.get_tightbbox() for axes in figure.axes]
    for box in [*legends, *panels]:
        assert box is not None
        assert box.x0 >= -1 and box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
    assert max(box.y1 for box in legends) <= min(box.y0 for box in panels if box) + 1
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    if name != "schedule":
        assert any(text.startswith(r"\$a\$ and \$b\$") for text in texts)
        ticks = [one for one in figure.axes[-1].get_xticklabels() if one.get_text()]
        assert len(ticks) >= 2 and not _overlap(_boxes(ticks))


def test_values_over_decades_have_a_logarithmic_axis_and_their_own_ticks(
    hard: SweepResults,
) -> None:
    axes = axis_plot(hard, "learning_rate").figure.axes[-1]
    assert axes.get_xscale() == "log"
    shown = [text.get_text() for text in axes.get_xticklabels()]
    assert shown == ["0.0001", "", "", "0.00032", "0.001"]


def test_what_was_drawn_on_a_logarithmic_scale_is_shown_on_one(make: Make) -> None:
    results = make(axes={"learning_rate": (0.0037, 0.004, 0.0081)})
    (axes,) = axis_plot(results, "learning_rate").figure.axes
    assert axes.get_xscale() == "linear"
    drawn = replace(results, sweep=replace(results.sweep, log_axes=("learning_rate",)))
    (axes,) = axis_plot(drawn, "learning_rate").figure.axes
    assert axes.get_xscale() == "log"


def test_labels_that_would_touch_are_left_out() -> None:
    assert apart([0.0, 0.05, 0.5, 0.97, 1.0], [0.1] * 5) == [0, 2, 4]
    assert apart([0.0, 0.01], [0.1, 0.1]) == [0]
    assert apart([], []) == []


def test_a_baseline_off_the_axes_has_a_mark_of_its_own(make: Make) -> None:
    results = make(axes={"glu_expansion": (2.0, 2.66)})
    first, *rest = results.cells
    values = {**first.cell.values, "feed_forward": "reglu"}
    baseline = replace(first, cell=replace(first.cell, values=values))
    design = next(one for one in results.designs if one.is_baseline)
    apart_from_it = replace(design, values={**design.values, "feed_forward": "reglu"})
    results = replace(
        results,
        cells=(baseline, *rest, first),
        designs=(
            apart_from_it,
            *(replace(one, is_baseline=False) for one in results.designs),
        ),
    )
    figure = axis_plot(results, "glu_expansion").figure
    assert [text.get_text() for text in figure.legends[-1].get_texts()] == ["feed-forward reglu"]
    assert len(_points(figure.axes[-1], "*")) == 1


def test_a_line_follows_an_axis_with_what_is_paired_with_it(tmp_path: Path) -> None:
    axes = {"embedding_ratio": (0.25, 0.35), "vocab_size": (2_000, 4_096), "n_heads": (2, 4)}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes) as journal:
        results = summarise(journal)
    own = replace(
        results, sweep=replace(results.sweep, paired=(("embedding_ratio", "vocab_size"),))
    )
    assert own.apart_from("embedding_ratio") == ["n_heads"]
    assert own.apart_from("n_heads") == ["embedding_ratio", "vocab_size"]
    plot = axis_plot(own, "vocab_size")
    assert (
        "A line joins cells that differ only in vocabulary, and in the embedding share that goes "
        "with it."
    ) in plot.caption
