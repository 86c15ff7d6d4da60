"""A cell: everything that determines a trial's result, as plain values with a stable key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from data.counts import with_counts_read
from data.curriculum import WantedStage, check_lengths
from data.tokenizers.spec import TokenizerSpec, size_of_file
from model.experts import EXPERT_COUNTS, EXPERT_SETTINGS
from model.spec import PINS, ModelSpec
from model.training.settings import TrainingConfig, TrainingSettings
from tune_app.plan import identity
from tune_app.plan.data_settings import DATA_AS_MEANT, check_data, stages_of
from tune_app.plan.former_names import former_key
from tune_app.plan.plain import plain
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
    "embedding_rank": None,
    "n_kv_heads": None,
    "kv_share": None,
    "rotary_base": 10_000.0,
    "document_masking": False,
    "dropout": 0.0,
    "budget": "total",
    **dict.fromkeys(EXPERT_SETTINGS),
}
"""The baseline's values unless a space sets others; everything else it takes from the cell. Sizes
that a cell pins are only the cell's; sizes that a space pins in FIXED are the baseline's too."""

_MODEL_FIELDS = tuple(field.name for field in fields(ModelSpec))
_OWN_FIELDS = (*_MODEL_FIELDS, *TOKENIZER_FIELDS)
_WHOLE = frozenset(
    {
        *PINS,
        "n_kv_heads",
        *EXPERT_COUNTS,
        *(name for name, value in identity.FROZEN_DEFAULTS.items() if type(value) is int),
    }
)
"""Settings that are whole numbers."""
_MAY_BE_FREE = frozenset(
    {*PINS, "n_kv_heads", "kv_share", "embedding_ratio", "glu_expansion", *EXPERT_SETTINGS}
)
"""Settings that the solver chooses if they are None."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings(TrainingSettings):
    """How a cell is trained and scored. Raises ValueError for impossible values."""

    corpus: str = "stdlib"
    """A corpus name or a path, as `data.prepare` takes it."""
    tokens: int = 5_000_000
    """Baseline tokens to train on (the same text for every tokenizer)."""
    warmup_tokens: int = 0
    """Baseline tokens over which the learning rate rises; 0: warmup_fraction of all tokens."""
    evaluations: int = 20
    """Evaluations per trial, evenly spaced; the last one at its end."""
    evaluation_bytes: int = 262_144
    """Bytes of the dev sample; the last evaluation scores the full split too."""
    sample: str = "stretches"
    """How the dev sample is chosen: stretches of text from the whole split, by a hash."""
    mixture: tuple[float, ...] | None = None
    """Share of each corpus of a mixed one in training, as in 70/25/5; none by their size."""
    mixture_end: tuple[float, ...] | None = None
    """Their shares at the end of training, to which they change linearly; none for no change."""
    mixture_anneal: float = 0.2
    """Last part of training over which the shares change to those of the end."""
    mixture_surprise: float = 0.0
    """Multiplies each share by (dev loss / dev loss at the start) to this power at each evaluation;
    0 for shares that do not depend on losses."""
    curriculum: tuple[tuple[float, int, int | None], ...] = ()
    """Stages of shorter sequences at the start: tokens or share of training, length and, if not as
    many tokens a step as later, batch size; as in 10%:64,20%:128:32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tokens", "evaluations", "evaluation_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.warmup_tokens < self.tokens:
            raise ValueError(
                f"warmup_tokens is {self.warmup_tokens:,}; it must be 0 or more and fewer than the "
                f"{self.tokens:,} tokens of the training (0: warmup_fraction of them)"
            )
        if self.sample not in (*SAMPLES, *FORMER_SAMPLES):
            raise ValueError(f"sample is {self.sample!r}; it must be {' or '.join(SAMPLES)}")
        check_data(self)

    @property
    def stages(self) -> tuple[WantedStage, ...]:
        """The stages of the curriculum."""
        return stages_of(self.curriculum)


SAMPLES = ("stretches",)
"""Rules by which a dev sample is chosen. Scores of different rules are not compared."""
FORMER_SAMPLES = ("first_documents",)
"""Rules of older versions, whose journals are read; nothing is trained by them any more."""

_SETTINGS_FIELDS = tuple(field.name for field in fields(TrialSettings))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model, trained one way, on one seed."""

    model: ModelSpec
    baseline: ModelSpec
    """Learning rates are transferred from it, and tokens are counted by its tokenizer."""
    tokenizer: TokenizerSpec
    baseline_tokenizer: TokenizerSpec
    settings: TrialSettings
    seed: int = 0

    def __post_init__(self) -> None:
        check_lengths(self.settings.stages, context=self.model.context)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Cell:
        """A cell from a flat mapping; missing values take their defaults.

        A baseline without a tokenizer uses the cell's. A tokenizer's file is read once; after that
        the cell's values contain its SHA-256.

        The vocabulary is as large as that file says, unless `vocab_size` is given (and not None).

        Values are taken as people write them (see `as_meant`): NumPy's numbers, 5e6, 20k, free.

        Raises ValueError for an unknown name or an impossible value.
        """
        rest = as_meant(values)
        seed = rest.pop("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2³² - 1")
        baseline_values = rest.pop("baseline", {})
        if not isinstance(baseline_values, Mapping):
            raise ValueError(f"baseline is {baseline_values!r}; it must be a mapping of values")
        if rest.get(SIZE) is None and (size := size_of_file(rest.get(OPTIONS))) is not None:
            rest[SIZE] = size
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
        """All values as a flat mapping, defaults included; `from_values` reads them back."""
        return {
            **self.own_model(),
            **asdict(self.settings),
            "seed": self.seed,
            "baseline": {**self.baseline.values(), **tokenizer_values(self.baseline_tokenizer)},
        }

    def own_model(self) -> dict[str, Any]:
        """The model and its tokenizer, as another cell takes them for its `baseline`."""
        return {**self.model.values(), **tokenizer_values(self.tokenizer)}

    @property
    def key(self) -> str:
        """A hash of the values: equal for equal cells, on any machine (see `identity`)."""
        values = self.values()
        values[OPTIONS] = self.tokenizer.identity
        values[identity.BASELINE][OPTIONS] = self.baseline_tokenizer.identity
        return identity.key_of(values)

    @property
    def meaning(self) -> str:
        """As `key`, but equal for cells whose tokenizers differ only in how they are written: with
        a default named or left out. No cell is recorded under it."""
        values = self.values()
        values[OPTIONS] = self.tokenizer.meant
        values[identity.BASELINE][OPTIONS] = self.baseline_tokenizer.meant
        return identity.key_of(values)

    @property
    def former_key(self) -> str | None:
        """The cell's key in the first versions, under which checkpoints may be stored; None if the
        cell uses a setting that those versions did not have."""
        return former_key(self.values(), identity.FROZEN_DEFAULTS)

    def training_config(
        self,
        *,
        tokens: int | None = None,
        micro_batch_size: int | None = None,
        warmup_tokens: float | None = None,
    ) -> TrainingConfig:
        """The training settings for `tokens` tokens of the cell's own tokenizer. The default,
        `settings.tokens`, is only right if that is also the baseline's tokenizer.

        warmup_tokens: the warm-up in tokens of that tokenizer; None for the cell's share of them.
        """
        share = warmup_share(asdict(self.settings))
        tokens = self.settings.tokens if tokens is None else tokens
        if warmup_tokens is None:
            whole = self.settings.warmup_tokens
            warmup_tokens = whole * (tokens / self.settings.tokens)
        return TrainingConfig.of_run(
            replace(self.settings, warmup_fraction=share),
            tokens=tokens,
            seed=self.seed,
            micro_batch_size=micro_batch_size,
            warmup_tokens=warmup_tokens,
        )

    def with_seed(self, seed: int) -> Cell:
        return replace(self, seed=seed)


def warmup_share(values: Mapping[str, Any]) -> float:
    """Share of the training over which the rate rises, by a cell's values."""
    if warmup_tokens := values.get("warmup_tokens", 0):
        return float(warmup_tokens / values["tokens"])
    return float(values["warmup_fraction"])


def refuse_former_sample(sample: str) -> None:
    """Raises ValueError for a sample that only older versions took."""
    if sample in FORMER_SAMPLES:
        raise ValueError(
            f"sample is {sample!r}, which only older versions took; nothing can be "
            f"trained by it any more: leave it out, or use {SAMPLES[0]}"
        )


def _resolved(model: ModelSpec, names: Mapping[str, Any]) -> TokenizerSpec:
    return tokenizer_of({**names, SIZE: model.vocab_size}).resolved()


def as_meant(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of settings, with what people write for a value in its place.

    5e6 and the text 20k are whole numbers where the setting is one; free is None where the solver
    may choose. What is not understood is left to be refused by name.
    """
    return {name: value_as_meant(name, value) for name, value in values.items()}


def value_as_meant(name: str, value: Any) -> Any:
    """One value, as `as_meant` takes it."""
    value = plain(value)
    if name in DATA_AS_MEANT:
        return DATA_AS_MEANT[name](value)
    if name in _WHOLE:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        value = with_counts_read(value)
    if name in _MAY_BE_FREE and value == "free":
        return None
    if name == identity.BASELINE and isinstance(value, Mapping):
        return as_meant(value)
    return value
