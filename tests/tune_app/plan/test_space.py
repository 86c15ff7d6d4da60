"""Search spaces: files of plain values become lists of cells, the baseline first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.sizing.budget import solve
from model.sizing.counts import count_parameters
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space, SpaceError, expand
from tune_app.plan.space_file import known_spaces, load_space
from tune_app.plan.wishes import Wishes


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "cells"), [("quick", 12), ("embedding_glu", 12), ("embedding", 6), ("glu", 16)]
)
def test_the_spaces_of_the_project(name: str, cells: int) -> None:
    expanded = expand(load_space(name), {}, seeds=[0]).cells
    assert len(expanded) == cells
    baseline = expanded[0]
    assert baseline.model == baseline.baseline
    assert (baseline.model.embedding_ratio, baseline.model.glu_expansion) == (0.35, 2.66)
    assert (baseline.model.feed_forward, baseline.model.embedding) == ("swiglu", "tied")
    assert len({cell.key for cell in expanded}) == cells
    assert {cell.baseline for cell in expanded} == {baseline.model}


@pytest.mark.parametrize(
    ("name", "equal"),
    [
        ("glu_family", ("d_model", "n_layers", "n_heads", "head_dim")),
        ("factorized", ("d_model",)),
        ("heads", ("d_model",)),
        ("moe", ("d_model", "n_layers", "n_heads", "head_dim")),
    ],
)
@pytest.mark.parametrize("scale", ["", "quick_"])
def test_what_a_space_holds_equal(name: str, equal: tuple[str, ...], scale: str) -> None:
    cells = make_plan(load_space(f"{scale}{name}"), Wishes()).cells
    assert not [cell.reason for cell in cells if cell.config is None]
    for size in equal:
        assert len({cell.config[size] for cell in cells if cell.config}) == 1


def test_feed_forwards_of_two_matrices_get_half_as_much_inner_width_again() -> None:
    cells = make_plan(load_space("glu_family"), Wishes()).cells
    inner = {cell.values["feed_forward"]: cell.config["d_ff"] for cell in cells if cell.config}
    for two in ("relu", "gelu", "relu_squared"):
        assert inner[two] == pytest.approx(1.5 * inner["swiglu"], rel=0.01)


def test_experts_have_the_baseline_s_parameters_in_all_or_for_a_token() -> None:
    cells = make_plan(load_space("moe"), Wishes()).cells
    assert cells[0].label == "swiglu × none × none × none × total"
    for cell in cells:
        assert cell.parameters is not None
        counted = cell.parameters[cell.values["budget"]]
        assert counted == pytest.approx(10_000_000, rel=0.005)
    budgets = [cell.values["budget"] for cell in cells if cell.values["feed_forward"] == "moe"]
    assert budgets.count("total") == budgets.count("active") > 1


def test_factorized_shares_differ_by_the_rank_alone_and_depth_makes_room() -> None:
    cells = make_plan(load_space("factorized"), Wishes()).cells[1:]
    for cell in cells:
        assert cell.config is not None and cell.parameters is not None
        asked = cell.values["embedding_ratio"]
        assert cell.parameters["embedding_share"] == pytest.approx(asked, abs=0.01)
        assert cell.config["embedding_rank"] < cell.config["d_model"]


def test_every_file_in_the_folder_is_a_space() -> None:
    assert {"embedding", "embedding_glu", "glu", "quick"} < set(known_spaces())
    for name in known_spaces():
        load_space(name)


@pytest.mark.parametrize("name", ["polyglu", "quick_polyglu"])
def test_feed_forwards_are_compared_at_equal_width_and_depth(name: str) -> None:
    models = [solve(cell.model) for cell in expand(load_space(name), {}, seeds=[0]).cells]
    assert {model.feed_forward for model in models} == {"swiglu", "geglu", "reglu", "polyglu"}
    shapes = {(one.d_model, one.n_layers, one.n_heads, one.head_dim) for one in models}
    assert len(shapes) == 1
    totals = [count_parameters(model).total for model in models]
    assert max(totals) / min(totals) < 1.005
    widths = {model.feed_forward: model.d_ff for model in models}
    assert widths["polyglu"] < widths["swiglu"] == widths["geglu"] == widths["reglu"]


@pytest.mark.parametrize("name", ["attention", "quick_attention"])
def test_attentions_are_compared_at_equal_width_and_depth(name: str) -> None:
    cells = expand(load_space(name), {}, seeds=[0]).cells
    models = [solve(cell.model) for cell in cells]
    assert len(models) == 8, "the baseline is one of them"
    assert (models[0].attention, models[0].n_kv_heads) == ("multi_head", None)
    assert {(model.attention, model.n_kv_heads) for model in models} == {
        (attention, kv) for attention in ("multi_head", "qk_norm") for kv in (None, 1)
    }
    assert len({(one.d_model, one.n_layers, one.d_attention) for one in models}) == 1
    totals = [count_parameters(model).total for model in models]
    assert max(totals) / min(totals) < 1.005


def test_the_baseline_is_in_front_even_where_the_grid_does_not_hold_it(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, "AXES = {'glu_expansion': [2.0, 4.0]}"))
    cells = expand(space, {}, seeds=[0]).cells
    assert [cell.model.glu_expansion for cell in cells] == [2.66, 2.0, 4.0]


def test_a_space_may_choose_its_own_baseline(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "AXES = {'vocab_size': [4096, 8192]}\nBASELINE = {'vocab_size': 8192}\n"
            "FIXED = {'embedding_ratio': 0.25}",
        )
    )
    cells = expand(space, {}, seeds=[0]).cells
    assert [cell.model.vocab_size for cell in cells] == [8192, 4096]
    assert all(cell.baseline.embedding_ratio == 0.25 for cell in cells)


def test_seeds_multiply_the_cells_and_the_baselines_come_first() -> None:
    cells = expand(load_space("quick"), {}, seeds=[3, 5]).cells
    assert len(cells) == 24
    assert [cell.seed for cell in cells[:4]] == [3, 5, 3, 5]
    assert cells[0].model == cells[1].model == cells[0].baseline


def test_overrides_replace_fixed_values_and_not_axes() -> None:
    cells = expand(load_space("quick"), {"tokens": 1_000, "learning_rate": 0.1}, seeds=[0]).cells
    assert {cell.settings.tokens for cell in cells} == {1_000}
    assert {cell.settings.learning_rate for cell in cells} == {0.1}
    with pytest.raises(SpaceError, match="glu_expansion is an axis of the space 'quick'"):
        expand(load_space("quick"), {"glu_expansion": 3.0}, seeds=[0])


def test_distributions_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    text = (
        "from optuna.distributions import FloatDistribution\n"
        "AXES = {'embedding_ratio': FloatDistribution(0.2, 0.5),"
        " 'feed_forward': ['swiglu', 'reglu']}\n"
        "SAMPLES = 3\n"
    )
    space = load_space(write(tmp_path, text))
    cells = expand(space, {}, seeds=[0]).cells
    assert cells == expand(space, {}, seeds=[0]).cells
    assert len(cells) == 1 + 2 * 3
    assert all(0.2 <= cell.model.embedding_ratio <= 0.5 for cell in cells)
    others = expand(space, {}, seeds=[1]).cells
    assert [cell.with_seed(0) for cell in others] == list(cells)
    assert cells[1:] != expand(space, {}, seeds=[0], draw_seed=1).cells[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no AXES"),
        ("AXES = {}", "has no AXES"),
        ("AXES = {'n_heads': 4}", "n_heads is 4; it must be a list"),
        ("AXES = {'n_heads': []}", "n_heads is \\[\\]; it must be a list"),
        ("AXES = {'n_heads': [4]}\nFIXD = {}", "sets unknown FIXD; expected AXES, NUISANCE, FIXED"),
        ("AXES = {'n_heads': [4]}\nRATE = 1", "unknown RATE; .* your own must not be all capitals"),
        ("AXES = {'embedding': 'tied'}", "is 'tied'; it must be a list of values: \\['tied'\\]"),
        ("AXES = {'n_heads': (n for n in (2, 4))}", "it must be a list of values: list\\(…\\)"),
        ("AXES = {'n_heads': {2, 4}}", "it must be a list of values: list\\(…\\)"),
        ("AXES = {'n_heads': {'grid_search': [2]}}", "or a distribution from optuna.distributions"),
        ("AXES = {'n_heads': [4]}\nSAMPLES = 3", "SAMPLES is 3, but no axis is a distribution"),
        ("AXES = {'n_heads': [4]}\nBASELINE = {'seed': 3}", "sets a seed; use --seeds"),
        ("import sys\nsys.exit(0)", "cannot be read: SystemExit: 0"),
        ("AXES = {", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        (
            "import optuna.distributions as o\nAXES = {'n_heads': o.IntDistribution(1, 8)}",
            "SAMPLES must say how many",
        ),
    ],
)
def test_a_file_that_is_no_space_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(write(tmp_path, text))


def test_numbers_may_come_from_numpy_and_ranges(tmp_path: Path) -> None:
    text = (
        "import numpy as np\n"
        "AXES = {'learning_rate': np.logspace(-3, -2, 2), 'n_layers': range(2, 4),\n"
        "        'weight_decay': [np.float32(0.1)], 'betas': [np.array([0.9, 0.99])]}\n"
        "FIXED = {'tokens': 5e6, 'batch_size': np.int64(8), 'deterministic': np.True_}\n"
    )
    cells = expand(load_space(write(tmp_path, text)), {}, seeds=[0]).cells
    plain_text = (
        "AXES = {'learning_rate': [0.001, 0.01], 'n_layers': [2, 3],\n"
        "        'weight_decay': [0.1], 'betas': [(0.9, 0.99)]}\n"
        "FIXED = {'tokens': 5_000_000, 'batch_size': 8, 'deterministic': True}\n"
    )
    assert cells == expand(load_space(write(tmp_path, plain_text)), {}, seeds=[0]).cells
    assert len(cells) == 1 + 4
    assert json.loads(json.dumps(cells[1].values()))["learning_rate"] == 0.001


def test_counts_may_be_text_as_with_set() -> None:
    space = Space(
        name="x",
        axes={"vocab_size": ["4k", "8k", 8_000]},
        fixed={"tokens": "20k", "target_parameters": "5M"},
        baseline={"vocab_size": "8k"},
    )
    cells = expand(space, {}, seeds=[0]).cells
    assert [cell.model.vocab_size for cell in cells] == [8_000, 4_000]
    assert {cell.settings.tokens for cell in cells} == {20_000}


def test_a_value_that_is_listed_twice_is_one_cell() -> None:
    space = Space(name="x", axes={"glu_expansion": [2, 2.0, 2.66]})
    assert len(expand(space, {}, seeds=[0]).cells) == 2


def test_an_unknown_name_suggests_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="did you mean quick"):
        load_space("quik")
    with pytest.raises(SpaceError, match="no search space at"):
        load_space(str(tmp_path / "missing.py"))


def test_unknown_values_in_a_space_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown setting 'wdith'; expected one of"):
        expand(Space(name="x", axes={"wdith": [1]}), {}, seeds=[0])


def test_seeds_are_needed_and_distinct() -> None:
    for seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="seeds are"):
            expand(load_space("quick"), {}, seeds=seeds)
