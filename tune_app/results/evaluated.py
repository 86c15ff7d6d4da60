"""What cells scored in evaluations, as columns of the tables and curves of the mirrors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tune_app.journal.records import CellEvaluation
from tune_app.results.designs import mean_of

FAMILY = "eval_"
"""Before the columns of evaluations."""
_HARNESS = "lm_eval/"
"""Before the names that lm-evaluation-harness gives its metrics."""
LATENCY, THROUGHPUT = "latency", "throughput"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A metric of an evaluation that tables show."""

    meaning: str
    unit: str


HEADLINES: Mapping[str, Headline] = {
    "bits_per_byte": Headline(
        meaning="bits per byte, in windows that do not overlap", unit="bits/byte"
    ),
    "perplexity": Headline(
        meaning="perplexity of the same", unit="perplexity per token of its own tokenizer"
    ),
    "sliding_bits_per_byte": Headline(
        meaning="bits per byte, in windows that overlap", unit="bits/byte"
    ),
    "clean_bits_per_byte": Headline(
        meaning="bits per byte without what overlaps with the training text", unit="bits/byte"
    ),
    "accuracy": Headline(
        meaning="accuracy of the answer with the most log-probability per byte", unit="fraction"
    ),
    "accuracy_error": Headline(meaning="standard error of the accuracy", unit="fraction"),
    "majority": Headline(meaning="accuracy of always giving the commonest label", unit="fraction"),
    "clean_accuracy": Headline(
        meaning="accuracy without what overlaps with the training text", unit="fraction"
    ),
    "prefill_seconds": Headline(meaning="median time to read a prompt", unit="seconds"),
    "decode_seconds": Headline(meaning="median time of the next token", unit="seconds"),
    "tokens_per_second": Headline(meaning="tokens scored in batches", unit="tokens/s"),
    "peak_memory_bytes": Headline(meaning="most memory for that", unit="bytes"),
}
"""By the names of `tune_app.evaluation.fields`; the other metrics are in metrics.json alone."""


def columns_of(evaluations: Iterable[CellEvaluation]) -> dict[str, float]:
    """The headlines of a cell's evaluations: eval_SUITE_SPLIT_METRIC."""
    return {
        f"{FAMILY}{_plain(one.suite)}_{_plain(one.split)}_{_plain(name)}": value
        for one in evaluations
        for name, value in headlines(one)
    }


def headlines(evaluation: CellEvaluation) -> Iterator[tuple[str, float]]:
    """The metrics of an evaluation that are shown, in their order."""
    for name in HEADLINES:
        if name in evaluation.metrics:
            yield name, evaluation.metrics[name]
    for name, value in evaluation.metrics.items():
        if name.startswith(_HARNESS):
            yield name, value


def explained(column: str) -> Headline | None:
    """What a column of evaluations means; None for another column."""
    if not column.startswith(FAMILY):
        return None
    for name in sorted(HEADLINES, key=len, reverse=True):
        if column.endswith(f"_{name}"):
            where = column.removeprefix(FAMILY).removesuffix(f"_{name}")
            found = HEADLINES[name]
            return Headline(meaning=f"{found.meaning}; evaluation {where}", unit=found.unit)
    return Headline(meaning="metric of lm-evaluation-harness, as it defines it", unit="")


def tag_of(evaluation: CellEvaluation, metric: str) -> str:
    """The name of a metric in TensorBoard and W&B."""
    return f"evaluation/{evaluation.suite}/{evaluation.split}/{metric.removeprefix(_HARNESS)}"


def mean_decode_seconds(evaluations: Iterable[CellEvaluation]) -> float | None:
    """Median time of the next token, over the lengths that were measured."""
    return mean_of(_values(evaluations, LATENCY, "decode_seconds"))


def peak_memory(evaluations: Iterable[CellEvaluation]) -> float | None:
    """The most memory in bytes that scoring a batch took."""
    return max(_values(evaluations, THROUGHPUT, "peak_memory_bytes"), default=None)


def _values(evaluations: Iterable[CellEvaluation], suite: str, metric: str) -> list[float]:
    return [
        one.metrics[metric] for one in evaluations if one.suite == suite and metric in one.metrics
    ]


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")
