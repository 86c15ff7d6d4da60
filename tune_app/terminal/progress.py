"""The current state of a sweep, from which every view is drawn.

Read from the journal, and updated by the events of a listener. Independent of any terminal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.journal.records import (
    DISPLAY_ORDER,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Status,
    SweepRecord,
)
from tune_app.plan.cell_names import CellNames
from tune_app.plan.search.records import SEARCH_TITLE
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.stopping.curves import Curves, value_at
from tune_app.terminal.eta import measured_pace


class SweepProgress:
    """The cells of a sweep with their curves."""

    def __init__(
        self,
        sweep: SweepRecord,
        cells: Sequence[CellRecord],
        observations: Iterable[Observation] = (),
        *,
        rounds: int = 0,
        rounds_left: int = 0,
    ) -> None:
        self.sweep = sweep
        self._rounds, self._rounds_left = rounds, rounds_left
        self._cells = {cell.key: cell for cell in cells}
        self._curves = Curves(
            cells, baseline=sweep.baseline, nuisance=sweep.nuisance, observations=observations
        )
        self._trained = {
            key: curve[-1].baseline_tokens for key, curve in self._curves.by_cell().items()
        }

    @classmethod
    def read(cls, journal: Journal) -> SweepProgress:
        with journal.one_moment():
            return cls(
                journal.sweep(),
                journal.cells(),
                journal.observations(),
                rounds=len(journal.rounds()),
                rounds_left=journal.rounds_left(),
            )

    # Events

    def resume(self) -> None:
        """A driver continues the sweep: every cell that has not ended is pending again."""
        for cell in self.cells:
            if not cell.status.ended:
                self._cells[cell.key] = replace(cell, status=Status.PENDING)

    def start(self, cell: CellRecord) -> None:
        self._cells[cell.key] = replace(cell, status=Status.RUNNING)

    def advance(self, cell: CellRecord, tokens: int) -> None:
        """A running cell has trained `tokens` of its own tokens."""
        self._trained[cell.key] = self.baseline_tokens(cell, tokens)

    def reached(self, cell: CellRecord, tokens: int) -> None:
        """A cell was seen at `tokens` of its own tokens; it may have been evaluated later."""
        self._trained[cell.key] = max(self.tokens(cell), self.baseline_tokens(cell, tokens))

    def observe(self, observation: Observation, decision: Decision | None) -> None:
        self._curves.add(observation)
        self._trained[observation.cell] = observation.baseline_tokens
        status = decision.action.status if decision else None
        if decision and status:
            self._cells[observation.cell] = replace(
                self._cells[observation.cell], status=status, reason=decision.reason
            )

    def promote(self, decision: Decision) -> None:
        """A paused cell waits to be started again."""
        cell = self._cells[decision.cell]
        self._cells[cell.key] = replace(cell, status=Status.PENDING, reason=decision.reason)

    def fail(self, failure: Failure) -> None:
        """Records a failure. If only the attempt failed, the cell still counts as running."""
        if not failure.ended:
            return
        self._cells[failure.cell] = replace(
            self._cells[failure.cell], status=Status.FAILED, reason=failure.reason
        )

    # Questions

    @property
    def cells(self) -> list[CellRecord]:
        """Every cell, the baseline first."""
        return list(self._cells.values())

    def cell(self, key: str) -> CellRecord:
        return self._cells[key]

    def with_status(self, *statuses: Status) -> list[CellRecord]:
        return [cell for cell in self._cells.values() if cell.status in statuses]

    def is_baseline(self, cell: CellRecord) -> bool:
        """Whether the cell is the baseline, on any seed."""
        return self._curves.is_baseline(cell.key)

    def is_yardstick(self, cell: CellRecord) -> bool:
        """Whether others are compared with the cell: it is the baseline on its seed and at its
        nuisance values."""
        return self._curves.baseline_of(cell.key) == cell.key

    @property
    def lost_baseline(self) -> bool:
        """Whether the baseline diverged on some seed, so that nothing can be compared with it.

        Only divergence stops a baseline.
        """
        return any(self.is_baseline(cell) for cell in self.with_status(Status.STOPPED))

    def _baseline(self, cell: CellRecord) -> CellRecord | None:
        """The baseline that the cell is compared with; None if its seed has none."""
        key = self._curves.baseline_of(cell.key)
        return None if key is None else self._cells[key]

    def _text_per_token(self, cell: CellRecord) -> float:
        """Baseline tokens per token of the cell's own tokenizer."""
        last = self.last(cell)
        if last is not None and last.tokens > 0:
            return last.baseline_tokens / last.tokens
        sizes = self.sweep.bytes_per_token
        own, baseline = (
            sizes.get(tokenizer_of(one.values).key)
            for one in (cell, self._cells[self.sweep.baseline])
        )
        return own / baseline if own and baseline else 1.0

    def baseline_tokens(self, cell: CellRecord, tokens: int) -> int:
        """Converts tokens of the cell's own tokenizer into baseline tokens."""
        return round(tokens * self._text_per_token(cell))

    def last(self, cell: CellRecord) -> Observation | None:
        """The latest observation of a cell."""
        curve = self._curves.of(cell.key)
        return curve[-1] if curve else None

    def tokens(self, cell: CellRecord) -> int:
        """Baseline tokens trained so far."""
        return self._trained.get(cell.key, 0)

    def share(self, cell: CellRecord) -> float:
        """Share of its tokens that the cell has trained; 1 if it has finished."""
        if cell.status is Status.FINISHED:
            return 1.0
        return min(1.0, self.tokens(cell) / self.sweep.tokens)

    def gap(self, cell: CellRecord) -> float | None:
        """Bits per byte above the baseline's at the tokens of the cell's latest observation.

        Compares with the baseline on the cell's seed, whose curve is interpolated linearly in
        tokens and never extrapolated. None if it is unknown there, and for the baseline itself.
        """
        last, baseline = self.last(cell), self._curves.baseline_of(cell.key)
        if last is None or baseline is None or self.is_yardstick(cell):
            return None
        level = value_at(
            self._curves.of(baseline), last.baseline_tokens, lambda point: point.bits_per_byte
        )
        return None if level is None else last.bits_per_byte - level

    def score(self, cell: CellRecord) -> float | None:
        """Bits per byte on the full dev split; None if the cell may not be ranked."""
        last = self.last(cell)
        score = last.full_bits_per_byte if last and cell.status is Status.FINISHED else None
        return score if score is not None and math.isfinite(score) else None

    def final_gap(self, cell: CellRecord) -> float | None:
        """Bits per byte above the baseline's on the full dev split; None until both finished."""
        score, baseline = self.score(cell), self._baseline(cell)
        level = None if baseline is None else self.score(baseline)
        return None if score is None or level is None else score - level

    def ranked(self) -> list[CellRecord]:
        """Finished cells by bits per byte on the full dev split, the lowest first."""
        scored = [
            (score, cell.position, cell)
            for cell in self.cells
            if (score := self.score(cell)) is not None
        ]
        return [cell for _, _, cell in sorted(scored, key=lambda entry: entry[:2])]

    def counts(self) -> str:
        """Number of cells by status: `3 finished, 2 stopped, 2 running, 5 pending`."""
        number = Counter(cell.status for cell in self._cells.values())
        return formats.listed((number[status], status.value) for status in DISPLAY_ORDER)

    @property
    def to_come(self) -> int:
        """Cells of a search's rounds that are still to be proposed."""
        if not self._rounds_left:
            return 0
        return (
            self._rounds_left * int(self.sweep.search["sampler"]["cells"]) * len(self.sweep.seeds)
        )

    @property
    def round_text(self) -> str:
        """`round 2 of 3` of a search, else empty."""
        if not self.sweep.search:
            return ""
        return f"round {self._rounds} of {self._rounds + self._rounds_left}"

    @property
    def title(self) -> str:
        """What the cells' names are made of: `learning rate × heads`; empty if it is not known."""
        axes = self.sweep.axes
        if self.sweep.search:
            return SEARCH_TITLE
        values = [cell.values for cell in self._cells.values()]
        if any(axis not in one for one in values for axis in axes):
            return ""
        return CellNames(values, axes).title

    def over(self) -> tuple[int, int]:
        """How many cells this run will not train any further, and how many there are to train.

        Infeasible cells and those that the sweep leaves out are in neither; those that a search has
        still to propose are to be trained.
        """
        cells = [
            cell
            for cell in self._cells.values()
            if cell.status not in (Status.INFEASIBLE, Status.LEFT_OUT)
        ]
        return sum(not cell.status.waits for cell in cells), len(cells) + self.to_come

    def saved_by_stopping(self) -> tuple[int, float]:
        """Baseline tokens that stopped and paused cells did not train, and the seconds saved.

        Seconds are computed at the pace of each of these cells.
        """
        tokens, seconds = 0, 0.0
        for cell in self.with_status(Status.STOPPED, Status.PAUSED):
            left = max(0, self.sweep.tokens - self.tokens(cell))
            tokens += left
            last = self.last(cell)
            pace = measured_pace(last) if last else None
            seconds += left * pace.per_token if pace else 0.0
        return tokens, seconds

    def spent(self) -> tuple[int, float]:
        """Baseline tokens trained by all cells, and their wall seconds."""
        tokens, seconds = 0, 0.0
        for cell in self._cells.values():
            if last := self.last(cell):
                tokens += last.baseline_tokens
                seconds += sum(last.seconds.values())
        return tokens, seconds
