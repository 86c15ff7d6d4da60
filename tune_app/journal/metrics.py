"""Every metric of an evaluation, declared once.

An Observation carries its metrics by name. The meaning of a name, its unit, where it is shown and
how it is aggregated over steps are declared only here: a new metric is an entry in CENTRAL and the
line that computes it, in `Training.step` or in `Trial`. Metrics of a part of the network are
declared by its entry in model.parts and added to METRICS from there. The journal, the tables, the
plots, TensorBoard and W&B all read METRICS. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from model.parts.part import Part, Reported
from model.parts.variants import VARIANTS
from tune_app import formats

_GROUP_OF_PARTS = "train"
"""The group of metrics from parts of the network, which are measured in training."""

_MEMBER = "/*"
"""Suffix of a family's name: `router_load/*` declares `router_load/0`, `router_load/1`, …"""


class UndeclaredMetricError(ValueError):
    """A metric without an entry in METRICS."""


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def last(values: Sequence[float]) -> float:
    return values[-1]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The declaration of a metric."""

    title: str
    """Display name in plots and table headers."""
    unit: str
    """Empty if it is dimensionless."""
    group: str
    """`dev` or `train`, the data it is measured on; prefix of its tag in TensorBoard and W&B."""
    text: Callable[[float | None], str] = formats.number
    """Formats a value for display."""
    gathered: Callable[[Sequence[float]], float] = mean
    """Aggregates the values of the steps since the last evaluation."""
    repeats: bool = True
    """Whether retraining the same steps gives the same value; False for speeds."""
    drawn: bool = False
    """Whether the report plots it against tokens and lists it by cell."""
    listed: bool = False
    """Whether results.csv has its last value, though it is not drawn."""

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def _tag(name: str, group: str) -> str:
    return f"{group}/{name.removeprefix(f'{group}_')}"


def of_parts(variants: Mapping[str, Mapping[str, Part]]) -> dict[str, Metric]:
    """The metrics that parts of the network report, as declared in model.parts.

    Raises ValueError if two parts declare the same name differently, or if a part takes the name or
    the tag of a metric in CENTRAL.
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
        name: Metric(
            title=reported.title,
            unit=reported.unit,
            group=_GROUP_OF_PARTS,
            drawn=reported.drawn,
        )
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
        title="learning rate of the reference", unit="", group="train", gathered=last, drawn=True
    ),
    "gradient_norm": Metric(
        title="gradient norm before clipping", unit="", group="train", drawn=True
    ),
    "loss_scale": Metric(
        title="scale of the loss in fp16", unit="", group="train", gathered=last, drawn=True
    ),
    "skipped_steps": Metric(
        title="steps skipped since the evaluation before, as gradients overflowed in fp16",
        unit="steps",
        group="train",
        gathered=sum,
        drawn=True,
    ),
    "tokens_per_second": Metric(
        title="training speed",
        unit="tokens/s",
        group="train",
        text=formats.count,
        repeats=False,
    ),
    "peak_memory": Metric(
        title="most memory of the cell's process so far, on a GPU of its tensors there",
        unit="bytes",
        group="train",
        text=formats.size,
        gathered=last,
        repeats=False,
        listed=True,
    ),
}
"""The metrics of every cell, whatever its parts."""

OF_DOMAINS: Mapping[str, Metric] = {
    "domain_bits_per_byte/*": Metric(
        title="bits per byte of a sample of one corpus",
        unit="bits/byte",
        group="dev",
        text=formats.bits_per_byte,
        drawn=True,
    ),
    "full_domain_bits_per_byte/*": Metric(
        title="bits per byte of one corpus",
        unit="bits/byte",
        group="dev",
        text=formats.bits_per_byte,
        listed=True,
    ),
    "mixture_share/*": Metric(
        title="share of one corpus in training",
        unit="",
        group="train",
        gathered=last,
        drawn=True,
    ),
}
"""The metrics of each corpus of a mixed one."""

METRICS: Mapping[str, Metric] = {**CENTRAL, **OF_DOMAINS, **of_parts(VARIANTS)}
"""By name, in the order of columns and panels. A name that ends in `/*` declares a family."""


def is_declared(name: str) -> bool:
    return name in METRICS or _family(name) in METRICS


def metric(name: str) -> Metric:
    """The declaration of a metric. Raises UndeclaredMetricError if there is none."""
    declared = METRICS.get(name) or METRICS.get(_family(name))
    if declared is None:
        raise UndeclaredMetricError(
            f"the metric {name!r} is not declared; add it, with its unit, to CENTRAL in "
            "tune_app/journal/metrics.py, or to what its part reports in model/parts/"
        )
    return declared


def label(name: str) -> str:
    """Title and unit; of a member of a family with its own name, as in `load of expert: 3`."""
    declared = metric(name)
    if name in METRICS:
        return declared.label
    member = name.rpartition("/")[2]
    return replace(declared, title=f"{declared.title}: {member}").label


def tag(name: str) -> str:
    """The metric's name in TensorBoard and W&B, which group by the part before the slash."""
    return _tag(name, metric(name).group)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of METRICS; members of a family by number, then by name."""
    places = {name: place for place, name in enumerate(METRICS)}

    def order(name: str) -> tuple[int, int, str]:
        place = places.get(name, places.get(_family(name), len(places)))
        member = name.rpartition("/")[2]
        return place, int(member) if member.isdecimal() else -1, name

    return sorted(set(names), key=order)


def _family(name: str) -> str:
    return name.rpartition("/")[0] + _MEMBER
