"""A study as it was when it ran, kept in its folder: a bundle of it needs no other file.

A study's file may name a search space and leave values to their defaults. The definition has them
all, so that its report can be made again where neither the file nor the space is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from tune_app.results.whole_files import replacing
from tune_app.study.file import study_from
from tune_app.study.phases.base import Phase
from tune_app.study.spec import Study

DEFINITION = "study.json"
"""The name of its file in a study's folder."""
AS_WRITTEN = "study.toml"
"""The user's own file, comments and all, beside it."""


def definition_values(study: Study) -> dict[str, Any]:
    """What `study_from` makes an equal study from, as plain values."""
    return {
        "name": study.name,
        "tokens": study.tokens,
        **({} if study.budget is None else {"budget": study.budget}),
        "alpha": study.alpha,
        "smallest_difference": study.smallest_difference,
        "metric": study.metric,
        "evaluate": list(study.evaluate),
        **(
            {} if study.evaluation_data is None else {"evaluation_data": str(study.evaluation_data)}
        ),
        "axes": _axes(study.axes),
        "fixed": dict(study.fixed),
        "baseline": dict(study.baseline),
        "scheduler": dict(study.scheduler),
        "kill_rule": dict(study.kill_rule),
        "phase": [_phase(phase) for phase in study.phases],
    }


def keep_definition(study: Study, folder: Path) -> None:
    """Writes the definition into the study's folder, and the user's file beside it."""
    text = json.dumps(definition_values(study), indent=2, ensure_ascii=False)
    with replacing(folder / DEFINITION) as path:
        path.write_text(f"{text}\n", "utf-8")
    if study.source and Path(study.source).is_file():
        with replacing(folder / AS_WRITTEN) as path:
            shutil.copyfile(study.source, path)


def kept_study(folder: Path) -> Study:
    """The study of a folder. Raises ValueError if there is none, or it cannot be read."""
    path = folder / DEFINITION
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is not a table of settings")
        if "space" in values:  # a space is a program, and a bundle comes from anywhere
            raise ValueError("it names a search space; a definition has its values instead")
        return study_from(values, name=folder.name)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not the definition of a study: {error}") from error


def _phase(phase: Phase) -> dict[str, Any]:
    """A phase's kind, and what it does not leave to the defaults."""
    values: dict[str, Any] = {"kind": phase.KIND}
    for field in fields(phase):
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        value = getattr(phase, field.name)
        if value != default:
            values[field.name] = _axes(value) if field.name == "axes" else value
    return values


def _axes(axes: Mapping[Any, Any]) -> dict[str, Any]:
    """The axes with names that JSON can have: settings that vary together are one name."""
    return {
        ", ".join(name) if isinstance(name, tuple) else name: values
        for name, values in axes.items()
    }
