"""Models of known shape, by name, and smaller ones of the same proportions.

A preset is a line of PRESETS; the counts are checked in tests/model/test_presets.py. Works without
torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.sizing.budget import InfeasibleBudget, solve
from model.sizing.counts import count_parameters
from model.sizing.domain import MAX_DEPTH, MIN_DEPTH, MIN_WIDTH
from model.spec import ModelConfig, ModelSpec

DEPTHS_TRIED = 3
"""Depths around the proportional one for which sizes are searched."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model of known shape."""

    config: ModelConfig
    about: str
    """Where the shape is from."""


_YXANUL = ModelConfig(
    vocab_size=50_257,
    context=1_024,
    d_model=768,
    n_layers=12,
    n_heads=12,
    n_kv_heads=3,
    head_dim=64,
    d_ff=2_048,
)
_FACTORIZED = {"embedding": "factorized_untied", "embedding_rank": 128}

PRESETS: Mapping[str, Preset] = {
    "stellux-10m": Preset(
        config=ModelConfig(
            vocab_size=16_000,
            context=256,
            d_model=224,
            n_layers=11,
            n_heads=4,
            head_dim=52,
            d_ff=592,
        ),
        about="this project's baseline",
    ),
    "scaletrain": Preset(
        config=ModelConfig(
            vocab_size=16_000,
            context=256,
            d_model=512,
            n_layers=3,
            n_heads=4,
            head_dim=128,
            d_ff=2_048,
            feed_forward="relu",
        ),
        about="a wide and shallow ReLU model for TinyStories; the vocabulary is this project's",
    ),
    "yxanul": Preset(config=_YXANUL, about="a tied embedding of GPT-2's vocabulary"),
    "yxanul-factorized": Preset(
        config=replace(_YXANUL, **_FACTORIZED),  # type: ignore[arg-type]
        about="the same vocabulary through a rank of 128",
    ),
    "yxanul-200k": Preset(
        config=replace(_YXANUL, vocab_size=200_000, embedding="untied"),
        about="a vocabulary for superwords",
    ),
    "yxanul-200k-factorized": Preset(
        config=replace(_YXANUL, vocab_size=200_000, **_FACTORIZED),  # type: ignore[arg-type]
        about="a vocabulary for superwords through a rank of 128",
    ),
    "polychromatic-600m": Preset(
        config=ModelConfig(
            vocab_size=151_669,
            context=4_096,
            d_model=1_024,
            n_layers=28,
            n_heads=16,
            n_kv_heads=8,
            head_dim=64,
            d_ff=4_096,
            attention="qk_norm",
            feed_forward="polyglu",
        ),
        about="PolychromaticLM (arXiv 2603.13347) with a gate that reads no later token",
    ),
}


def preset(name: str) -> Preset:
    """The preset of a name. Raises ValueError for an unknown one, with the nearest known."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown preset {name!r}; {hint}expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def settings_of(config: ModelConfig) -> dict[str, Any]:
    """The settings of a cell that ask for exactly this model, without those at their defaults.

    The inner width is left free and absorbs what is left of the budget.
    """
    shape = ("vocab_size", "context", "d_model", "n_layers", "n_heads", "head_dim", "n_kv_heads")
    names = (*shape, "embedding_rank", *_KEPT)
    usual = ModelSpec()
    settings = {
        name: value
        for name in names
        if (value := getattr(config, name)) not in (None, getattr(usual, name))
    }
    return {
        "target_parameters": count_parameters(config).total,
        "embedding_ratio": None,
        "glu_expansion": None,
        **settings,
    }


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """The proportions of a model: what is kept when it is scaled."""

    expansion: float
    """d_ff / d_model."""
    heads: float
    """Heads per unit of width."""
    group: int
    """Query heads that read one key-value head."""
    attention: float
    """Width of attention / d_model."""
    depth: float
    """Layers per unit of width."""
    rank: float
    """Rank of the embedding / d_model; 0 without one."""

    @classmethod
    def of(cls, config: ModelConfig) -> Ratios:
        """The proportions of a model."""
        return cls(
            expansion=config.expansion,
            heads=config.n_heads / config.d_model,
            group=config.n_heads // (config.n_kv_heads or config.n_heads),
            attention=config.d_attention / config.d_model,
            depth=config.n_layers / config.d_model,
            rank=(config.embedding_rank or 0) / config.d_model,
        )


def scaled(
    model: ModelConfig,
    *,
    target_parameters: int,
    vocab_size: int,
    context: int | None = None,
) -> ModelConfig:
    """A model of about the same proportions with another budget and vocabulary.

    Layers per width, heads per width, query heads per key-value head, the expansion, the rank per
    width and attention's width are as near to those of `model` as whole sizes allow; the variants
    are the same. The solver's rule picks the width (model.sizing.search). Of the depths nearest to
    the proportional one, the one whose layers per width come nearest is taken.

    Raises ValueError if no sizes give the budget.
    """
    ratios = Ratios.of(model)
    context = context or model.context
    found: list[tuple[float, ModelConfig]] = []
    refused: InfeasibleBudget | None = None
    for guess in _guesses(model, ratios, target_parameters, vocab_size):
        spec = ModelSpec(
            target_parameters=target_parameters,
            vocab_size=vocab_size,
            context=context,
            embedding_ratio=None,
            glu_expansion=ratios.expansion,
            n_layers=guess.n_layers,
            n_heads=guess.n_heads,
            n_kv_heads=guess.n_kv_heads or guess.n_heads,
            embedding_rank=guess.embedding_rank,
            **{name: getattr(model, name) for name in _KEPT},
        )
        try:
            config = solve(spec)
        except InfeasibleBudget as error:
            refused = refused or error
            continue
        found.append((abs(math.log(Ratios.of(config).depth / ratios.depth)), config))
    if not found:
        reason = refused.reason if refused is not None else "the vocabulary alone takes more"
        raise ValueError(
            f"no model of these proportions has {target_parameters:,} parameters with a vocabulary "
            f"of {vocab_size:,}: {reason}; take more parameters or a smaller vocabulary"
        )
    return min(found, key=lambda one: one[0])[1]


_KEPT = (
    *("embedding", "attention", "feed_forward", "norm"),
    *("rotary_base", "document_masking", "dropout"),
)
"""Fields of a model that scaling leaves as they are."""


def _guesses(
    model: ModelConfig, ratios: Ratios, target_parameters: int, vocab_size: int
) -> Iterator[ModelConfig]:
    """Models of about the target's size, those nearest to the proportional depth first."""
    guesses = []
    for n_layers in range(MIN_DEPTH, MAX_DEPTH + 1):
        low, high = MIN_WIDTH, model.d_model * 64
        if _total(guess := _at(model, ratios, vocab_size, low, n_layers)) > target_parameters:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            trial = _at(model, ratios, vocab_size, middle, n_layers)
            if _total(trial) <= target_parameters:
                low, guess = middle, trial
            else:
                high = middle
        guesses.append((abs(math.log(n_layers / guess.d_model / ratios.depth)), guess))
    for _, guess in sorted(guesses, key=lambda one: one[0])[:DEPTHS_TRIED]:
        yield guess


def _at(
    model: ModelConfig, ratios: Ratios, vocab_size: int, d_model: int, n_layers: int
) -> ModelConfig:
    """A model of this width and depth; every other size follows from the proportions."""
    n_heads = ratios.group * max(1, round(d_model * ratios.heads / ratios.group))
    return replace(
        model,
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads // ratios.group,
        head_dim=2 * max(1, round(ratios.attention * d_model / n_heads / 2)),
        d_ff=max(1, round(ratios.expansion * d_model)),
        embedding_rank=max(1, round(ratios.rank * d_model)) if ratios.rank else None,
    )


def _total(config: ModelConfig) -> int:
    return count_parameters(config).total
