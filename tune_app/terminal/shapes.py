"""The admissible shapes of a plan's cells, as `stellux shapes` shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise

from rich.console import Group, RenderableType
from rich.text import Text

from tune_app import formats
from tune_app.plan.shapes import AdmissibleShape
from tune_app.terminal.columns import Column, FittingTable

_TAKEN = "bold"
_OTHER = "dim"


def shapes_table(shapes: Sequence[AdmissibleShape]) -> RenderableType:
    """A line for each shape, a cell below the other, with the shape that is taken marked."""
    styles = [_TAKEN if one.taken else _OTHER for one in shapes]

    def column(header: str, rank: int, text: Callable[[AdmissibleShape], object]) -> Column:
        texts = [Text(str(text(one)), style) for one, style in zip(shapes, styles, strict=True)]
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
        column("n_layers", 0, lambda one: one.config.n_layers),
        column("d_model", 0, lambda one: one.config.d_model),
        column("heads\n×dim", 2, lambda one: f"{one.config.n_heads}×{one.config.head_dim}"),
        column("attention\n/ width", 1, _attention),
        column("d_ff", 3, lambda one: one.config.d_ff),
        column("expansion", 4, lambda one: f"{one.config.expansion:.2f}"),
        column("params", 5, lambda one: formats.parameters(one.parameters)),
        column("MFLOPs\n/ token", 6, lambda one: f"{one.flops_per_token / 1e6:.2f}"),
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


def _attention(shape: AdmissibleShape) -> str:
    return f"{shape.config.d_attention / shape.config.d_model:.2f}"
