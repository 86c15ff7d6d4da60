"""The admissible shapes of a plan's cells, as `stellux shapes` shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise

from rich.console import Group, RenderableType
from rich.text import Text

from model.sizing.cost import training_flops_per_token
from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from tune_app import formats
from tune_app.plan.shapes import AdmissibleShape
from tune_app.terminal.columns import Column, FittingTable

_TAKEN = "bold"
_OTHER = "dim"


def shapes_table(shapes: Sequence[AdmissibleShape]) -> RenderableType:
    """A line for each shape, a cell below the other, with the shape that is taken marked."""
    styles = [_TAKEN if one.taken else _OTHER for one in shapes]

    def column(header: str, rank: int, text: Callable[[ModelConfig], object]) -> Column:
        texts = [
            Text(str(text(one.config)), style) for one, style in zip(shapes, styles, strict=True)
        ]
        return Column.numbers(header, texts, rank=rank)

    first = [True, *(one.label != other.label for one, other in pairwise(shapes))][: len(shapes)]
    names = [one.label if begins else "" for one, begins in zip(shapes, first, strict=True)]
    columns = [
        Column(header="cell", cells=[Text(name) for name in names], rank=0, right=False),
        Column(
            header="",
            cells=[Text("taken" if one.taken else "", _TAKEN) for one in shapes],
            rank=0,
            right=False,
        ),
        column("n_layers", 0, lambda config: config.n_layers),
        column("d_model", 0, lambda config: config.d_model),
        column("heads\n×dim", 2, lambda config: f"{config.n_heads}×{config.head_dim}"),
        column(
            "attention\n/ width", 1, lambda config: f"{config.d_attention / config.d_model:.2f}"
        ),
        column("d_ff", 3, lambda config: config.d_ff),
        column("expansion", 4, lambda config: f"{config.expansion:.2f}"),
        column("params", 5, lambda config: formats.parameters(count_parameters(config).total)),
        column("MFLOPs\n/ token", 6, lambda c: f"{training_flops_per_token(c) / 1e6:.2f}"),
        Column.numbers(
            "cost",
            [Text(f"{one.cost:.2f}", style) for one, style in zip(shapes, styles, strict=True)],
            rank=1,
        ),
    ]
    cells = sum(1 for _ in groupby(one.label for one in shapes))
    text = (
        f"{formats.counted(len(shapes), 'shape')} of {formats.counted(cells, 'cell')}: the best of "
        "each depth, or of each width where the depth is pinned. The rule takes the least cost; "
        "model/sizing/search.py states it. To train another shape, pin its sizes: for example "
        "--set n_layers=8"
    )
    return Group(FittingTable(columns=columns, name_left_out=True), Text(), Text(text))
