"""What the user asks of a sweep beyond its space.

`Wishes` is at once the command line's options and the input of the plan and the stopping rules.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

_WHAT = Group("What to train", sort_key=1)
_RULES = Group("What to stop", sort_key=2)

_FREE = ("free", "None")
_MULTIPLES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number as people write it: 150000, 150k, 5M."""
    text = tokens[0].value.strip().lower().replace("_", "").replace(",", "")
    factor = _MULTIPLES.get(text[-1:], 1)
    try:
        number = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(
            f"{tokens[0].value!r} is not a whole number; write it as in 150000, 150k or 5M"
        )
    return int(number)


def _assignments(_: Any, tokens: Sequence[Token]) -> tuple[tuple[str, Any], ...]:
    """name=value pairs."""
    pairs: list[tuple[str, Any]] = []
    for token in tokens:
        name, equals, text = map(str.strip, token.value.partition("="))
        if not equals or not name:
            raise ValueError(f"{token.value!r}; expected name=value")
        pairs.append((name, _value(text)))
    return tuple(pairs)


def _value(text: str) -> Any:
    """A value: JSON, a Python literal as .001 or True, inf, `free` (None), or else a string."""
    if text in _FREE:
        return None
    for read in (json.loads, ast.literal_eval, float):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(text)
    return text


Count = Annotated[int | None, Parameter(converter=_whole)]
"""A whole number on the command line; k, M and B are understood."""

Settings = Annotated[
    tuple[tuple[str, Any], ...],
    Parameter(
        converter=_assignments,
        accepts_keys=False,
        n_tokens=1,
        negative="",
        metavar="NAME=VALUE...",
        show_default=False,
    ),
]
"""Names with values; on the command line name=value, repeatable."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options that define a sweep; the space decides what they leave out."""

    name: Annotated[str | None, Parameter(group=_WHAT)] = None
    """Name of the sweep and its folder; default: the name of the space."""
    corpus: Annotated[str | None, Parameter(group=_WHAT)] = None
    """A name (stdlib, wikitext-2, wikitext-103, tinystories, hf:owner/name) or a path."""
    target_parameters: Annotated[Count, Parameter(group=_WHAT)] = None
    """Parameter budget of every model, ± 0.5 %, e.g. 10M."""
    vocab_size: Annotated[Count, Parameter(name=["--vocab-size", "--vocabulary"], group=_WHAT)] = (
        None
    )
    """Vocabulary size of the tokenizer."""
    tokens: Annotated[Count, Parameter(group=_WHAT)] = None
    """Baseline tokens to train each cell on, e.g. 5M."""
    seeds: Annotated[tuple[int, ...], Parameter(group=_WHAT, negative="")] = (0,)
    """One cell per seed; repeat the option."""
    set: Annotated[Settings, Parameter(group=_WHAT)] = ()
    """Any other setting of the cells, e.g. learning_rate=2e-3; repeat the option."""
    scheduler: Annotated[str | None, Parameter(group=_RULES)] = None
    """Rule that stops cells by rank: asha or none; default: the space's, else asha."""
    scheduler_set: Annotated[Settings, Parameter(group=_RULES)] = ()
    """A setting of the scheduler, e.g. reduction_factor=3; repeat the option."""
    reduction_factor: Annotated[int | None, Parameter(group=_RULES)] = None
    """ASHA's η: the best 1/η of the cells pass a rung; default: 2."""
    grace_fraction: Annotated[float | None, Parameter(group=_RULES)] = None
    """ASHA's first rung, as a share of the training tokens; default: 0.25."""
    kill_rule: Annotated[
        Literal["ppl", "bpb", "sigma", "off"] | None, Parameter(group=_RULES, negative="")
    ] = None
    """Unit of the kill margin (sigma: spread of the baseline's seeds); default: ppl."""
    kill_margin: Annotated[float | None, Parameter(group=_RULES)] = None
    """How much worse than the baseline a cell may be; default: 0.5."""
    kill_span: Annotated[Count, Parameter(group=_RULES)] = None
    """Stop a cell that exceeds the margin for this many tokens; default: 1M, or the space's."""

    @property
    def values(self) -> dict[str, Any]:
        """Values of cells that replace those in the space's FIXED."""
        return self._given("corpus", "target_parameters", "vocab_size", "tokens") | dict(self.set)

    @property
    def scheduler_settings(self) -> dict[str, Any]:
        """Settings of the scheduler that replace those of the space."""
        return self._given("reduction_factor", "grace_fraction") | dict(self.scheduler_set)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
