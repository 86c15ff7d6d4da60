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
"""The phases that a trial's wall time is split into, in order."""


class Status(str, Enum):
    """The status of a cell. Only `finished` cells trained to the end and may be ranked."""

    INFEASIBLE = "infeasible"
    """The parameter budget has no solution; it was never started."""
    PENDING = "pending"
    RUNNING = "running"
    """A live process trains it now, or stores its trained model."""
    INTERRUPTED = "interrupted"
    """It was in training when its sweep ended or was killed; it resumes when that is continued."""
    FINISHED = "finished"
    STOPPED = "stopped"
    """Stopped early, by a stopping rule or for a diverged loss."""
    PAUSED = "paused"
    """A scheduler has it wait: others did better. It goes on if they turn out to be fewer."""
    FAILED = "failed"
    """Ended by an error in the trial."""
    LEFT_OUT = "left out"
    """Not ended, and not named by the newest command: trained once a command names it again."""

    @property
    def ended(self) -> bool:
        """Whether the cell stays as it is when the sweep is continued."""
        return self.done or self in (Status.INFEASIBLE, Status.LEFT_OUT)

    @property
    def done(self) -> bool:
        """Whether the cell was trained, to its end or until it was stopped or paused."""
        return self in (Status.FINISHED, Status.STOPPED, Status.PAUSED)

    @property
    def waits(self) -> bool:
        """Whether the cell is still to be trained to its end, or is being trained."""
        return self in (Status.PENDING, Status.RUNNING, Status.INTERRUPTED)


DISPLAY_ORDER = (
    Status.FINISHED,
    Status.STOPPED,
    Status.PAUSED,
    Status.FAILED,
    Status.INFEASIBLE,
    Status.RUNNING,
    Status.INTERRUPTED,
    Status.PENDING,
    Status.LEFT_OUT,
)
"""How people are shown the states: the ended ones first."""


ENDED_EARLY = (Status.STOPPED, Status.PAUSED)
"""Of cells that have trained a part of their tokens, and are not ranked."""

DIVERGED = "diverged"
"""`Decision.rule` of a decision that needs no stopping rule: a loss was NaN or infinite."""
COMPLETED = "completed"
"""`Decision.rule` of a decision that needs no stopping rule: all tokens are trained."""


class Action(str, Enum):
    """What a decision does to its cell."""

    CONTINUE = "continue"
    """The cell continues; the decision is recorded for its evidence."""
    STOP = "stop"
    FINISH = "finish"
    PAUSE = "pause"
    """The cell makes room for others, and waits until a rule promotes it."""
    PROMOTE = "promote"
    """A paused cell continues, since results of others show that it deserves more tokens."""

    @property
    def status(self) -> Status | None:
        """The cell's status after the decision; None if it does not change."""
        return _STATUS_OF_ACTION.get(self)

    @property
    def ends(self) -> bool:
        """Whether the cell's training is over."""
        return self in (Action.STOP, Action.FINISH)


_STATUS_OF_ACTION = {
    Action.STOP: Status.STOPPED,
    Action.FINISH: Status.FINISHED,
    Action.PAUSE: Status.PAUSED,
    Action.PROMOTE: Status.PENDING,
}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One evaluation on the dev split. Unique by (cell, tokens).

    Raises UndeclaredMetricError for a metric that `tune_app/journal/metrics.py` does not declare.
    """

    cell: str
    """Key of the cell."""
    tokens: int
    """Tokens trained, of the cell's own tokenizer."""
    baseline_tokens: int
    """The same amount of text in baseline tokens; curves are compared at equal values of it."""
    metrics: Mapping[str, float]
    """By name; for meanings and units see METRICS in `tune_app/journal/metrics.py`."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds by phase (PHASES), summed since the trial first started."""
    sample_parts: tuple[float, ...] = ()
    """Bits per byte of the parts of the dev sample, the same parts for every cell; their spread
    says how well two cells can be told apart. Empty in observations of older versions."""

    def __post_init__(self) -> None:
        for name in self.metrics:
            metric(name)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Observation:
        """The inverse of `to_values`, also after a round trip through JSON or a checkpoint.

        Metrics that this version does not declare are dropped, so that journals of other versions
        can still be read.
        """
        metrics = {name: value for name, value in values["metrics"].items() if is_declared(name)}
        parts = tuple(values.get("sample_parts", ()))
        return cls(**{**values, "metrics": metrics, "sample_parts": parts})

    def to_values(self) -> dict[str, Any]:
        """As plain values, for the journal, for reports to the driver and for checkpoints."""
        return {
            "cell": self.cell,
            "tokens": self.tokens,
            "baseline_tokens": self.baseline_tokens,
            "metrics": dict(self.metrics),
            "seconds": dict(self.seconds),
            "sample_parts": list(self.sample_parts),
        }

    # Metrics that the code itself uses; look others up in `metrics`.

    @property
    def bits_per_byte(self) -> float:
        """On the dev sample, which is the same text for every tokenizer."""
        return self.metrics["bits_per_byte"]

    @property
    def perplexity(self) -> float:
        """On the dev sample, per token of the cell's own tokenizer."""
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
        """Mean training loss in nats per token since the previous observation."""
        return self.metrics["train_loss"]

    @property
    def tokens_per_second(self) -> float | None:
        """Training throughput since the previous observation, without evaluation."""
        return self.metrics.get("tokens_per_second")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision on a cell after an observation, with its reason."""

    cell: str
    tokens: int
    """Of the observation that was decided on."""
    action: Action
    rule: str
    """Name of the stopping rule, or DIVERGED or COMPLETED."""
    reason: str
    """One sentence with the numbers, for people."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The numbers behind it, as plain values."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""
    amendment: int = 0
    """Number of the amendment whose rules made it, 0 for the sweep's first; set by the journal."""
    arrival: int = field(default=0, compare=False)
    """Arrival number of the newest observation then: its own, or that which led to a promotion; set
    by the journal."""


class FailureClass(str, Enum):
    """The kind of a failure, which decides how to respond."""

    CODE = "code"
    """An exception in the trial's own code."""
    HOST = "host"
    """The process or the host was lost."""
    NETWORK = "network"
    """The host is up but could not be reached."""
    STORAGE = "storage"
    """The store or a disk failed or is full."""
    NUMBERS = "numbers"
    """The loss or a gradient is NaN or infinite."""
    MEMORY = "memory"
    """Out of memory, by exception or by the cgroup's count of OOM kills."""
    COMPILER = "compiler"
    """torch.compile failed, so that the attempt trains eager."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An attempt at a cell that ended in an error."""

    cell: str
    kind: FailureClass
    reason: str
    """The last line of the error."""
    traceback: str
    """Empty if there is none."""
    ended: bool
    """Whether it ended the cell, or only the attempt."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""
    host: str = ""
    """The node it happened on."""
    tokens: int = 0
    """Tokens at the last heartbeat, of the cell's own tokenizer."""
    cause: str = ""
    """The cause as the host's side shows it (`the node died`); empty if unknown."""
    remedy: str = ""
    """What was decided: `retried`, `retried with micro-batches of 4`."""
    after: int = field(default=0, compare=False)
    """Arrival number of the last observation before it, 0 for none; set by the journal."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The machine that an attempt trains on, and its price."""

    worker: int | None = None
    """The number of a cluster's rented worker."""
    machine: str = ""
    """The market's number of a rented machine, the name of any other; empty if unknown."""
    gpu: str = ""
    """Model of its GPU; empty if it has none, or it is unknown."""
    dollars_per_hour: float | None = None
    """Of the whole machine, storage and bandwidth apart; None if it is unknown."""
    contract: int | None = None
    """The market's number of the rental; None for a machine that is not rented."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a cell on a worker."""

    cell: str
    number: int
    """From 1."""
    host: str
    """The node that trains it; empty if unknown."""
    started_at: float
    """Seconds since the epoch."""
    resumed_from: int | None
    """Tokens of the checkpoint it resumed from, 0 for none; None until the trial reports it."""
    place: Place = Place()
    run: int = 0
    """Number of the driver's run that started it; 0 if another sweep's, or an older version's."""
    ended_at: float | None = None
    """When it left the machine, in seconds since the epoch; None if it is there, or unknown."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The newest sign of life of a running cell."""

    cell: str
    tokens: int
    """Trained, of the cell's own tokenizer."""
    host: str
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A finished cell's score on a split that decides nothing. Unique by (cell, split)."""

    cell: str
    split: str
    """`test`."""
    tokens: int
    """Trained by the checkpoint that was scored, of the cell's own tokenizer."""
    bits_per_byte: float
    """Infinite if the model's loss is NaN or infinite."""
    perplexity: float
    """Per token of the cell's own tokenizer."""
    text_bytes: int
    """UTF-8 bytes of the text scored."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""


@dataclass(frozen=True, kw_only=True)
class CellEvaluation:
    """What a trained cell scored in one suite. Unique by (cell, suite, split); decides nothing."""

    cell: str
    suite: str
    """`language_modelling`, `sst2`, …"""
    split: str
    """Of the corpus, or of the suite's published data."""
    metrics: Mapping[str, float]
    """By name; `tune_app/evaluation/fields.py` has meanings and units."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Rules and sources in words, by name."""
    at: float = 0.0
    """Seconds since the epoch; set by the journal."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something in which a sweep differed before and after an amendment."""

    name: str
    """`seeds`, `scheduler`, `kill_rule`, `space`, or an axis."""
    before: Any
    """A plain value: a list of the values of an axis, the record of a rule."""
    after: Any


@dataclass(frozen=True, kw_only=True)
class Amendment:
    """A command that changed a sweep: added cells, left some out, or set other stopping rules."""

    number: int
    """From 1."""
    at: float
    """Seconds since the epoch."""
    arrival: int
    """Arrival number of the last observation before it, 0 for none."""
    command: str
    changes: tuple[Change, ...]
    added: int
    """Cells that were added."""
    left_out: int
    """Cells that had not ended, and that the command did not name."""


@dataclass(frozen=True, kw_only=True)
class CellRecord(PlannedCell):
    """A planned cell and its status; `reason` says why it is infeasible, stopped or failed."""

    status: Status
    attempts: int = 0
    amendment: int = 0
    """Number of the amendment that added it, 0 if it was in the sweep from the start."""

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
    """The definition of a sweep, which a run must match to continue it.

    `name`, `created_at`, `command`, `test_bytes` and `versions` may differ.
    """

    name: str
    """That of its folder: renaming the folder renames the sweep."""
    space: str
    corpus: str
    corpus_sha256: str
    baseline: str
    """Key of the baseline's cell."""
    tokens: int
    """Baseline tokens per trial."""
    seeds: tuple[int, ...]
    scheduler: Mapping[str, Any]
    """`{"name": "asha", "reduction_factor": 2, "grace_fraction": 0.25}` or `{"name": "none"}`."""
    kill_rule: Mapping[str, Any]
    """`{"unit": "ppl", "margin": 0.5, "span": 1000000, …}` or `{"unit": "off"}`."""
    bytes_per_token: Mapping[str, float]
    """Bytes of dev text per token, by the tokenizer's key."""
    created_at: float
    command: str
    """The command line that continues the sweep."""
    axes: tuple[str, ...] = ()
    """The values that differ between cells, in the order of the space."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages, and `source`: the commit of Stellux that started the sweep."""
    begun_as: str = ""
    """Its name when it was begun, under which a shared store and W&B know it; set by the journal.
    """
    test_bytes: int | None = None
    """Bytes of the test split; 0 if the corpus has none, None if an older version did not say."""
    log_axes: tuple[str, ...] = ()
    """Axes whose values were drawn on a logarithmic scale."""
    nuisance: tuple[str, ...] = ()
    """Axes that are nuisances: designs are compared at their best on them."""
    paired: tuple[tuple[str, ...], ...] = ()
    """Axes that vary together, value by value, see `tune_app.plan.paired`."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Of a phase of a study: which study and phase it is, and why it trains these cells. Of a sweep
    on more tokens: which one it `extends`, and from where each cell goes on. Else empty."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """What proposes cells in rounds (`Search.as_dict`); empty if all cells were planned at once."""
