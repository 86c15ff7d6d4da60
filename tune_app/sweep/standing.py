"""What a command finds in its sweep's folder, and what it makes of it.

Found out before anything is written or prepared, so that a refusal costs nothing and leaves the
folder as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.corpus import find_corpus
from data.errors import reading_explained
from tune_app.journal.journal import Journal
from tune_app.journal.records import CellRecord, SweepRecord
from tune_app.plan.plan import SweepPlan, with_corpus_named, with_first_round, with_round
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.rounds import NextRound, notes_of
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.rule_sets import continued
from tune_app.sweep.extension import AnotherSweepError, Extension, extension
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.recorded_sizes import are_other_sizes, with_recorded_sizes
from tune_app.sweep.rounds import next_round, with_recorded_rounds

_NOTHING = Inheritance()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a command finds in its folder."""

    plan: SweepPlan
    """What the command asks for, with corpus and cells under the names they have in the sweep."""
    rules: StoppingRules
    """The stopping rules from now on: without a scheduler's name, the sweep's own one."""
    sweep: SweepRecord | None = None
    """The record of the sweep that is there; None if there is none."""
    recorded: Sequence[CellRecord] = ()
    """Its cells, under the names that the command gives them."""
    extension: Extension | None = None
    """What the command changes in it; None if there is no sweep, or one that binds nobody."""
    replaces: bool = False
    """Whether it never started a cell and was planned differently: the command replaces it."""
    following: NextRound | None = None
    """The next round of a search whose cells have all ended; it is part of the plan."""

    @property
    def continues(self) -> bool:
        """Whether the command continues a sweep, extended or as it was."""
        return self.extension is not None

    @property
    def left(self) -> tuple[PlannedCell, ...]:
        """The cells that are to be trained."""
        if self.extension is None:
            return self.plan.feasible
        named = {cell.key for cell in self.plan.cells}
        again = {cell.key for cell in self.extension.again}
        standing = (
            cell
            for cell in self.recorded
            if cell.key in named and (not cell.status.ended or cell.key in again)
        )
        following = () if self.following is None else self.following.cells
        added = (cell for cell in self.extension.added if cell.config is not None)
        return (*standing, *added, *following)

    def refuse_other_text(self, record: SweepRecord) -> None:
        """Raises AnotherSweepError if the corpus has other text than when the sweep was begun.

        record: the sweep that is asked for, with its prepared corpora.
        """
        if self.sweep is None or self.extension is None:
            return
        remedy = f"restore it, or give this sweep another name, as in --name {self.plan.name}-2"
        if record.corpus_sha256 != self.sweep.corpus_sha256:
            raise AnotherSweepError(
                f"the corpus {self.plan.corpus} has other text now than when the sweep "
                f"{self.plan.name!r} was begun, and scores on different texts cannot be compared; "
                f"{remedy}"
            )
        for key, size in record.bytes_per_token.items():
            if self.sweep.bytes_per_token.get(key, size) != size:
                raise AnotherSweepError(
                    f"the tokenizer {key} makes other tokens of {self.plan.corpus} now than when "
                    f"the sweep was begun ({size:.4f} bytes per token instead of "
                    f"{self.sweep.bytes_per_token[key]:.4f}); use the versions of Stellux and of "
                    f"tokenizers that it was begun with, or --name {self.plan.name}-2"
                )

    def open_journal(
        self, folder: Path, record: SweepRecord, *, inheritance: Inheritance = _NOTHING
    ) -> Journal:
        """Opens the journal for writing and brings it up to the command, in one transaction.

        Args:
            folder: of the sweep.
            record: the sweep that is asked for, with its prepared corpora.
            inheritance: what it begins with if there is no sweep yet, or its new cells begin with.
        """
        path = folder / JOURNAL
        if self.sweep is None:
            record = replace(record, origin=inheritance.origin)
            return Journal.create(
                path,
                record,
                self.plan.cells,
                adopted=inheritance.cells,
                rounds=self.plan.rounds,
            )
        journal = Journal.open(path)
        try:
            if self.replaces:
                journal.plan_again(record, self.plan.cells, rounds=self.plan.rounds)
            elif self.extension is not None and not self.extension.is_empty:
                _amend(journal, self.extension, record, self.plan, inheritance)
            elif self.left:
                journal.continued_by(record.command)
            if self.following is not None:
                journal.propose(self.following.round, self.following.cells)
        except BaseException:
            journal.close()
            raise
        return journal


def standing_of(folder: Path, plan: SweepPlan, rules: StoppingRules, *, command: str) -> Standing:
    """What the command finds in the folder; reads only.

    Raises AnotherSweepError if the folder holds a sweep that trained another contest, ValueError if
    the command adds designs to a sweep whose sizes were chosen by another rule, JournalError if its
    journal cannot be read.
    """
    path = folder / JOURNAL
    if not path.exists():
        return Standing(plan=plan, rules=rules)
    with Journal.open(path, read_only=True) as journal:
        sweep, recorded, rounds = journal.sweep(), journal.cells(), journal.rounds()
    rules = continued(sweep, rules)
    plan = _as_drawn(recorded, with_corpus_of(sweep, plan))
    trained = any(cell.attempts for cell in recorded)
    if trained:
        plan = with_recorded_rounds(plan, recorded, rounds)
    try:
        change = extension(sweep, recorded, plan, rules, command=command)
    except ValueError:
        if trained:
            raise
        change = None
    if not trained and (
        change is None or not change.is_empty or are_other_sizes(recorded, plan.cells)
    ):
        return Standing(plan=plan, rules=rules, sweep=sweep, recorded=recorded, replaces=True)
    if change is not None:
        plan = replace(plan, cells=with_recorded_sizes(recorded, plan.cells))
        plan = _named_as_in(change, plan)
        recorded = [replace(cell, label=change.labels[cell.key]) for cell in recorded]
    return _with_next_round(
        Standing(plan=plan, rules=rules, sweep=sweep, recorded=recorded, extension=change), path
    )


def _with_next_round(standing: Standing, path: Path) -> Standing:
    """With the round that follows, if a search goes on and all its cells have ended."""
    if standing.plan.search is None or not standing.continues or standing.left:
        return standing
    with Journal.open(path, read_only=True) as journal:
        following = next_round(standing.plan.search, journal)
    if following is None:
        return standing
    return replace(standing, plan=with_round(standing.plan, following), following=following)


def _named_as_in(change: Extension, plan: SweepPlan) -> SweepPlan:
    """The plan with the names that its cells have in the whole sweep."""
    cells = tuple(replace(cell, label=change.labels[cell.key]) for cell in plan.cells)
    return replace(plan, cells=cells, axes=change.sweep.axes, nuisance=change.sweep.nuisance)


def with_corpus_of(sweep: SweepRecord, plan: SweepPlan) -> SweepPlan:
    """The plan, with the sweep's name for the corpus if its content is the same.

    A corpus that was moved, or is given by another path, is still the same corpus.
    """
    if sweep.corpus == plan.corpus:
        return plan
    with reading_explained(plan.corpus):
        if find_corpus(plan.corpus).content_hash() != sweep.corpus_sha256:
            return plan
    if plan.search is not None:
        shared = {**plan.search.shared, "corpus": sweep.corpus}
        cells = with_corpus_named(plan.cells, sweep.corpus)
        own = tuple(note for note in plan.notes if note not in notes_of(plan.rounds))
        named = replace(plan, corpus=sweep.corpus, cells=cells, notes=own)
        return with_first_round(named, replace(plan.search, shared=shared))
    formerly = plan.formerly
    if formerly is not None:
        cells = with_corpus_named(formerly.cells, sweep.corpus)
        formerly = replace(formerly, corpus=sweep.corpus, cells=cells)
    return replace(
        plan,
        corpus=sweep.corpus,
        cells=with_corpus_named(plan.cells, sweep.corpus),
        formerly=formerly,
    )


def _as_drawn(recorded: Sequence[CellRecord], plan: SweepPlan) -> SweepPlan:
    """The plan with the draws that the sweep has, if an earlier version drew them."""
    if plan.formerly is None:
        return plan
    known = {cell.key for cell in recorded}
    now = {cell.key for cell in plan.cells}
    then = {cell.key for cell in plan.formerly.cells}
    return plan.formerly if known & (then - now) and not known & (now - then) else plan


def _amend(
    journal: Journal,
    change: Extension,
    record: SweepRecord,
    plan: SweepPlan,
    inheritance: Inheritance,
) -> None:
    rounds = plan.rounds if change.sweep.search and not journal.rounds() else ()
    bytes_per_token = {**record.bytes_per_token, **change.sweep.bytes_per_token}
    journal.amend(
        replace(change.sweep, bytes_per_token=bytes_per_token),
        command=change.sweep.command,
        changes=change.changes,
        added=change.added,
        left_out=[cell.key for cell in change.left_out],
        again=[cell.key for cell in change.again],
        labels=change.labels,
        adopted=[one for one in inheritance.cells if one.key in {c.key for c in change.added}],
        rounds=rounds,
    )
