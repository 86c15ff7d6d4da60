"""`--like PRESET`: a space at the shape of a model like a preset, at the space's own budget."""

from __future__ import annotations

from dataclasses import replace

from model.presets import preset, scaled, settings_of
from model.spec import ModelSpec
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes

_DECIDE_SIZES = (
    *("target_parameters", "vocab_size", "embedding_ratio", "glu_expansion"),
    *("d_model", "n_layers", "n_heads", "head_dim", "n_kv_heads", "kv_share", "d_ff"),
    *("embedding_rank", "context"),
)


def with_preset(space: Space, wishes: Wishes) -> Wishes:
    """The wishes with the settings of a model like the preset, in place of its name.

    Width, depth, heads and variants are the scaled preset's, except for what is an axis of the
    space or set beside it; the inner width absorbs what differs between cells.

    Raises ValueError for an unknown preset, and if an axis of the space decides sizes itself.
    """
    if wishes.like is None:
        return wishes
    model = preset(wishes.like).config
    axes = {*space.axes, *space.nuisance}
    if clash := [name for name in _DECIDE_SIZES if name in axes]:
        raise ValueError(
            f"--like {wishes.like} fixes the sizes of all cells, but the space {space.name!r} "
            f"varies {clash[0]}; take a space of variants or of training, such as glu_family, or "
            "leave it out"
        )
    usual = ModelSpec()
    values = {**space.fixed, **wishes.values}
    like = scaled(
        model,
        **{
            name: values.get(name, getattr(usual, name))
            for name in ("target_parameters", "vocab_size", "context")
        },
    )
    settings = {**settings_of(like), "n_heads": like.n_heads, "d_ff": None}
    shared = {"target_parameters", "vocab_size", "context"}
    given = {name for name, _ in wishes.set}
    own = [
        (name, value)
        for name, value in settings.items()
        if name not in shared and name not in axes and name not in given
    ]
    return replace(wishes, like=None, set=(*own, *wishes.set))
