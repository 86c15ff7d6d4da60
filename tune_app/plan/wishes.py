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


def _mix(_: Any, tokens: Sequence[Token]) -> tuple[tuple[str, Any], ...]:
    """CORPUS, CORPUS=SHARE or CORPUS=SHARE:LAST each."""
    pairs: list[tuple[str, Any]] = []
    for token in tokens:
        corpus, equals, text = map(str.strip, token.value.rpartition("="))
        if not equals:
            pairs.append((token.value.strip(), None))
            continue
        try:
            numbers = [float(part.strip().removesuffix("%")) for part in text.split(":")]
        except ValueError:
            numbers = []
        if not corpus or len(numbers) not in (1, 2):
            raise ValueError(
                f"{token.value!r}; write CORPUS=SHARE, or CORPUS=SHARE:LAST for a share that "
                "changes, as in stdlib=70 or stdlib=70:85"
            )
        pairs.append((corpus, numbers[0] if len(numbers) == 1 else tuple(numbers)))
    return tuple(pairs)


def mixed_values(mix: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The cells' settings that a mix means. Raises ValueError for one that is incomplete."""
    from data.sources.mixed import mixed_name  # noqa: PLC0415 - it may be hidden

    values: dict[str, Any] = {"corpus": mixed_name([corpus for corpus, _ in mix])}
    shares = dict(mix)
    if len(shares) < len(mix) or len(mix) < 2:
        raise ValueError(
            f"the mix is of {', '.join(corpus for corpus, _ in mix)}; name at least two corpora, "
            "each once"
        )
    if all(share is None for share in shares.values()):
        return values
    if lacking := [corpus for corpus, share in mix if share is None]:
        raise ValueError(f"{lacking[0]} has no share in the mix; give every corpus one, or none")
    pairs = [share if isinstance(share, (list, tuple)) else (share, share) for _, share in mix]
    values["mixture"] = [begin for begin, _ in pairs]
    if any(begin != end for begin, end in pairs):
        values["mixture_end"] = [end for _, end in pairs]
    return values


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
    mix: Annotated[
        tuple[tuple[str, Any], ...],
        Parameter(
            group=_WHAT,
            converter=_mix,
            accepts_keys=False,
            n_tokens=1,
            negative="",
            metavar="CORPUS=SHARE",
            show_default=False,
            help="A corpus of several to train on, with its share, e.g. stdlib=70; repeat the "
            "option. stdlib=70:85 changes its share to 85 over the last fifth of training; without "
            "any shares corpora are mixed by their size.",
        ),
    ] = ()
    curriculum: Annotated[
        str | None,
        Parameter(
            group=_WHAT,
            metavar="STAGES",
            help="Shorter sequences at first, e.g. 10%:64,100k:128:32: a tenth of training on "
            "sequences of 64 tokens, then 100k tokens on 32 sequences of 128 a step; default: the "
            "space's, else none.",
        ),
    ] = None
    target_parameters: Annotated[Count, Parameter(group=_WHAT)] = None
    """Parameter budget of every model, ± 0.5 %, e.g. 2M; default: the space's, else 10M."""
    vocab_size: Annotated[Count, Parameter(name=["--vocab-size", "--vocabulary"], group=_WHAT)] = (
        None
    )
    """Vocabulary size of the tokenizer, e.g. 8k; default: the space's, else 16k."""
    like: Annotated[
        str | None,
        Parameter(
            group=_WHAT,
            metavar="PRESET",
            help="Sizes and variants of a model like this preset, at the sweep's budget and "
            "vocabulary; `stellux presets` lists them; default: the space's own.",
        ),
    ] = None
    tokens: Annotated[Count, Parameter(group=_WHAT)] = None
    """Baseline tokens to train each cell on, e.g. 20M; default: the space's, else 5M."""
    steps: Annotated[Count, Parameter(group=_WHAT)] = None
    """Steps of the baseline, in place of tokens; default: the space's, else tokens count."""
    epochs: Annotated[
        float | None,
        Parameter(
            group=_WHAT,
            help="Passes over the training text, in place of tokens, e.g. 0.5; default: the "
            "space's, else tokens count.",
        ),
    ] = None
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
    sampler: Annotated[str | None, Parameter(group=_WHAT)] = None
    """Of a space that is searched in rounds: tpe or random; default: the space's, else tpe."""
    rounds: Annotated[Count, Parameter(group=_WHAT)] = None
    """Rounds of a search; a later command may name more; default: the space's, else 8."""
    sampler_set: Annotated[
        Settings,
        Parameter(
            group=_WHAT,
            help="Another setting of the sampler, e.g. cells=4 for designs a round, or seed=1; "
            "repeat the option. `--sampler-set help` shows all settings.",
        ),
    ] = ()
    scheduler: Annotated[
        str | None,
        Parameter(
            group=_RULES,
            help="Rule that pauses or stops cells by rank: asha (the best go on), halving (the "
            "same, a rung at a time), asha-stop (stops what is worse than earlier arrivals), race "
            "(seed by seed, until one design is left or the rest cannot be told apart) or none; "
            "default: the space's, else asha; a sweep that exists keeps its own.",
        ),
    ] = None
    scheduler_set: Annotated[
        Settings,
        Parameter(
            group=_RULES,
            help="A setting of the scheduler, e.g. reduction_factor=3; repeat the option. "
            "`--scheduler-set help` shows all settings.",
        ),
    ] = ()
    reduction_factor: Annotated[int | None, Parameter(group=_RULES)] = None
    """The scheduler's η: the best 1/η of the cells pass a rung; default: the space's, else 2."""
    grace_fraction: Annotated[float | None, Parameter(group=_RULES)] = None
    """The scheduler's first rung, as a share of the tokens; default: the space's, else 0.25."""
    smallest_difference: Annotated[
        float | None,
        Parameter(
            group=_RULES,
            help="Bits per byte that matter to a race: it ends once the rest are within it; "
            "default: the space's, else 0.005.",
        ),
    ] = None
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
        return (HELP, None) in (*self.set, *self.scheduler_set, *self.sampler_set)

    @property
    def values(self) -> dict[str, Any]:
        """Values of cells that replace those in the space's FIXED."""
        if self.mix and self.corpus is not None:
            raise ValueError(
                f"--corpus {self.corpus} and --mix are both given; name every corpus with --mix"
            )
        mixed = mixed_values(self.mix) if self.mix else {}
        names = ("corpus", "target_parameters", "vocab_size", "curriculum", *BUDGETS)
        return mixed | self._given(*names) | dict(self.set)

    @property
    def sampler_settings(self) -> dict[str, Any]:
        """Settings of the sampler that replace those of the space."""
        named = {} if self.sampler is None else {"name": self.sampler}
        return named | self._given("rounds") | dict(self.sampler_set)

    @property
    def scheduler_settings(self) -> dict[str, Any]:
        """Settings of the scheduler that replace those of the space."""
        names = ("reduction_factor", "grace_fraction", "smallest_difference")
        return self._given(*names) | dict(self.scheduler_set)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
