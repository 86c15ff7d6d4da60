"""From a search space and the user's options to a list of solved cells: a sweep before it runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.budget import TrainTokens, in_tokens
from tune_app.plan.cell import Cell, refuse_former_sample
from tune_app.plan.cell_names import CellNames, named
from tune_app.plan.data_settings import data_notes
from tune_app.plan.labels import axis_name, describe_value, ordered
from tune_app.plan.like import with_preset
from tune_app.plan.planned_cells import planned_cell
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.records import SEARCH_TITLE, Round
from tune_app.plan.search.rounds import NextRound, Search, label_on_seed, propose
from tune_app.plan.space import Space, expand, search_of
from tune_app.plan.space_file import at_its_line
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.plan.wishes import Wishes

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A sweep with every cell solved, or known to be infeasible."""

    name: str
    space: str
    cells: tuple[PlannedCell, ...]
    """The baseline first."""
    corpus: str
    tokens: int
    seeds: tuple[int, ...]
    axes: tuple[str, ...]
    nuisance: tuple[str, ...] = ()
    """The axes that are nuisances: designs are compared at their best on them."""
    paired: tuple[tuple[str, ...], ...] = ()
    """Axes that vary together, value by value."""
    log_axes: tuple[str, ...] = ()
    """Axes whose values are drawn on a logarithmic scale."""
    notes: tuple[str, ...] = ()
    """What a person should know about the draws from distributions."""
    search: Search | None = None
    """What proposes further cells, round by round; None if the cells are all there are."""
    rounds: tuple[Round, ...] = ()
    """The rounds that are proposed so far; their cells are among `cells`."""
    formerly: SweepPlan | None = None
    """The same with the draws that earlier versions made: they were seeded by the first of the
    seeds. None if these are the same."""

    @property
    def baseline(self) -> PlannedCell:
        return self.cells[0]

    @property
    def title(self) -> str:
        """What the cells' names are made of: `learning rate × heads`."""
        if self.search is not None:
            return SEARCH_TITLE
        return CellNames([cell.values for cell in self.cells], self.axes).title

    @property
    def nuisance_text(self) -> str:
        """What is done about the nuisance axes, in a line; empty if there are none."""
        if not self.nuisance:
            return ""
        axes = "; ".join(
            f"{axis_name(axis)} "
            + ", ".join(
                describe_value(axis, value)
                for value in ordered([cell.values.get(axis) for cell in self.cells])
            )
            for axis in self.nuisance
        )
        first, *others = self.seeds
        scored = f"{'seed' if len(others) == 1 else 'seeds'} {', '.join(map(str, others))}"
        how = f"chosen on seed {first} and scored on {scored}"
        if not others:
            how = f"chosen and scored on seed {first}, which is optimistic"
        return f"{axes}: designs are compared at their best, {how}"

    @property
    def feasible(self) -> tuple[PlannedCell, ...]:
        return tuple(cell for cell in self.cells if cell.config is not None)

    @property
    def tokenizers(self) -> list[TokenizerSpec]:
        """Those of the feasible cells, or that a search may propose; the smallest first."""
        found = {tokenizer_of(cell.values) for cell in self.feasible}
        if self.search is not None:  # they are made before the first cell is trained
            found |= set(self.search.tokenizers)
        return sorted(found, key=lambda tokenizer: (tokenizer.vocab_size, tokenizer.key))


def make_plan(
    space: Space, wishes: Wishes, *, train_tokens: TrainTokens | None = None
) -> SweepPlan:
    """Expands a space and solves each cell. Starts nothing and reads no corpus itself.

    train_tokens: counts the training text, for a length in epochs; None refuses one.

    Raises ValueError if an option is impossible, if the baseline is infeasible, or if cells differ
    in corpus, tokens or evaluations and so could not be compared.
    """
    wishes = with_preset(space, wishes)
    space, wishes, length = in_tokens(space, wishes, train_tokens=train_tokens)
    name = wishes.name or space.name
    if not NAME.fullmatch(name):
        raise ValueError(
            f"the sweep's name is {name!r}; it names a folder, so use letters, digits, '.', '_' "
            "and '-', and start with a letter or a digit"
        )
    plan = _plan(space, wishes, name=name, draw_seed=0)
    if length:
        plan = replace(plan, notes=(length, *plan.notes))
    first = wishes.seeds[0]
    if first == 0 or space.samples is None:
        return plan
    return replace(plan, formerly=_plan(space, wishes, name=name, draw_seed=first))


def _plan(space: Space, wishes: Wishes, *, name: str, draw_seed: int) -> SweepPlan:
    try:
        expansion = expand(space, wishes.values, seeds=wishes.seeds, draw_seed=draw_seed)
    except ValueError as error:
        raise at_its_line(error, space, overridden=wishes.values) from None
    axes = (*space.axes, *space.nuisance)
    differing = axes if len(wishes.seeds) == 1 else (*axes, "seed")
    search = search_of(space, expansion, wishes.sampler_settings, seeds=wishes.seeds)
    unnamed = [planned_cell(cell, position) for position, cell in enumerate(expansion.cells)]
    records = tuple(named(unnamed, differing) if search is None else _baselines(unnamed, search))
    baseline = records[0]
    if baseline.config is None:
        raise ValueError(
            f"the baseline itself is infeasible: {baseline.reason}{_unset(space, wishes, baseline)}"
        )
    for shared in ("corpus", "tokens", "evaluations", "evaluation_bytes", "sample"):
        if len({str(cell.values[shared]) for cell in records}) > 1:
            mixed = ValueError(
                f"{shared} differs between cells, so they could not be compared; "
                "use the same value for all"
            )
            raise at_its_line(mixed, space, overridden=wishes.values)
    try:
        refuse_former_sample(str(baseline.values["sample"]))
    except ValueError as error:
        raise at_its_line(error, space, overridden=wishes.values) from None
    tokens = int(baseline.values["tokens"])
    plan = SweepPlan(
        name=name,
        space=space.name,
        cells=records,
        corpus=str(baseline.values["corpus"]),
        tokens=tokens,
        seeds=tuple(wishes.seeds),
        axes=differing,
        nuisance=tuple(space.nuisance),
        paired=space.paired,
        log_axes=tuple(
            axis for axis, values in space.axes.items() if getattr(values, "log", False)
        ),
        notes=(*expansion.notes, *data_notes(baseline.values, axes=axes)),
        search=search,
    )
    return plan if search is None else with_first_round(plan, search)


def _baselines(cells: Sequence[PlannedCell], search: Search) -> list[PlannedCell]:
    """The baseline's cells with their names in a search."""
    return [
        replace(cell, label=label_on_seed("baseline", cell.values["seed"], search.seeds))
        for cell in cells
    ]


def with_first_round(plan: SweepPlan, search: Search) -> SweepPlan:
    """The plan of a search with its baseline and its first round, which needs no results.

    Raises SearchExhaustedError if nothing in the space can be trained.
    """
    own = plan.cells[: len(search.seeds)]
    first = propose(
        search,
        number=1,
        first=1,
        told=(),
        known={cell.key: cell.label for cell in own},
        position=len(own),
    )
    return with_round(replace(plan, search=search, cells=own, rounds=()), first)


def with_round(plan: SweepPlan, following: NextRound) -> SweepPlan:
    """The plan with the cells of one more round."""
    return replace(
        plan,
        cells=(*plan.cells, *following.cells),
        rounds=(*plan.rounds, following.round),
        notes=(*plan.notes, *following.notes),
    )


def _unset(space: Space, wishes: Wishes, baseline: PlannedCell) -> str:
    """The axes whose default the baseline has, since the space gives it no value on them."""
    given = {**space.fixed, **wishes.values, **space.baseline}
    unset = [
        (axis, baseline.values[axis])
        for axis, values in space.axes.items()
        if axis not in given
        and not (isinstance(values, (list, tuple)) and baseline.values[axis] in values)
    ]
    if not unset:
        return ""
    defaults = ", ".join(f"{axis} {value}" for axis, value in unset)
    values = ", ".join(
        f'"{axis}": {space.axes[axis][0]!r}'
        if isinstance(space.axes[axis], (list, tuple))
        else f'"{axis}": …'
        for axis, _ in unset
    )
    return (
        f". The baseline has the default on an axis ({defaults}), since the space does not set it; "
        f"add for example BASELINE = {{{values}}}"
    )


def plan_of_cells(
    cells: Sequence[Cell],
    *,
    name: str,
    space: str,
    axes: Sequence[str],
    nuisance: Sequence[str] = (),
) -> SweepPlan:
    """A plan of these very cells, the baseline first.

    Args:
        cells: of one corpus and one number of tokens, each once.
        name: of the sweep.
        space: what stands for the space's name in its record.
        axes: the settings in which they differ, without the seed.
        nuisance: those of the axes that are nuisances.

    Raises ValueError if the baseline is infeasible.
    """
    seeds = tuple(dict.fromkeys(cell.seed for cell in cells))
    differing = (*axes, "seed") if len(seeds) > 1 else tuple(axes)
    planned = [planned_cell(cell, position) for position, cell in enumerate(cells)]
    if planned[0].config is None:
        raise ValueError(f"the baseline itself is infeasible: {planned[0].reason}")
    settings = cells[0].settings
    return SweepPlan(
        name=name,
        space=space,
        cells=tuple(named(planned, differing)),
        corpus=settings.corpus,
        tokens=settings.tokens,
        seeds=seeds,
        axes=differing,
        nuisance=tuple(nuisance),
    )


def with_corpus_named(cells: Sequence[PlannedCell], corpus: str) -> tuple[PlannedCell, ...]:
    """The cells with their corpus renamed, and so with new keys."""
    renamed = []
    for cell in cells:
        values = {**cell.values, "corpus": corpus}
        named = Cell.from_values(values)
        renamed.append(replace(cell, key=named.key, former_key=named.former_key, values=values))
    return tuple(renamed)
