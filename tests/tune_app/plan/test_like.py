"""A space at the shape of a model like a preset."""

from __future__ import annotations

import pytest

from model.presets import PRESETS, Ratios
from model.spec import ModelConfig
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes


def test_all_cells_have_the_presets_proportions_and_differ_in_the_axis_alone() -> None:
    space = Space(
        name="x",
        axes={"feed_forward": ["swiglu", "relu"]},
        fixed={"d_model": 224, "n_layers": 11, "vocab_size": 8_000, "glu_expansion": None},
    )
    plan = make_plan(space, Wishes(like="yxanul-factorized", target_parameters=6_000_000))
    configs = [ModelConfig(**cell.config) for cell in plan.cells if cell.config is not None]
    assert [one.feed_forward for one in configs] == ["swiglu", "relu"]
    for config in configs:
        assert (config.vocab_size, config.embedding) == (8_000, "factorized_untied")
        kept, wanted = Ratios.of(config), Ratios.of(PRESETS["yxanul-factorized"].config)
        assert kept.group == wanted.group
        assert kept.depth == pytest.approx(wanted.depth, rel=0.2)
        assert kept.rank == pytest.approx(wanted.rank, rel=0.05)
    shapes = {
        (c.d_model, c.n_layers, c.n_heads, c.head_dim, c.embedding_rank) for c in configs if c
    }
    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("axes", "like", "message"),
    [
        ({"glu_expansion": [2.0, 4.0]}, "yxanul", "fixes the sizes of all cells.*glu_expansion"),
        ({"feed_forward": ["relu"]}, "yxanull", "did you mean yxanul"),
    ],
)
def test_what_cannot_be_is_refused(axes: dict[str, list[object]], like: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(Space(name="x", axes=axes), Wishes(like=like))
