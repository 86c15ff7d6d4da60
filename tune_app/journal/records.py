"""The typed records that travel from a trial to the journal and on to the results.

A trial makes Observations, the scheduler makes Decisions, the journal keeps both and hands out
CellRecords; the results read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from tune_app.journal.metrics import is_declared, metric
from tune_app.plan.rows import PlannedCell

PHASES = ("start", "data", "compile", "train", "evaluate")
"""What a trial's wall time is split into, in the order in which it passes."""


class Status(str, Enum):
    """Where a cell stands. Only `finished` cells trained to the end and may be ranked."""

    INFEASIBLE = "infeasible"
    """The parameter budget has no solution; it was never started."""
    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Ended early by a decision: of a stopping rule, or on a loss that diverged."""
    FAILED = "failed"
    """Ended by an error in the trial."""

    @property
    def ended(self) -> bool:
        """Whether a continued sweep leaves the cell as it is."""
        return self in (Status.INFEASIBLE, Status.FINISHED, Status.STOPPED)


DIVERGED = "diverged"
"""The rule of a decision that no stopping rule made: a loss was NaN or infinite."""
COMPLETED = "completed"
"""The rule of a decision that no stopping rule made: the trial has trained all its tokens."""


class Action(str, Enum):
    """What a decision does to its cell."""

    CONTINUE = "continue"
    """It goes on; the decision is written for what it rests on."""
    STOP = "stop"
    FINISH = "finish"
    PAUSE = "pause"
    """It gives its place to other cells, and waits for its turn again."""
    PROMOTE = "promote"
    """It goes on after a pause, since others have shown it to be worth more tokens."""

    @property
    def status(self) -> Status | None:
        """Where a decision leaves its cell; None where it leaves it as it is."""
        return _STATUS_OF_ACTION.get(self)

    @property
    def ends(self) -> bool:
        """Whether the cell trains no more."""
        return self in (Action.STOP, Action.FINISH)


_STATUS_OF_ACTION = {
    Action.STOP: Status.STOPPED,
    Action.FINISH: Status.FINISHED,
    Action.PAUSE: Status.PENDING,
    Action.PROMOTE: Status.PENDING,
}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One evaluation on dev, at a number of trained tokens. Unique by (cell, tokens).

    Raises UndeclaredMetricError for a metric that `tune_app/journal/metrics.py` does not declare.
    """

    cell: str
    """Key of the cell."""
    tokens: int
    """Tokens trained, of the cell's own tokenizer."""
    baseline_tokens: int
    """The same amount of text in the baseline's tokens: what curves are compared at."""
    metrics: Mapping[str, float]
    """By name. Their meanings and units: METRICS in `tune_app/journal/metrics.py`."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds by phase (PHASES), summed since the trial first started."""

    def __post_init__(self) -> None:
        for name in self.metrics:
            metric(name)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Observation:
        """What `to_values` gave, also where JSON or a checkpoint lies between.

        A metric that another version of the program declared and this one does not is left out, so
        that its journals can still be read.
        """
        metrics = {name: value for name, value in values["metrics"].items() if is_declared(name)}
        return cls(**{**values, "metrics": metrics})

    def to_values(self) -> dict[str, Any]:
        """As plain values: what the journal keeps, what a report to the driver and what a
        checkpoint hold."""
        return {
            "cell": self.cell,
            "tokens": self.tokens,
            "baseline_tokens": self.baseline_tokens,
            "metrics": dict(self.metrics),
            "seconds": dict(self.seconds),
        }

    # What the code itself reads; anything else is looked up in `metrics`.

    @property
    def bits_per_byte(self) -> float:
        """On the sample of dev documents, the same for every tokenizer."""
        return self.metrics["bits_per_byte"]

    @property
    def perplexity(self) -> float:
        """On the sample, per token of the cell's own tokenizer."""
        return self.metrics["perplexity"]

    @property
    def baseline_token_perplexity(self) -> float:
        """exp(bits per byte · ln 2 · the baseline's bytes per token): comparable across
        tokenizers."""
        return self.metrics["baseline_token_perplexity"]

    @property
    def full_bits_per_byte(self) -> float | None:
        """On the full dev split; only at the end of training."""
        return self.metrics.get("full_bits_per_byte")

    @property
    def full_perplexity(self) -> float | None:
        """On the full dev split; only at the end of training."""
        return self.metrics.get("full_perplexity")

    @property
    def train_loss(self) -> float:
        """Mean training loss in nats per token since the observation before."""
        return self.metrics["train_loss"]

    @property
    def tokens_per_second(self) -> float | None:
        """Training throughput since the observation before; evaluation not counted."""
        return self.metrics.get("tokens_per_second")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided on a cell when an observation arrived, and why."""

    cell: str
    tokens: int
    """Of the observation that it answers."""
    action: Action
    rule: str
    """Name of the stopping rule, or DIVERGED or COMPLETED."""
    reason: str
    """One sentence with the numbers, for a person."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The numbers that it rests on, plain values."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""


class FailureClass(str, Enum):
    """What went wrong, as far as it decides what to do about it."""

    CODE = "code"
    """An exception in the trial's own code."""
    HOST = "host"
    """The process or the host was lost."""
    NETWORK = "network"
    """The host lives but could not be reached."""
    STORAGE = "storage"
    """The store or the disk refused."""
    NUMBERS = "numbers"
    """The loss or a gradient is not finite."""
    MEMORY = "memory"
    """Out of memory, by exception or by the cgroup's count of OOM kills."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An attempt at a cell that ended in an error."""

    cell: str
    kind: FailureClass
    reason: str
    """The last line of the error."""
    traceback: str
    """Empty where none came back."""
    ended: bool
    """Whether it ended the cell, or only the attempt."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""
    host: str = ""
    """The node that it happened on."""
    tokens: int = 0
    """Of the last heartbeat, of the cell's own tokenizer."""
    cause: str = ""
    """What is known on the host's side (`the node died`); empty where nothing is."""
    remedy: str = ""
    """What was decided: `retried`, `retried with micro-batches of 4`."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A worker took a cell up."""

    cell: str
    number: int
    """From 1."""
    host: str
    """The node that trains it; empty where it is not known."""
    started_at: float
    """Seconds since the epoch."""
    resumed_from: int | None
    """Tokens of the checkpoint that it goes on from, 0 for none; None until the trial has said."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The newest sign of life of a cell in training."""

    cell: str
    tokens: int
    """Trained, of the cell's own tokenizer."""
    host: str
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class CellRecord(PlannedCell):
    """A planned cell and what became of it; `reason`: why it is infeasible, stopped or failed."""

    status: Status
    attempts: int = 0

    @classmethod
    def of(cls, planned: PlannedCell) -> CellRecord:
        """The record of a cell that has not been started."""
        if isinstance(planned, CellRecord):
            return planned
        values = {field.name: getattr(planned, field.name) for field in fields(PlannedCell)}
        status = Status.INFEASIBLE if planned.config is None else Status.PENDING
        return cls(**values, status=status)


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """What a sweep is: everything that must be equal for a second run to continue it."""

    name: str
    space: str
    corpus: str
    corpus_sha256: str
    baseline: str
    """Key of the baseline's cell."""
    tokens: int
    """Tokens a trial, in the baseline's tokens."""
    seeds: tuple[int, ...]
    scheduler: Mapping[str, Any]
    """`{"name": "asha", "reduction_factor": 2, "grace_fraction": 0.25}` or `{"name": "none"}`."""
    kill_rule: Mapping[str, Any]
    """`{"unit": "ppl", "margin": 0.5, "span": 1000000, …}` or `{"unit": "off"}`."""
    bytes_per_token: Mapping[str, float]
    """Dev bytes of text a token, by the tokenizer's key."""
    created_at: float
    command: str
    """The command line that continues the sweep."""
    axes: tuple[str, ...] = ()
    """The values that differ between cells, in the order of the space."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages, and `source`: the commit of Stellux that began the sweep."""
