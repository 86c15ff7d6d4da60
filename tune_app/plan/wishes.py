"""What the user asks of a sweep beyond its space.

`Wishes` is at once the command line's options and the input of the plan and the stopping rules.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

_WHAT = Group("What to train", sort_key=1)
_RULES = Group("What to stop", sort_key=2)

HELP = "help"
"""In place of a setting: a request for the names of all settings."""

_FREE = ("free", "None")


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    from data.counts import from_command_line  # noqa: PLC0415 - it may be hidden

    return from_command_line(kind, tokens)


def _seeds(_: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Whole numbers, separated by commas or spaces: 0,1,2 or 0 1 2."""
    texts = [text for token in tokens for text in token.value.replace(",", " ").split()]
    for text in texts:
        if not text.isdecimal():
            raise ValueError(
                f"{text!r} is not a seed; write --seeds 0,1,2 with whole numbers, and the space "
                "in front of the options"
            )
    return tuple(int(text) for text in texts)


def _joined(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))


def _assignments(_: Any, tokens: Sequence[Token]) -> tuple[tuple[str, Any], ...]:
    """name=value pairs, or a request for all names."""
    pairs: list[tuple[str, Any]] = []
    for token in tokens:
        name, equals, text = map(str.strip, token.value.partition("="))
        if token.value == HELP:
            pairs.append((HELP, None))
        elif equals and name:
            pairs.append((name, _value(text)))
        else:
            raise ValueError(f"{token.value!r}; expected name=value, or {HELP} for all names")
    return tuple(pairs)


def _value(text: str) -> Any:
    """A value: JSON, a Python literal as .001 or True, inf, a count as 5M, `free` (None), or else a
    string."""
    from data.counts import counted, is_short  # noqa: PLC0415 - it may be hidden

    if text in _FREE:
        return None
    for read in (json.loads, ast.literal_eval, float):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(text)
    return counted(text) if is_short(text) else text


BUDGETS = ("tokens", "steps", "epochs")
"""Ways to say how long a cell trains; `tune_app.plan.budget` makes tokens of all."""

Count = Annotated[int | None, Parameter(converter=_whole, metavar="COUNT")]
"""A whole number on the command line; k, M and B are understood."""

Seeds = Annotated[
    tuple[int, ...],
    Parameter(
        converter=_seeds,
        consume_multiple=(1, None),
        negative="",
        metavar="INT,...",
        show_default=_joined,
    ),
]
"""Seeds on the command line: 0,1,2, 0 1 2, or the option repeated."""

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
    corpus: Annotated[
        str | None,
        Parameter(
            group=_WHAT,
            help="A name (stdlib, wikitext-2, wikitext-103, tinystories, hf:owner/name) or a path, "
            "as in reviews.jsonl:review; see `stellux prepare --help`; default: the space's, else "
            "stdlib.",
        ),
    ] = None
    target_parameters: Annotated[Count, Parameter(group=_WHAT)] = None
    """Parameter budget of every model, ± 0.5 %, e.g. 2M; default: the space's, else 10M."""
    vocab_size: Annotated[Count, Parameter(name=["--vocab-size", "--vocabulary"], group=_WHAT)] = (
        None
    )
    """Vocabulary size of the tokenizer, e.g. 8k; default: the space's, else 16k."""
    like: Annotated[str | None, Parameter(group=_WHAT, metavar="PRESET")] = None
    """Sizes and variants of a model like this preset, at the sweep's budget and vocabulary;
    `stellux presets` lists them; default: the space's own."""
    tokens: Annotated[Count, Parameter(group=_WHAT)] = None
    """Baseline tokens to train each cell on, e.g. 20M; default: the space's, else 5M."""
    steps: Annotated[Count, Parameter(group=_WHAT)] = None
    """Steps of the baseline, in place of tokens; default: the space's, else tokens count."""
    epochs: Annotated[float | None, Parameter(group=_WHAT)] = None
    """Passes over the training text, in place of tokens, e.g. 0.5; default: the space's, else
    tokens count."""
    seeds: Annotated[Seeds, Parameter(group=_WHAT)] = (0,)
    """Train each configuration once per seed, e.g. 0,1,2."""
    set: Annotated[
        Settings,
        Parameter(
            group=_WHAT,
            help="Another setting of the cells, e.g. learning_rate=2e-3; repeat the option. "
            "`--set help` shows all settings.",
        ),
    ] = ()
    scheduler: Annotated[str | None, Parameter(group=_RULES)] = None
    """Rule that stops cells by rank: asha or none; default: the space's, else asha."""
    scheduler_set: Annotated[
        Settings,
        Parameter(
            group=_RULES,
            help="A setting of the scheduler, e.g. reduction_factor=3; repeat the option. "
            "`--scheduler-set help` shows all settings.",
        ),
    ] = ()
    reduction_factor: Annotated[int | None, Parameter(group=_RULES)] = None
    """ASHA's η: the best 1/η of the cells pass a rung; default: the space's, else 2."""
    grace_fraction: Annotated[float | None, Parameter(group=_RULES)] = None
    """ASHA's first rung, as a share of the training tokens; default: the space's, else 0.25."""
    kill_rule: Annotated[
        Literal["ppl", "bpb", "sigma", "off"] | None,
        Parameter(
            group=_RULES,
            negative="",
            help="Unit of the kill margin (sigma: spread of the baseline's seeds), or off; "
            "default: the space's, else ppl.",
        ),
    ] = None
    kill_margin: Annotated[float | None, Parameter(group=_RULES)] = None
    """How much worse than the baseline a cell may be; default: the space's, else 0.5."""
    kill_span: Annotated[Count, Parameter(group=_RULES)] = None
    """Stop a cell that exceeds the margin for this many tokens; default: the space's, else 1M."""

    @property
    def asks_for_names(self) -> bool:
        """Whether the user wants to see the names of the settings."""
        return (HELP, None) in (*self.set, *self.scheduler_set)

    @property
    def values(self) -> dict[str, Any]:
        """Values of cells that replace those in the space's FIXED."""
        names = ("corpus", "target_parameters", "vocab_size", *BUDGETS)
        return self._given(*names) | dict(self.set)

    @property
    def scheduler_settings(self) -> dict[str, Any]:
        """Settings of the scheduler that replace those of the space."""
        return self._given("reduction_factor", "grace_fraction") | dict(self.scheduler_set)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
