"""Every number that an evaluation reports besides its place, declared once.

An Observation carries its metrics by name. What a name means, its unit, where it is shown and how
it is gathered over steps stands here and nowhere else: a new metric is an entry in CENTRAL and the
line that computes it, in `Training.step` or in `Trial`. What a part of the network reports is
declared by its entry in model.parts and joins METRICS from there. The journal, the
tables, the plots, TensorBoard and W&B take it from here. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.parts import VARIANTS, Part, Reported
from tune_app import formats

_GROUP_OF_PARTS = "train"
"""What parts of the network report, they report while they are trained."""

_MEMBER = "/*"
"""Ends the name of a family: `router_load/*` declares `router_load/0`, `router_load/1`, …"""


class UndeclaredMetricError(ValueError):
    """A metric without an entry in METRICS."""


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def last(values: Sequence[float]) -> float:
    return values[-1]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is known of a metric beside its values."""

    title: str
    """For people, in a plot or a table's head."""
    unit: str
    """Empty for a pure number."""
    group: str
    """`dev` or `train`: on what it is measured; the folder of its tag in TensorBoard and W&B."""
    text: Callable[[float | None], str] = formats.number
    """A value as people read it."""
    gathered: Callable[[Sequence[float]], float] = mean
    """One value of those that the steps since the last evaluation reported."""
    repeats: bool = True
    """Whether training the same stretch again gives the same value; not so for speeds."""
    drawn: bool = False
    """Whether the report draws it against tokens, and lists it by cell, beside its own plots."""

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def _tag(name: str, group: str) -> str:
    return f"{group}/{name.removeprefix(f'{group}_')}"


def of_parts(variants: Mapping[str, Mapping[str, Part]]) -> dict[str, Metric]:
    """What parts of the network report, as their entries in model.parts declare it.

    Raises ValueError for a name that two parts declare differently, and for the name or the tag of
    a metric in CENTRAL.
    """
    declared: dict[str, Reported] = {}
    taken = {_tag(name, central.group): name for name, central in CENTRAL.items()}
    for parts in variants.values():
        for part in parts.values():
            for name, reported in part.reports.items():
                clash = name if name in CENTRAL else taken.get(_tag(name, _GROUP_OF_PARTS))
                if clash is not None:
                    raise ValueError(
                        f"a part reports {name!r}, which is taken by the metric {clash!r}; give "
                        "what the part reports another name"
                    )
                if declared.setdefault(name, reported) != reported:
                    raise ValueError(
                        f"two parts report {name!r}, as {declared[name]} and as {reported}; give "
                        "one of them another name"
                    )
    return {
        name: Metric(title=reported.title, unit=reported.unit, group=_GROUP_OF_PARTS, drawn=True)
        for name, reported in declared.items()
    }


CENTRAL: Mapping[str, Metric] = {
    "bits_per_byte": Metric(
        title="bits per byte of the sample",
        unit="bits/byte",
        group="dev",
        text=formats.bits_per_byte,
    ),
    "perplexity": Metric(
        title="perplexity of the sample",
        unit="per token of the cell's own tokenizer",
        group="dev",
        text=formats.perplexity,
    ),
    "baseline_token_perplexity": Metric(
        title="perplexity of the sample",
        unit="per token of the baseline's tokenizer",
        group="dev",
        text=formats.perplexity,
    ),
    "full_bits_per_byte": Metric(
        title="bits per byte",
        unit="bits/byte",
        group="dev",
        text=formats.bits_per_byte,
    ),
    "full_perplexity": Metric(
        title="perplexity",
        unit="per token of the cell's own tokenizer",
        group="dev",
        text=formats.perplexity,
    ),
    "train_loss": Metric(title="training loss", unit="nats/token", group="train", drawn=True),
    "learning_rate": Metric(
        title="learning rate of the baseline", unit="", group="train", gathered=last, drawn=True
    ),
    "gradient_norm": Metric(
        title="gradient norm before clipping", unit="", group="train", drawn=True
    ),
    "tokens_per_second": Metric(
        title="training speed",
        unit="tokens/s",
        group="train",
        text=formats.count,
        repeats=False,
    ),
}
"""What every cell has, whatever its parts."""

METRICS: Mapping[str, Metric] = {**CENTRAL, **of_parts(VARIANTS)}
"""By name. The order is that of columns and panels. A name that ends in `/*` is a family's."""


def is_declared(name: str) -> bool:
    return name in METRICS or _family(name) in METRICS


def metric(name: str) -> Metric:
    """What is declared of a name. Raises UndeclaredMetricError where nothing is."""
    declared = METRICS.get(name) or METRICS.get(_family(name))
    if declared is None:
        raise UndeclaredMetricError(
            f"the metric {name!r} is not declared; add it, with its unit, to CENTRAL in "
            "tune_app/journal/metrics.py, or to what its part reports in model/parts.py"
        )
    return declared


def tag(name: str) -> str:
    """Its name in TensorBoard and W&B, which group by what stands before the slash."""
    return _tag(name, metric(name).group)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, as METRICS has them, the members of a family by number, then by name."""
    places = {name: place for place, name in enumerate(METRICS)}

    def order(name: str) -> tuple[int, int, str]:
        place = places.get(name, places.get(_family(name), len(places)))
        member = name.rpartition("/")[2]
        return place, int(member) if member.isdecimal() else -1, name

    return sorted(set(names), key=order)


def _family(name: str) -> str:
    return name.rpartition("/")[0] + _MEMBER
