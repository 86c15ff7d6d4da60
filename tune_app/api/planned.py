"""A sweep before it runs: its cells with the sizes that the solver found for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.tokenizers.spec import TokenizerSpec
from tune_app import formats
from tune_app.api.settings import names_of, refuse_unknown, settings_of, space_of, takes
from tune_app.api.shown import shown_html, shown_text
from tune_app.plan.plan import SweepPlan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import StoppingRules, describe_scheduler
from tune_app.stopping.sweep_rules import plan_with_rules

_SIZES = ("d_model", "n_layers", "n_heads", "head_dim", "d_ff")


@dataclass(frozen=True, kw_only=True, repr=False)
class PlannedSweep:
    """What `run_sweep` would train. Shows itself as a table."""

    plan: SweepPlan
    rules: StoppingRules
    call: str
    """The Python call that makes this plan."""

    @property
    def name(self) -> str:
        """Of the sweep and its folder."""
        return self.plan.name

    @property
    def cells(self) -> pd.DataFrame:
        """A row for each cell, the baseline first: its values on the axes, its solved sizes, its
        parameters, and why it is infeasible, if it is."""
        return pd.DataFrame(
            [
                {
                    "label": cell.label,
                    **{axis: cell.values.get(axis) for axis in self.plan.axes},
                    **{f"solved_{name}": (cell.config or {}).get(name) for name in _SIZES},
                    "parameters_total": (cell.parameters or {}).get("total"),
                    "embedding_share": (cell.parameters or {}).get("embedding_share"),
                    "infeasible": cell.reason,
                }
                for cell in self.plan.cells
            ]
        ).convert_dtypes()

    def __repr__(self) -> str:
        return shown_text(self._lines(), self._short())

    def _repr_html_(self) -> str:
        return shown_html(self._lines(), self._short())

    def _short(self) -> pd.DataFrame:
        """The sizes alone: labels say the values on the axes, and lines what is infeasible."""
        table = self.cells.drop(columns=[*self.plan.axes, "infeasible"])
        return table.rename(columns=lambda name: str(name).removeprefix("solved_"))

    def _lines(self) -> list[str]:
        plan = self.plan
        infeasible = len(plan.cells) - len(plan.feasible)
        return [
            f"Sweep {plan.name}: {formats.counted(len(plan.cells), 'cell')}"
            + (f", {infeasible} of them infeasible" if infeasible else "")
            + f", {formats.count(plan.tokens)} tokens each, on {plan.corpus}",
            *([f"cells are named by {plan.title}"] if plan.title else []),
            f"baseline: {plan.baseline.label}",
            *([f"search: {plan.search.settings.describe()}"] if plan.search else []),
            *([f"nuisance: {plan.nuisance_text}"] if plan.nuisance else []),
            f"scheduler: {describe_scheduler(self.rules.scheduler_record, plan.tokens)}",
            f"kill rule: {self.rules.kill_rule.describe(plan.tokens)}",
            *(f"note: {note}" for note in plan.notes),
            *(f"infeasible {cell.label}: {cell.reason}" for cell in plan.cells if cell.reason),
        ]


@takes(Wishes)
def plan_sweep(
    space: str | Path | Mapping[str, Any] | Space = "quick", **wishes: Any
) -> PlannedSweep:
    """Solves every cell of a sweep. Trains nothing, writes nothing and reads no corpus, unless its
    length is given in epochs.

    Args:
        space: a name, the path of a .py file, or values: axes such as
            `{"glu_expansion": [2.0, 4.0]}`, or `{"AXES": …, "FIXED": …}` as in a space file.
        wishes: the options of `stellux sweep` that say what is trained and what is stopped, by the
            same names: name, corpus, tokens, seeds, … (`tune_app.plan.wishes.Wishes`). `set` and
            `scheduler_set` take a mapping.

    Raises ValueError for an unknown or impossible setting, or an infeasible baseline.
    """
    refuse_unknown(wishes, names_of(Wishes))
    wanted = settings_of(Wishes, wishes)
    loaded = space_of(space, name=wanted.name)
    plan, rules = plan_with_rules(loaded, wanted, train_tokens=_train_tokens)
    arguments = [repr(space), *(f"{name}={value!r}" for name, value in wishes.items())]
    return PlannedSweep(
        plan=plan,
        rules=rules,
        call=f"plan_sweep({', '.join(arguments)})",
    )


def _train_tokens(corpus: str, tokenizer: TokenizerSpec) -> int:
    """Tokens of one pass over a corpus' training text."""
    from data.prepare import prepare  # noqa: PLC0415 - only for a length in epochs

    return prepare(corpus, tokenizer).manifest.splits["train"].tokens
