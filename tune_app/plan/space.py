"""Reads a search space and expands it into cells, the baseline first."""

from __future__ import annotations

import difflib
import itertools
import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import search_spaces
from tune_app.plan.cell import BASELINE_MODEL, Cell
from tune_app.plan.plain import plain

_NAMES = ("AXES", "FIXED", "BASELINE", "SAMPLES", "SCHEDULER", "KILL_RULE")


class SpaceError(ValueError):
    """A search space that cannot be read or is invalid."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The contents of a search space file."""

    name: str
    axes: Mapping[str, Any]
    """Value name → list of values, or an Optuna distribution."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    """Draws from the distributions, if an axis is one."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    kill_rule: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.axes, Mapping):
            axes = {name: _listed(values) for name, values in self.axes.items()}
            object.__setattr__(self, "axes", axes)
        for part in ("fixed", "baseline", "scheduler", "kill_rule"):
            object.__setattr__(self, part, plain(getattr(self, part)))


def known_spaces() -> list[str]:
    """Names of the spaces that come with the project."""
    (folder,) = search_spaces.__path__
    return sorted(path.stem for path in Path(folder).glob("[!_]*.py"))


def load_space(name: str) -> Space:
    """Loads a space by name, or by the path of its file.

    A space is a Python file that runs when it is loaded, so only load files that you trust.
    Raises SpaceError if there is no such space or if it is invalid.
    """
    path = Path(name)
    if path.suffix != ".py":
        if name not in known_spaces():
            near = difflib.get_close_matches(name, known_spaces(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SpaceError(
                f"unknown search space {name!r}; {hint}expected one of "
                f"{', '.join(known_spaces())}, or the path of a .py file"
            )
        path = Path(search_spaces.__path__[0]) / f"{name}.py"
    if not path.is_file():
        raise SpaceError(f"there is no search space at {path}")
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise SpaceError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return space_from(names, name=path.stem, source=str(path))


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
    space = Space(
        name=name,
        axes=names.get("AXES", {}),
        fixed=names.get("FIXED", {}),
        baseline=names.get("BASELINE", {}),
        samples=names.get("SAMPLES"),
        scheduler=names.get("SCHEDULER", {}),
        kill_rule=names.get("KILL_RULE", {}),
    )
    _check(space, source)
    return space


def _check(space: Space, source: str) -> None:
    if not isinstance(space.axes, Mapping) or not space.axes:
        raise SpaceError(f"{source} has no AXES; it must map names to lists of values")
    for part in ("fixed", "baseline", "scheduler", "kill_rule"):
        if not isinstance(getattr(space, part), Mapping):
            raise SpaceError(f"{source}: {part.upper()} must map names to values")
    for name, values in space.axes.items():
        if _is_distribution(values):
            if not isinstance(space.samples, int) or space.samples < 1:
                raise SpaceError(
                    f"{source}: {name} is a distribution, so SAMPLES must say how many values "
                    "to draw"
                )
        elif not isinstance(values, (list, tuple)) or not values:
            raise SpaceError(
                f"{source}: {name} is {values!r}; it must be a list of values{_hint(values)}"
            )
    if space.samples is not None and not any(map(_is_distribution, space.axes.values())):
        raise SpaceError(f"{source}: SAMPLES is {space.samples!r}, but no axis is a distribution")
    if "seed" in {*space.fixed, *space.baseline}:
        raise SpaceError(f"{source} sets a seed; use --seeds")


def _listed(values: Any) -> Any:
    """An axis with its values as a list, if they are in an array or a range."""
    return plain(list(values) if isinstance(values, range) else values)


def _hint(values: Any) -> str:
    """What to write in place of something that is not a list."""
    if isinstance(values, (str, int, float)):
        return f": [{values!r}]"
    if isinstance(values, Mapping) or callable(values):
        return ", or a distribution from optuna.distributions"
    return ": list(…)" if isinstance(values, Iterable) and values else ""


def expand(space: Space, overrides: Mapping[str, Any], *, seeds: Sequence[int]) -> list[Cell]:
    """The cells of a space, all seeds of the baseline first, each cell once.

    Args:
        space: what to vary.
        overrides: values that replace the space's FIXED ones.
        seeds: each configuration becomes one cell per seed.

    Raises:
        ValueError: an override sets an axis, or a value is impossible.
    """
    clash = sorted(set(overrides) & set(space.axes))
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
    points = [
        {**BASELINE_MODEL, **fixed, **point, "baseline": baseline_model}
        for point in _points(space, seeds[0])
    ]
    cells = [
        Cell.from_values({**values, "seed": seed})
        for values in (baseline, *points)
        for seed in seeds
    ]
    return list({cell.key: cell for cell in cells}.values())


def _points(space: Space, seed: int) -> list[dict[str, Any]]:
    """All combinations of the listed values, each with the same draws of the distributions."""
    grids = {name: values for name, values in space.axes.items() if not _is_distribution(values)}
    drawn = {name: values for name, values in space.axes.items() if _is_distribution(values)}
    combinations = [
        dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())
    ]
    if not drawn:
        return combinations
    import optuna  # noqa: PLC0415 - takes half a second, and only distributions need it

    assert space.samples is not None
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(sampler=sampler)
    draws = [study.ask(drawn).params for _ in range(space.samples)]
    return [{**combination, **draw} for combination in combinations for draw in draws]


def _is_distribution(values: Any) -> bool:
    """Whether an axis is an Optuna distribution, checked without importing Optuna."""
    return any(
        base.__module__ == "optuna.distributions" and base.__name__ == "BaseDistribution"
        for base in type(values).__mro__
    )
