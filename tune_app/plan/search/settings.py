"""How a search is done: the sampler, its seed, and how many rounds of how many cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from data.counts import with_counts_read
from data.suggestions import did_you_mean
from tune_app.plan.identity import unknown_setting

SAMPLERS: Mapping[str, str] = {
    "tpe": "tree-structured Parzen estimator (Optuna's TPESampler)",
    "random": "independent draws (Optuna's RandomSampler)",
}
"""By name; `tune_app.plan.search.sampling` has their classes."""

_OF = "the sampler"


def describe_search(record: Mapping[str, Any]) -> str:
    """A recorded search in a line, also one of another version; `none` if it is empty."""
    if not record:
        return "none"
    sampler = {**record.get("sampler", {})}
    try:
        told = SamplerSettings.from_values(sampler).describe()
    except ValueError:
        told = ", ".join(f"{name} {value}" for name, value in sampler.items())
    return f"{told}; {len(record.get('parameters', ()))} parameters"


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """The settings of a search. Raises ValueError for an unknown sampler or impossible numbers."""

    name: str = "tpe"
    """`tpe`, which learns from the rounds before, or `random`."""
    rounds: int = 8
    """Rounds; each is proposed when the one before has ended."""
    cells: int = 8
    """Designs a round; each is trained on every seed."""
    seed: int = 0
    """Of the proposals, not of training."""
    startup: int = 16
    """Designs that TPE draws at random before it learns from scores."""
    refusals: int = 200
    """Proposals a round that may be refused; a round that is not full then is the last one."""

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            hint = did_you_mean(str(self.name), SAMPLERS)
            raise ValueError(
                f"unknown sampler {self.name!r}; {hint}expected one of {', '.join(SAMPLERS)}"
            )
        least = {"rounds": 1, "cells": 1, "seed": 0, "startup": 0, "refusals": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(
                    f"{name} of {_OF} is {value!r}; it must be a whole number of at least {low}"
                )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> SamplerSettings:
        """Settings from plain values. Raises ValueError for an unknown name."""
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(unknown_setting(name, known, of=_OF))
        return cls(**{name: with_counts_read(value) for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values; `from_values` reads them back."""
        return asdict(self)

    def describe(self) -> str:
        """In a line, for people."""
        learns = f", at random until {self.startup} are scored" if self.name == "tpe" else ""
        return (
            f"{self.name}, {self.rounds} {'round' if self.rounds == 1 else 'rounds'} of "
            f"{self.cells} {'design' if self.cells == 1 else 'designs'}, seed {self.seed}{learns}"
        )
