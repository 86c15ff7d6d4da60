"""A cell: everything that determines a trial's result, as plain values with a stable key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from data.tokenizers.spec import TokenizerSpec
from model.spec import ModelSpec
from model.training.settings import TrainingConfig, TrainingSettings
from tune_app.plan import identity
from tune_app.plan.former_names import former_key
from tune_app.plan.tokenizer import (
    KIND,
    OPTIONS,
    SIZE,
    TOKENIZER_FIELDS,
    tokenizer_of,
    tokenizer_values,
)

BASELINE_MODEL: Mapping[str, Any] = {
    "embedding_ratio": 0.35,
    "glu_expansion": 2.66,
    "feed_forward": "swiglu",
    "embedding": "tied",
    "attention": "multi_head",
    "norm": "rms_norm",
    "d_model": None,
    "n_layers": None,
    "head_dim": None,
    "d_ff": None,
}
"""What the baseline is unless a space says otherwise; the rest it shares with the cell. Sizes that
a cell pins are its own; those of a space's FIXED hold for the baseline too."""

_MODEL_FIELDS = tuple(field.name for field in fields(ModelSpec))
_OWN_FIELDS = (*_MODEL_FIELDS, *TOKENIZER_FIELDS)


@dataclass(frozen=True, kw_only=True)
class TrialSettings(TrainingSettings):
    """How a cell is trained and scored. Raises ValueError for values that no trial could have."""

    corpus: str = "stdlib"
    """A name or a path that data.prepare knows."""
    tokens: int = 5_000_000
    """Tokens to train, in the baseline's tokens (the same text for every tokenizer)."""
    evaluations: int = 20
    """Evaluations a trial, evenly spaced; one at its end."""
    evaluation_bytes: int = 262_144
    """Dev text scored at each of them, in bytes of whole documents; the last scores all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tokens", "evaluations", "evaluation_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


_SETTINGS_FIELDS = tuple(field.name for field in fields(TrialSettings))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model, trained one way, on one seed."""

    model: ModelSpec
    baseline: ModelSpec
    """Whose learning rate is transferred and whose tokens are the unit."""
    tokenizer: TokenizerSpec
    baseline_tokenizer: TokenizerSpec
    settings: TrialSettings
    seed: int = 0

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Cell:
        """A cell from a flat mapping; what it leaves out takes its default.

        A baseline that names no tokenizer has the cell's. A file that a tokenizer names is read,
        once: the cell's own values have its SHA-256.

        Raises ValueError for an unknown name or an impossible value.
        """
        rest = dict(values)
        seed = rest.pop("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2³² - 1")
        baseline_values = rest.pop("baseline", {})
        if not isinstance(baseline_values, Mapping):
            raise ValueError(f"baseline is {baseline_values!r}; it must be a mapping of values")
        model_values = {name: rest.pop(name) for name in _MODEL_FIELDS if name in rest}
        tokenizer_names = {name: rest.pop(name) for name in TOKENIZER_FIELDS if name in rest}
        settings_values = {name: rest.pop(name) for name in _SETTINGS_FIELDS if name in rest}
        for name in rest:
            known = (*_OWN_FIELDS, *_SETTINGS_FIELDS, "seed", identity.BASELINE)
            raise ValueError(identity.unknown_setting(name, known))
        for name in baseline_values:
            if name not in _OWN_FIELDS:
                message = identity.unknown_setting(name, _OWN_FIELDS)
                raise ValueError(f"the baseline: {message}")
        model = ModelSpec(**model_values)
        baseline_model = {k: v for k, v in baseline_values.items() if k in _MODEL_FIELDS}
        baseline = ModelSpec.from_values({**model.values(), **BASELINE_MODEL, **baseline_model})
        if KIND in baseline_values or OPTIONS in baseline_values:
            baseline_names = {k: v for k, v in baseline_values.items() if k in TOKENIZER_FIELDS}
        else:
            baseline_names = tokenizer_names
        return cls(
            model=model,
            baseline=baseline,
            tokenizer=_resolved(model, tokenizer_names),
            baseline_tokenizer=_resolved(baseline, baseline_names),
            settings=TrialSettings(**settings_values),
            seed=seed,
        )

    def values(self) -> dict[str, Any]:
        """All values, defaults included, flat; `from_values` reads them back."""
        return {
            **self.own_model(),
            **asdict(self.settings),
            "seed": self.seed,
            "baseline": {**self.baseline.values(), **tokenizer_values(self.baseline_tokenizer)},
        }

    def own_model(self) -> dict[str, Any]:
        """The model and its tokenizer: what another cell has as its `baseline`."""
        return {**self.model.values(), **tokenizer_values(self.tokenizer)}

    @property
    def key(self) -> str:
        """A hash of the values: equal for equal cells, on any machine (see `identity`)."""
        values = self.values()
        values[OPTIONS] = self.tokenizer.identity
        values[identity.BASELINE][OPTIONS] = self.baseline_tokenizer.identity
        return identity.key_of(values)

    @property
    def former_key(self) -> str | None:
        """The key that the first versions gave the cell, under which checkpoints may lie; None
        where it has a setting that they did not know."""
        return former_key(self.values(), identity.FROZEN_DEFAULTS)

    def training_config(
        self, *, tokens: int | None = None, micro_batch_size: int | None = None
    ) -> TrainingConfig:
        """The training of the cell on `tokens` of its own tokens; default as many as its settings
        name, which is right where its tokenizer is the baseline's."""
        return TrainingConfig.of_run(
            self.settings,
            tokens=self.settings.tokens if tokens is None else tokens,
            seed=self.seed,
            micro_batch_size=micro_batch_size,
        )

    def with_seed(self, seed: int) -> Cell:
        return replace(self, seed=seed)


def _resolved(model: ModelSpec, names: Mapping[str, Any]) -> TokenizerSpec:
    return tokenizer_of({**names, SIZE: model.vocab_size}).resolved()
