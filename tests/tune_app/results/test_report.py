"""The page is whole in itself, says no more than is true, and trusts no text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.journals import EXPANSIONS, SHARES, make_journal
from tests.tune_app.results.browser import look
from tune_app.journal.records import CellEvaluation, Failure, FailureClass
from tune_app.results.caveats import caveats
from tune_app.results.charts.axes import axis_charts
from tune_app.results.charts.chart import Chart
from tune_app.results.charts.costs import cost_chart
from tune_app.results.charts.curves import curve_charts
from tune_app.results.charts.optuna_views import has_data
from tune_app.results.charts.replay import replay_charts, reported_of
from tune_app.results.plots.curves import curves_plot
from tune_app.results.plots.style import Styles
from tune_app.results.report import Picture, write_report
from tune_app.results.summary import SweepResults, summarise

_PICTURES = [Picture(name="curves", png=b"\x89PNG", caption="A <line> is a cell.")]


@pytest.fixture
def with_views() -> None:
    """For a test that looks at Optuna's views."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's views and a replay of hundreds of orders take nearly all of the time of a page."""
    monkeypatch.setattr("tune_app.replay.reported._MOST_ORDERS", 10)
    if "with_views" not in request.fixturenames:
        monkeypatch.setattr("tune_app.results.report.optuna_views", lambda _: [])


def test_other_schedulers_are_replayed_where_enough_was_trained(tmp_path: Path) -> None:
    few = _page(_results(tmp_path), tmp_path)
    assert "No figure of what other schedulers would have cost: 4 of 11 cells were trained" in few
    axes = {"glu_expansion": [2.0, 2.66, 3.0, 4.0], "embedding_ratio": [0.25, 0.35]}
    (tmp_path / "all").mkdir()
    whole = _results(tmp_path / "all", axes=axes)
    found = reported_of(whole)
    assert (found.complete, found.competed, found.why_not) == (8, 8, "")
    by_name = {one.name: one for one in found.tallies}
    assert by_name["oracle"].regret == 0 < by_name["random"].regret
    assert {"asha", "halving", "optuna-median"} < set(by_name)
    regret, kills = replay_charts(found)
    assert len(regret.data) == 3 * len(found.tallies)
    assert "random" in kills.data[0]["x"]
    page = _page(whole, tmp_path)
    assert "No figure of what" not in page and 'id="chart-replay-kills"' in page


def _results(tmp_path: Path, **what: Any) -> SweepResults:
    with make_journal(tmp_path / "journal.sqlite3", **what) as journal:
        return summarise(journal)


def _chart(charts: Iterable[Chart], name: str) -> Chart:
    (found,) = (chart for chart in charts if chart.name == name)
    return found


def _page(results: SweepResults, tmp_path: Path) -> str:
    write_report(results, _PICTURES, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def _section(page: str, title: str) -> str:
    _, _, after = page.partition(f"<h2>{title}</h2>")
    return after.partition("</section>")[0]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    page = _page(_results(tmp_path), tmp_path)
    library = re.search(r'<script id="plotly">.*?</script>', page, re.DOTALL)
    assert library is not None and page.count("plotly.js v") == 1, "the library is in it once"
    links = _Links()
    links.feed(page)
    assert links.links and all(link.startswith("data:image/png;base64,") for link in links.links)
    assert "link" not in links.tags
    # And if a text of the sweep got through as markup, the browser would load nothing for it.
    assert "default-src 'none'; img-src data:;" in page
    rest = page.replace(library[0], "")
    assert "url(" not in rest and "@import" not in rest and not re.search(r"https?://", rest)


@pytest.mark.usefixtures("with_views")
def test_charts_are_in_the_page_with_their_data(tmp_path: Path) -> None:
    page = _page(_results(tmp_path), tmp_path)
    element = r'<script type="application/json" data-chart="chart-([\w-]+)">(.*?)</script>'
    found = dict(re.findall(element, page))
    assert {"curves", "gaps", "map", "effects", "pareto"} <= found.keys()
    views = {name for name in found if name.startswith("optuna-")}
    kinds = ("importance", "slice", "contour", "rank", "intermediate", "history", "edf")
    assert views == {f"optuna-{kind}" for kind in kinds}
    for name, text in found.items():
        assert all(has_data(trace) for trace in json.loads(text)["data"]), name
    stops = [t for t in json.loads(found["curves"])["data"] if t["name"] == "stopped"]
    assert "is not in the better half" in " ".join(stops[0]["text"]).replace("<br>", " ")


def test_a_field_without_a_score_is_named_once(tmp_path: Path) -> None:
    """Plotly writes a heat map's text even where there is no value."""
    field, names = _chart(axis_charts(_results(tmp_path)), "map").data
    fields = [
        (score is not None, told != "")
        for row, texts in zip(field["z"], field["text"], strict=True)
        for score, told in zip(row, texts, strict=True)
    ]
    assert set(fields) == {(True, True), (False, False)}
    assert len(names["text"]) == fields.count((False, False))


def test_charts_have_the_colours_of_the_plots(tmp_path: Path) -> None:
    results = _results(tmp_path)
    drawn = {
        line["name"].removesuffix(" (baseline)"): line["line"]["color"]
        for line in _chart(curve_charts(results), "curves").data
        if line["mode"] == "lines"
    }
    styles = Styles(results)
    assert drawn == {d.label: styles.of(d).colour for d in results.designs if d.label in drawn}
    assert len(set(drawn.values())) == len(SHARES)


def test_every_stop_is_told_with_its_evidence(tmp_path: Path) -> None:
    section = _section(_page(_results(tmp_path), tmp_path), "Decisions: why was this cell stopped?")
    assert section.count("<details") == 10, "all cells with a decision, the stopped ones first"
    first = section.partition("</details>")[0]
    assert "stopped by" in first and "recorded 5; rung 37500" in first
    assert re.search(r"It was \d+\. of \d+ that were ever scored at these tokens", first)
    assert "75% of its tokens were not trained" in first


def test_a_measured_latency_is_a_cost_of_its_own(tmp_path: Path) -> None:
    results = _results(tmp_path, axes={"embedding": ("tied",)})
    (chart,) = cost_chart(results)
    names = [one["label"] for one in chart.layout["updatemenus"][0]["buttons"]]
    assert names == ["FLOPs", "seconds", "parameters"]
    measured = CellEvaluation(
        cell="", suite="latency", split="128", metrics={"decode_seconds": 0.25}
    )
    (design,) = results.designs
    (trial,) = design.trials
    cells = tuple(replace(cell, evaluations=(measured,)) for cell in trial.cells)
    known = replace(design, trials=(replace(trial, cells=cells),))
    (chart,) = cost_chart(replace(results, designs=(known,)))
    names = [one["label"] for one in chart.layout["updatemenus"][0]["buttons"]]
    assert names == ["FLOPs", "seconds", "latency", "parameters"]
    assert chart.data[5]["x"] == [0.25]


def test_a_sweep_with_one_cell_or_none_evaluated_has_a_page(tmp_path: Path) -> None:
    axes: dict[str, Any] = {"embedding": ("tied",)}
    for name, fates in (("one", {}), ("none", {("tied",): "pending"})):
        (tmp_path / name).mkdir()
        page = _page(_results(tmp_path / name, axes=axes, fates=fates), tmp_path)
        assert ("plotly.js v" in page) == (name == "one")


@pytest.mark.sweeps
@pytest.mark.usefixtures("with_views")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_every_chart_and_reports_no_error(tmp_path: Path, width: int) -> None:
    write_report(_results(tmp_path, seeds=(0, 1)), _PICTURES, tmp_path / "report.html")
    seen = look(tmp_path / "report.html", tmp_path, width=width)
    assert seen["errors"] == []
    assert len(seen["charts"]) == 12
    for chart in seen["charts"]:
        assert chart["drawn"] and chart["points"] and chart["hovered"], chart
    assert seen["page"] <= seen["window"], "nothing sticks out"


def test_the_leader_is_called_what_it_is(tmp_path: Path) -> None:
    page = _page(_results(tmp_path), tmp_path)
    assert "a leader on one seed, not a verdict" in page
    assert "1.0M parameters only" in page
    assert "The leader is the baseline itself. Second is 25% × 2.66" in page


def test_with_several_seeds_the_leader_has_its_spread(tmp_path: Path) -> None:
    results = _results(tmp_path, seeds=(0, 1, 2))
    page = _page(results, tmp_path)
    assert "a leader on the mean of 3 seeds, not a verdict" in page
    assert results.leader is not None
    assert f"± {results.leader.deviation:.4f} (standard deviation of 3 seeds)" in page
    assert "2/3" in page and "flatters" in page


def test_a_leader_beside_the_baseline_shows_its_gap(tmp_path: Path) -> None:
    results = _results(tmp_path, axes={"feed_forward": ("relu2", "swiglu")})
    first, second = results.ranking
    # As if the baseline were the second.
    results = replace(
        results,
        designs=(replace(first, is_baseline=False), replace(second, is_baseline=True)),
    )
    page = _page(results, tmp_path)
    assert first.mean is not None and second.mean is not None
    assert f"\N{MINUS SIGN}{second.mean - first.mean:.4f}" in page.split("</section>")[0]
    assert f"The baseline, {second.label}, has {second.mean:.4f}." in page


def test_finished_and_stopped_cells_never_share_a_table(tmp_path: Path) -> None:
    page = _page(_results(tmp_path), tmp_path)
    ranking, stopped = (
        _section(page, "Finished, lowest bits per byte first"),
        _section(page, "Stopped before the end"),
    )
    assert re.findall(r"<td>(\d\d% × [\d.]+)</td>", ranking) == [
        "35% × 2.66",
        "25% × 2.66",
        "35% × 3",
        "25% × 2",
    ]
    labels = re.findall(r"<td>(\d\d% × [\d.]+)</td>", stopped)
    assert len(labels) == 6 and "35% × 2.66" not in labels
    for rule in ("ASHA", "kill rule", "diverged"):
        assert rule in stopped


def test_a_rule_that_this_version_does_not_know_is_called_by_its_name(tmp_path: Path) -> None:
    results = _results(tmp_path, fates={(0.25, 2.0): "unknown 3"})
    unknown = replace(results, sweep=replace(results.sweep, scheduler={"name": "some_later_rule"}))
    page = _page(unknown, tmp_path)
    assert "some later rule" in _section(page, "Stopped before the end")
    legend = curves_plot(unknown).figure.legends[-1]
    assert "stopped: some later rule" in [text.get_text() for text in legend.get_texts()]


def test_what_training_reported_is_listed_by_cell_with_its_units(tmp_path: Path) -> None:
    section = _section(_page(_results(tmp_path), tmp_path), "Training")
    assert re.findall(r'<th class="number">([^<]+)</th>', section) == [
        "tokens",
        "training loss, nats/token",
        "learning rate of the reference",
        "gradient norm before clipping",
    ]
    row = section[section.index("<td>35% × 2.66</td>") :]
    assert re.findall(r'<td class="number">([^<]+)</td>', row)[3] == "0.5"


def test_the_ranking_has_the_sizes_of_its_cells(tmp_path: Path) -> None:
    results = _results(tmp_path)
    size = results.ranking[0].finished[0].cell.config
    assert size is not None
    cells = re.findall(
        r'<td class="number">([^<]*)</td>',
        _section(_page(results, tmp_path), "Finished, lowest bits per byte first"),
    )
    assert f"{size['d_model']} × {size['n_layers']}" in cells and str(size["d_ff"]) in cells


def test_text_of_errors_is_no_markup(tmp_path: Path) -> None:
    page = _page(_results(tmp_path), tmp_path)
    failed = _section(page, "Failed")
    assert "DataLoader &lt;worker&gt; ran out" in failed and "<worker>" not in page
    assert "<details>" in failed and "<details open" not in failed
    assert "Traceback (most recent call last)" in failed
    assert "A &lt;line&gt; is a cell." in page


def test_failures_have_class_host_tokens_cause_and_remedy(tmp_path: Path) -> None:
    fates = {(0.25, 2.0): "lost 3", (0.45, 2.0): "diverged 3", (0.45, 3.0): "failed 1"}
    page = _page(_results(tmp_path, fates=fates), tmp_path)
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)
        for row in _section(page, "Failures and resumes").split("<tr>")
    ]
    assert ["25% × 2", "finished", "2", "1", "53k", "worker-2"] in rows
    died = ["the worker&#39;s process is gone", "the node died", "retried"]
    assert ["25% × 2", "host", "worker-1", "56k", *died] in rows
    not_known = ["dev bits per byte is nan", "unknown", "–"]
    assert ["45% × 2", "numbers", "–", "56k", *not_known] in rows
    failed = re.sub(r"\s+", " ", _section(page, "Failed"))
    assert "code failure at 19k tokens in attempt 1; cause unknown" in failed


def test_a_failure_without_a_traceback_says_so(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[2]
        journal.fail(
            Failure(
                cell=cell.key, kind=FailureClass.HOST, reason="<gone>", traceback="", ended=True
            )
        )
        page = _page(summarise(journal), tmp_path)
    assert "No traceback is available." in _section(page, "Failed")
    assert "&lt;gone&gt;" in page and "<gone>" not in page


def test_a_host_that_is_lost_again_and_again_does_not_fill_the_page(tmp_path: Path) -> None:
    axes = {"embedding": ("tied",)}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes) as journal:
        for number in range(120):
            journal.fail(
                Failure(
                    cell=journal.cells()[0].key,
                    kind=FailureClass.HOST,
                    reason=f"loss {number} of many",
                    traceback="",
                    ended=False,
                )
            )
        page = _page(summarise(journal), tmp_path)
    assert re.findall(r"loss (\d+) of many", page) == [str(number) for number in range(20, 120)]
    assert "20 earlier ones are in failures.jsonl" in page


def test_a_sweep_without_failures_has_no_section_of_them(tmp_path: Path) -> None:
    page = _page(_results(tmp_path, axes={"embedding": ("tied", "untied")}), tmp_path)
    assert "Failures and resumes" not in page and "<h2>Failed" not in page


def test_infeasible_cells_have_their_reason_and_the_settings_their_numbers(tmp_path: Path) -> None:
    results = _results(tmp_path)
    page = _page(results, tmp_path)
    assert "nearest 1.01M; lower the share" in _section(page, "Infeasible")
    settings = _section(page, "Settings")
    assert results.sweep.corpus_sha256 in settings
    assert "best 1/2 of the earlier arrivals at 37,500, 75,000 tokens" in settings
    assert "30,000 tokens" in settings and "torch 2.13.0" in settings
    assert results.saved_share is not None
    assert f"saved {results.saved_share:.0%} of the training FLOPs" in _section(
        page, "What was spent"
    )
    assert "219f9e30a3b1, changed" in settings


def test_a_sweep_that_has_not_begun_has_no_leader(tmp_path: Path) -> None:
    fates = {(share, expansion): "pending" for share in SHARES for expansion in EXPANSIONS}
    page = _page(_results(tmp_path, fates=fates), tmp_path)
    assert "No leader yet" in page and "Finished, lowest bits per byte first" not in page
    assert "12 of 12 cells are still to train" in re.sub(r"\s+", " ", page)


def test_equal_journals_make_equal_pages(tmp_path: Path) -> None:
    results = _results(tmp_path)
    assert _page(results, tmp_path) == _page(results, tmp_path)


def test_caveats_hold_for_the_sweep_at_hand(tmp_path: Path) -> None:
    text = " ".join(caveats(_results(tmp_path)))
    assert "0.15 tokens per parameter" in text
    assert "Embedding share and shape are confounded" in text
    assert "from d_model 61 with 20 layers to d_model 110 with 3" in text
    assert "In three cells of quick the others moved the score by" in text
    assert "ASHA stopped 4 of 12 cells" in text
    # ln(1 + 0.5 / 144.1)
    assert "margin of 0.5 perplexity is 0.0035 nats per token" in text


@pytest.mark.parametrize(
    ("what", "absent"),
    [
        ({"axes": {"embedding": ("tied", "untied")}}, ("confounded", "expansion", "ASHA")),
        ({"tokens": 40_000_000}, ("Few tokens",)),
        ({}, ("tokenizers", "still to train", "spares the lucky ones")),
    ],
)
def test_caveats_that_do_not_hold_are_left_out(
    tmp_path: Path, what: dict[str, Any], absent: tuple[str, ...]
) -> None:
    text = " ".join(caveats(_results(tmp_path, **what)))
    assert not [words for words in absent if words in text]


def test_a_leader_at_the_edge_of_the_grid_is_pointed_out(tmp_path: Path) -> None:
    text = " ".join(caveats(_results(tmp_path, axes={"embedding_ratio": (0.35, 0.45)})))
    assert "at the edge of the grid, at embedding share 35%" in text
