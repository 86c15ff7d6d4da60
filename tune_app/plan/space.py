"""A search space: what varies and what is fixed; and the cells it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from model.sizing.budget import InfeasibleBudget, solve
from model.sizing.search import search
from model.spec import ModelSpec
from tune_app.plan import nuisance, paired
from tune_app.plan.cell import BASELINE_MODEL, Cell, as_meant, value_as_meant
from tune_app.plan.plain import plain
from tune_app.plan.sampling import Draws, RandomSampler, Sampler, feasible_draws
from tune_app.plan.search.rounds import Search
from tune_app.plan.search.settings import SamplerSettings
from tune_app.plan.search.space import SEARCH, WHEN, SearchSpace, is_distribution, search_space

SAMPLER = "SAMPLER"
_OF_SEARCH = (SEARCH, WHEN, SAMPLER)
PARTS = ("AXES", nuisance.PART, "FIXED", "BASELINE", "SCHEDULER", "KILL_RULE", *_OF_SEARCH)
"""The names of a space file that map settings to values."""
_NAMES = (*PARTS, "SAMPLES")
_SIZES = {one.name for one in fields(ModelSpec)}
"""The settings on which it depends whether a cell has a solution."""


class SpaceError(ValueError):
    """A search space that cannot be read or is invalid."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The contents of a search space file."""

    name: str
    axes: Mapping[str, Any]
    """Value name → list of values, or an Optuna distribution.

    A space file may also map a tuple of names to rows of values (see `paired`): they become one
    axis for each name, and an entry of `paired`.
    """
    nuisance: Mapping[str, Any] = field(default_factory=dict)
    """Name of a setting of training → list of values that every design is tried at."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] = field(default_factory=dict)
    paired: tuple[tuple[str, ...], ...] = ()
    """Names of axes that vary together, value by value."""
    samples: int | None = None
    """Draws from the distributions, if an axis is one."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    kill_rule: Mapping[str, Any] = field(default_factory=dict)
    search: SearchSpace | None = None
    """What a sampler searches in rounds, in place of all combinations; `axes` are then its
    settings with their values."""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the sampler (`SamplerSettings`), if there is a search."""
    source: str = ""
    """The file it was read from."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """The line of the file at which a part or a setting begins: AXES, AXES.learning_rate."""

    def __post_init__(self) -> None:
        if isinstance(self.axes, Mapping):
            together = tuple(key for key in self.axes if isinstance(key, tuple))
            axes = {
                name: _listed(name, values) for name, values in paired.columns(self.axes).items()
            }
            object.__setattr__(self, "axes", axes)
            object.__setattr__(self, "paired", (*self.paired, *together))
        if isinstance(self.nuisance, Mapping):
            tried = {name: _listed(name, values) for name, values in self.nuisance.items()}
            object.__setattr__(self, "nuisance", tried)
        for part in ("fixed", "baseline"):
            values = getattr(self, part)
            meant = as_meant(values) if isinstance(values, Mapping) else values
            object.__setattr__(self, part, meant)
        for part in ("scheduler", "kill_rule", "sampler"):
            object.__setattr__(self, part, plain(getattr(self, part)))


def space_from(names: Mapping[str, Any], *, name: str, source: str) -> Space:
    """A space from the names that a space file defines, such as AXES; lower-case ones are ignored.

    Args:
        source: what an error message calls the space.

    Raises SpaceError if it is invalid.
    """
    unknown = [key for key in names if key.isupper() and key not in _NAMES]
    if unknown:
        raise SpaceError(
            f"{source} sets unknown {unknown[0]}; expected {', '.join(_NAMES)}; names of your own "
            "must not be all capitals"
        )
    if isinstance(names.get("AXES"), Mapping):
        try:
            paired.refuse_impossible(names["AXES"])
        except ValueError as error:
            raise SpaceError(f"{source}: {error}") from None
    searched = _searched(names, source)
    space = Space(
        name=name,
        axes=names.get("AXES", {}) if searched is None else searched.axes,
        nuisance=names.get(nuisance.PART, {}),
        fixed=names.get("FIXED", {}),
        baseline=names.get("BASELINE", {}),
        samples=names.get("SAMPLES"),
        scheduler=names.get("SCHEDULER", {}),
        kill_rule=names.get("KILL_RULE", {}),
        search=searched,
        sampler=names.get(SAMPLER, {}),
    )
    _check(space, source)
    return space


def _searched(names: Mapping[str, Any], source: str) -> SearchSpace | None:
    """The conditional space of a file that has a SEARCH in place of AXES."""
    if SEARCH not in names:
        if found := [part for part in (WHEN, SAMPLER) if part in names]:
            raise SpaceError(f"{source} has {found[0]} but no {SEARCH}, whose part it is")
        return None
    for part in ("AXES", nuisance.PART, "SAMPLES"):
        if part in names:
            raise SpaceError(
                f"{source} has both {SEARCH} and {part}; a search draws from {SEARCH} alone, so "
                f"move what {part} names into it"
            )
    try:
        SamplerSettings.from_values(names.get(SAMPLER, {}))
        return search_space(names[SEARCH], names.get(WHEN, {}))
    except ValueError as error:
        raise SpaceError(f"{source}: {error}") from None


def _check(space: Space, source: str) -> None:
    if not isinstance(space.axes, Mapping) or not space.axes:
        raise SpaceError(f"{source} has no AXES; it must map names to lists of values")
    for part in ("nuisance", "fixed", "baseline", "scheduler", "kill_rule", "sampler"):
        if not isinstance(getattr(space, part), Mapping):
            raise SpaceError(f"{source}: {part.upper()} must map names to values")
    for name, values in space.axes.items():
        if space.search is not None:
            break  # it has checked its values itself
        if is_distribution(values):
            if not isinstance(space.samples, int) or space.samples < 1:
                raise SpaceError(
                    f"{source}: {name} is a distribution, so SAMPLES must say how many values "
                    "to draw"
                )
        elif not isinstance(values, (list, tuple)) or not values:
            raise SpaceError(
                f"{source}: {name} is {values!r}; it must be a list of values{_hint(values)}"
            )
    if space.samples is not None and not any(map(is_distribution, space.axes.values())):
        raise SpaceError(f"{source}: SAMPLES is {space.samples!r}, but no axis is a distribution")
    try:
        nuisance.refuse_impossible(space.nuisance, taken={"AXES": space.axes, "FIXED": space.fixed})
    except ValueError as error:
        raise SpaceError(f"{source}: {error}") from None
    if "seed" in {*space.fixed, *space.baseline}:
        raise SpaceError(f"{source} sets a seed; use --seeds")


def _listed(name: str, values: Any) -> Any:
    """An axis with its values as a list, if they are in an array or a range."""
    listed = plain(list(values) if isinstance(values, range) else values)
    if type(listed) in (list, tuple):
        return [value_as_meant(name, value) for value in listed]
    return listed


def _hint(values: Any) -> str:
    """What to write in place of something that is not a list."""
    if isinstance(values, (str, int, float)):
        return f": [{values!r}]"
    if isinstance(values, Mapping) or callable(values):
        return ", or a distribution from optuna.distributions"
    return ": list(…)" if isinstance(values, Iterable) and values else ""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The cells of a space."""

    cells: tuple[Cell, ...]
    """The baseline first: all seeds of it, then of its nuisance values. Each cell once."""
    notes: tuple[str, ...]
    """What a person should know about the draws."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """The values of every cell but the baseline that are not drawn, with the baseline's model."""


def expand(
    space: Space, overrides: Mapping[str, Any], *, seeds: Sequence[int], draw_seed: int = 0
) -> Expansion:
    """The cells of a space.

    Args:
        space: what to vary.
        overrides: values that replace the space's FIXED ones.
        seeds: each configuration becomes one cell per nuisance value and seed.
        draw_seed: of the draws from distributions, which do not depend on the seeds that train.

    Raises:
        ValueError: an override sets an axis, a value is impossible, or no draw is feasible.
    """
    clash = sorted(set(overrides) & {*space.axes, *space.nuisance})
    if clash:
        raise SpaceError(
            f"{clash[0]} is an axis of the space {space.name!r}, so it cannot be set as well"
        )
    if "seed" in {*overrides, *space.axes, *space.fixed}:
        raise SpaceError("seed cannot be set as a value; use --seeds")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds are {list(seeds)}; give at least one, each only once")
    fixed = {**space.fixed, **overrides}
    baseline = {**BASELINE_MODEL, **fixed, **space.baseline}
    baseline_model = Cell.from_values(baseline).own_model()
    baseline["baseline"] = baseline_model
    shared = {**BASELINE_MODEL, **fixed, "baseline": baseline_model}
    nuisances = nuisance.combinations(space.nuisance)
    own = nuisance.baseline_first(nuisances, Cell.from_values(baseline).values())
    points: list[dict[str, Any]] = []
    notes: list[str] = []
    if space.search is None:
        points, notes = _points(space, shared, RandomSampler(seed=draw_seed))
    cells = [
        Cell.from_values({**values, **trial, "seed": seed})
        for values, trials in (
            (baseline, own),
            *(({**shared, **point}, nuisances) for point in points),
        )
        for trial in trials
        for seed in seeds
    ]
    once: dict[str, Cell] = {}
    for cell in cells:
        once.setdefault(cell.meaning, cell)
    return Expansion(cells=tuple(once.values()), notes=tuple(notes), shared=shared)


def search_of(
    space: Space, expansion: Expansion, sampler: Mapping[str, Any], *, seeds: Sequence[int]
) -> Search | None:
    """The search of an expanded space; None if it has none.

    sampler: settings that replace the space's.

    Raises ValueError for settings that cannot be, and for any without a search.
    """
    if space.search is None:
        if sampler:
            raise ValueError(
                f"{next(iter(sampler))} of the sampler is set, but the space {space.name!r} is no "
                "search: it has no SEARCH, so all its cells are known at once"
            )
        return None
    return Search(
        space=space.search,
        settings=SamplerSettings.from_values({**space.sampler, **sampler}),
        shared=expansion.shared,
        seeds=tuple(seeds),
    )


def _points(
    space: Space, shared: Mapping[str, Any], sampler: Sampler
) -> tuple[list[dict[str, Any]], list[str]]:
    """All combinations of the listed values, each with draws from the distributions; and notes.

    A combination without any feasible draw keeps its first one, so that the plan shows why. If no
    setting that the solver reads is drawn, the combination alone decides whether it is feasible:
    nothing is drawn again, and nothing is blamed on the draws.
    """
    grids = {name: values for name, values in space.axes.items() if not is_distribution(values)}
    drawn = {name: values for name, values in space.axes.items() if is_distribution(values)}
    combinations = list(paired.combinations(grids, space.paired))
    if not drawn:
        return combinations, []
    assert space.samples is not None
    sizes = [name for name in drawn if name in _SIZES]

    def accepts(combination: Mapping[str, Any], draw: Mapping[str, Any]) -> bool:
        return search(Cell.from_values({**shared, **combination, **draw}).model) is not None

    redraw = bool(sizes)
    found = feasible_draws(
        sampler,
        drawn,
        [partial(accepts, combination) for combination in combinations],
        wanted=space.samples,
        redraw=redraw,
    )
    if not any(draws.kept for draws in found):
        if not redraw:
            refusal = _refusal({**shared, **combinations[0], **found[0].infeasible[-1]})
            raise SpaceError(f"no combination of the space is feasible; the first one: {refusal}")
        refused = {**shared, **combinations[0], **found[0].infeasible[-1]}
        raise SpaceError(
            f"no draw from {', '.join(sizes)} is feasible, of {found[0].tried} for each "
            f"combination; the last one: {_refusal(refused)}"
        )
    pairs = list(zip(combinations, found, strict=True))
    points = [
        {**combination, **draw}
        for combination, draws in pairs
        for draw in draws.kept or draws.infeasible[:1]
    ]
    if not redraw:  # the plan says which combinations are infeasible, and why
        pairs = [(combination, draws) for combination, draws in pairs if draws.kept]
    return points, [*_redrawn(found, space.samples), *_short(space, shared, pairs)]


def _redrawn(found: Sequence[Draws], samples: int) -> Iterator[str]:
    """A note on the combinations that have all their draws; `_short` tells of the others."""
    full = [draws for draws in found if len(draws.kept) == samples]
    number = sum(len(draws.infeasible) for draws in full)
    if number:
        yield (
            f"{number} of {sum(draws.tried for draws in full)} draws had no solution at the "
            "parameter budget; others were drawn in their place"
        )


def _short(
    space: Space, shared: Mapping[str, Any], pairs: Sequence[tuple[Mapping[str, Any], Draws]]
) -> Iterator[str]:
    """A note for each combination that has fewer draws than SAMPLES."""
    for combination, draws in pairs:
        if len(draws.kept) == space.samples:
            continue
        values = ", ".join(f"{name} {value}" for name, value in combination.items())
        note = f"only {len(draws.kept)} of {space.samples} draws"
        note += f" for {values}" if values else ""
        note += f": of {draws.tried} different ones, {len(draws.infeasible)} are infeasible"
        if draws.infeasible:
            refusal = _refusal({**shared, **combination, **draws.infeasible[-1]})
            note += f", the last one because {refusal[:1].lower()}{refusal[1:]}"
        yield note


def _refusal(values: Mapping[str, Any]) -> str:
    """Why the values have no solution."""
    try:
        solve(Cell.from_values(values).model)
    except InfeasibleBudget as error:
        return str(error)
    raise AssertionError("an infeasible draw has a solution")
