"""muP: carries one learning rate to models of every width and depth.

With one rate for all cells a sweep would compare widths and depths, not architectures. So the rate
is that of one model, the reference, and a parametrization gives every cell its own, with its
multipliers. For the width, all follow the maximal update parametrization for Adam (Yang et al.,
2022, "Tensor Programs V", table 8): a hidden matrix learns at (reference's fan-in / its fan-in)
times the rate, embeddings and head at the rate itself, logits are multiplied by reference's width /
width, attention logits by √(reference's head_dim / head_dim). They differ in the reference and in
the depth:

    complete_p  The reference is always REFERENCE, so that a rate means the same in every space.
                Residual branches are multiplied by 1/√(2·reference's depth) · reference's depth /
                depth, and rates do not depend on the depth (Dey et al., 2025, "CompleteP", table
                1 with α = 1).
    depth_mup   The reference is the cell's baseline. Residual branches are multiplied by
                1/√(2·depth), and everything inside a block learns at √(baseline's depth / depth)
                times the rate (Yang et al., 2023, "Tensor Programs VI", Depth-μP for Adam; table 1
                of CompleteP with α = ½).

    complete_p_zero
                As complete_p, but matrices that write into the residual stream start at zero (Yang
                et al., 2022, appendix D.2). At random starts, what the blocks add at first falls
                as 1/√depth, as a sum of random terms does, while what they learn does not depend
                on the depth. Adam's learned part soon hides the other; the smaller steps of Muon
                do not, so Muon trains under this one unless told otherwise.

    standard    No transfer: there is no reference, all multipliers and factors are 1, and matrices
                start as GPT-2's do, from Normal(0, 0.02), those that write into the residual
                stream smaller by √(2·depth) (Radford et al., 2019). A rate is right for one width
                and one depth, so every cell needs one of its own.

docs/transfer.md has the measurements that chose between them. Weight decay is divided by a matrix's
factor, so that rate × decay, the pull on its weights, is the same in every cell; that is this
project's own choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from model.roles import SIZES, Kind, Role
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Scales:
    """A model's multipliers, and the factors of its parameters' learning rates.

    Together with its ModelConfig they define the model: the same weights under other multipliers
    give other logits. `transfer` and `own` make them, `values` and `from_values` take them through
    a file.

    All are 1 for the reference itself except `residual`, which is 1/√(2·its depth).

    Raises ValueError for a multiplier that is not a positive number.
    """

    residual: float
    """Multiplies what a block adds to the residual stream."""
    logits: float
    """Multiplies the logits of the vocabulary."""
    attention_logits: float
    """Multiplies the logits of attention, after their division by √head_dim."""
    block_rate: float
    """Factor of all learning rates inside residual blocks; it depends on the depth alone."""
    reference_sizes: Mapping[str, int]
    """The reference's sizes by name; a hidden matrix's fan-in is compared with the one it reads."""
    standard: bool = False
    """Whether the model starts as GPT-2 and learns at one rate for all parameters, without a
    reference: the parametrization `standard`."""
    zero_start: bool = False
    """Whether matrices that write into the residual stream start at zero."""

    def __post_init__(self) -> None:
        for name in ("residual", "logits", "attention_logits", "block_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(
                    f"the multiplier {name} is {value!r}; it must be a positive number"
                )

    @classmethod
    def own(cls, config: ModelConfig) -> Scales:
        """The scales of a model that is its own reference."""
        return depth_mup(config, config)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Scales:
        """The inverse of `values`. Raises KeyError or TypeError for values of something else."""
        rest = dict(values)
        # What the sizes were called when the reference was always a baseline.
        sizes = rest.pop("baseline_sizes") if "baseline_sizes" in rest else rest["reference_sizes"]
        return cls(**{**rest, "reference_sizes": dict(sizes)})

    def values(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        values = {**asdict(self), "reference_sizes": dict(self.reference_sizes)}
        for name in ("standard", "zero_start"):
            if not values[name]:
                del values[name]  # as in files of before there was one
        return values

    def rate(self, role: Role) -> float:
        """Factor of the learning rate for a parameter with this role."""
        if self.standard:
            return 1.0
        depth_rate = self.block_rate if role.in_block else 1.0
        if role.kind is not Kind.HIDDEN:
            return depth_rate
        assert role.reads is not None and role.fan_in is not None
        return depth_rate * self.reference_sizes[role.reads] / role.fan_in


def transfer(config: ModelConfig, *, baseline: ModelConfig, parametrization: str) -> Scales:
    """The scales of a model in a space with this baseline.

    Raises ValueError for an unknown parametrization.
    """
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(
            f"unknown parametrization {parametrization!r}; "
            f"expected one of {', '.join(PARAMETRIZATIONS)}"
        )
    return PARAMETRIZATIONS[parametrization](config, baseline)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a parametrization reads of a model."""

    d_model: int
    d_attention: int
    d_ff: int
    head_dim: int
    n_layers: int

    @classmethod
    def of(cls, config: ModelConfig) -> Sizes:
        """The sizes of a model."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})


REFERENCE = Sizes(d_model=80, d_attention=80, d_ff=216, head_dim=40, n_layers=8)
"""The model whose learning rate `complete_p` carries to others: the baseline of `quick`."""


def complete_p(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """Branches by 1 / depth, rates by width alone (CompleteP, α = 1), from REFERENCE."""
    depth = REFERENCE.n_layers / config.n_layers
    return _by_width(
        config, REFERENCE, residual=depth / math.sqrt(2 * REFERENCE.n_layers), block_rate=1.0
    )


def complete_p_zero(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """`complete_p` from a start without branches."""
    return replace(complete_p(config, baseline), zero_start=True)


def depth_mup(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """Branches and the rates inside blocks by 1 / √depth (Depth-μP; α = ½), from the baseline."""
    depth = baseline.n_layers / config.n_layers
    return _by_width(
        config,
        Sizes.of(baseline),
        residual=1 / math.sqrt(2 * config.n_layers),
        block_rate=math.sqrt(depth),
    )


def standard(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """GPT-2's start, and one rate for all parameters of a model."""
    return Scales(
        residual=1.0,
        logits=1.0,
        attention_logits=1.0,
        block_rate=1.0,
        reference_sizes={name: getattr(config, name) for name in SIZES},
        standard=True,
    )


PARAMETRIZATIONS: Mapping[str, Callable[[ModelConfig, ModelConfig], Scales]] = {
    "complete_p": complete_p,
    "complete_p_zero": complete_p_zero,
    "depth_mup": depth_mup,
    "standard": standard,
}
"""By name, from a model and its baseline; a new one is a function and a line here."""


def _by_width(
    config: ModelConfig, reference: Sizes, *, residual: float, block_rate: float
) -> Scales:
    return Scales(
        residual=residual,
        logits=reference.d_model / config.d_model,
        attention_logits=math.sqrt(reference.head_dim / config.head_dim),
        block_rate=block_rate,
        reference_sizes={name: getattr(reference, name) for name in SIZES},
    )
