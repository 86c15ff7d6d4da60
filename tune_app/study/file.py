"""Reads a study from its file, a TOML document.

corpus = "stdlib"            # also target_parameters, vocab_size: short for [fixed]
tokens = "150k"              # baseline tokens of a run, in phases that do not name their own
budget = "10M"               # of all phases together; optional
evaluate = ["language_modelling", "latency", "gsm8k"]  # the finalists, as `stellux evaluate` does
evaluation_data = "published"                          # folder of published data, where one is read

[fixed]                      # values that all cells share, as in a search space
n_heads = 2

[axes]                       # what is ranked; "a, b" names two settings that vary together
glu_expansion = [2.0, 2.66, 4.0]

[[phase]]
kind = "baseline"            # tune_app/study/phases/ has the kinds, a file each

[[phase]]
kind = "finalists"
tokens = "600k"
share = 0.4                  # of the budget, kept for this phase
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomllib

import search_spaces
from data.counts import with_counts_read
from data.suggestions import did_you_mean
from model.field_types import settled
from tune_app.evaluation.suite_names import refuse_unknown_suite
from tune_app.plan.space_file import load_space
from tune_app.study.phases.all_phases import KINDS
from tune_app.study.phases.base import Phase
from tune_app.study.spec import Study

SUFFIX = "_study.toml"
_SHORT = ("corpus", "target_parameters", "vocab_size")
"""Values of [fixed] that may stand at the top."""
_OWN = (
    *("tokens", "budget", "alpha", "smallest_difference", "metric"),
    *("evaluate", "evaluation_data"),
)
_TABLES = ("axes", "fixed", "baseline", "scheduler", "kill_rule")
_KNOWN = ("name", "space", *_SHORT, *_OWN, *_TABLES, "phase")
_MOST_BYTES = 2**20


class StudyError(ValueError):
    """A study file that cannot be read or is invalid."""


def known_studies() -> list[str]:
    """Names of the studies that come with the project."""
    (folder,) = search_spaces.__path__
    return sorted(path.name.removesuffix(SUFFIX) for path in Path(folder).glob(f"*{SUFFIX}"))


def load_study(name: str) -> Study:
    """Loads a study by name, or by the path of its .toml file.

    Raises StudyError if there is none, or if it is invalid.
    """
    path = Path(name).expanduser()
    if path.suffix != ".toml":
        if name not in known_studies():
            hint = did_you_mean(name, known_studies())
            raise StudyError(
                f"unknown study {name!r}; {hint}expected one of {', '.join(known_studies())}, or "
                "the path of a .toml file"
            )
        path = Path(search_spaces.__path__[0]) / f"{name}{SUFFIX}"
    if not path.is_file():
        raise StudyError(f"there is no study at {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise StudyError(f"{path} is {path.stat().st_size:,} bytes; a study is a small file")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    try:
        study = study_from(values, name=path.stem, source=str(path))
        for suite in study.evaluate:
            refuse_unknown_suite(suite)
        return study
    except ValueError as error:
        raise StudyError(f"{path}: {error}") from None


def study_from(values: Mapping[str, Any], *, name: str, source: str = "") -> Study:
    """A study from the values of its file. Raises ValueError if it is invalid."""
    for key in values:
        if key not in _KNOWN:
            raise ValueError(_unknown(key, _KNOWN))
    tables: dict[str, Any] = {table: _table(values, table) for table in _TABLES}
    tables["axes"] = _axes(tables["axes"])
    tables["fixed"] |= {key: with_counts_read(values[key]) for key in _SHORT if key in values}
    if "space" in values:
        space = load_space(str(values["space"]))
        if space.search is not None:
            raise ValueError(
                f"the space {space.name!r} is searched in rounds, but a study compares designs "
                "that are all known at once; name a space with AXES, or give [axes] here"
            )
        together = {name for names in space.paired for name in names}
        axes: dict[Any, Any] = {
            axis: listed for axis, listed in space.axes.items() if axis not in together
        }
        for names in space.paired:
            axes[names] = list(zip(*(space.axes[name] for name in names), strict=True))
        tables["axes"] = tables["axes"] or axes
        tables["fixed"] = {**space.fixed, **tables["fixed"]}
        tables["baseline"] = {**space.baseline, **tables["baseline"]}
        tables["scheduler"] = tables["scheduler"] or dict(space.scheduler)
        tables["kill_rule"] = tables["kill_rule"] or dict(space.kill_rule)
    own = {key: with_counts_read(values[key]) for key in _OWN if key in values}
    tokens = tables["fixed"].pop("tokens", None)
    if "tokens" not in own:
        if tokens is None:
            raise ValueError('tokens is missing; say how many a run has, as in tokens = "150k"')
        own["tokens"] = with_counts_read(tokens)
    own = settled(Study, own)
    phases = values.get("phase", [])
    if not isinstance(phases, list) or not all(isinstance(one, dict) for one in phases):
        raise ValueError("phase must be written as [[phase]], once for each phase")
    return Study(
        name=str(values.get("name", name)),
        phases=tuple(_phase(one, number) for number, one in enumerate(phases)),
        source=source,
        **own,
        **tables,
    )


def _phase(values: Mapping[str, Any], number: int) -> Phase:
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"phase {number} has the kind {kind!r}; expected one of {', '.join(KINDS)}"
        )
    what = f"phase {number} ({kind})"
    owner = KINDS[kind]
    known = [field.name for field in fields(owner)]
    rest = {key: value for key, value in values.items() if key != "kind"}
    for key in rest:
        if key not in known:
            raise ValueError(f"{what}: {_unknown(key, known)}")
    if "axes" in rest:
        rest["axes"] = _axes(_table(rest, "axes"))
    try:
        return owner(**settled(owner, {key: with_counts_read(rest[key]) for key in rest}))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _table(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name} is {found!r}; it must be a table of names to values")
    return {key: with_counts_read(value) for key, value in found.items()}


def _axes(axes: Mapping[Any, Any]) -> dict[Any, Any]:
    """The axes; a name with commas stands for settings that vary together."""
    found: dict[Any, Any] = {}
    for key, values in axes.items():
        names = tuple(name.strip() for name in key.split(",")) if isinstance(key, str) else key
        found[names if len(names) > 1 else names[0]] = values
    return found


def _unknown(key: str, known: Any) -> str:
    names = [name for name in known if name != "phase"]
    return f"unknown setting {key!r}; {did_you_mean(key, names)}expected one of {', '.join(known)}"
