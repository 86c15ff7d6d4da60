"""Models of known shape, and what changed in a smaller one like them, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import RenderableType
from rich.text import Text

from model.presets import Preset, Ratios
from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from tune_app.terminal.columns import Column, FittingTable


def presets_table(presets: Mapping[str, Preset]) -> RenderableType:
    """A line for each preset."""
    configs = [one.config for one in presets.values()]
    counts = [count_parameters(config) for config in configs]

    def column(header: str, rank: int, text: Callable[[ModelConfig], object]) -> Column:
        return Column.numbers(header, [str(text(config)) for config in configs], rank=rank)

    return FittingTable(
        columns=[
            Column.names("preset", list(presets)),
            Column.numbers("parameters", [f"{count.total:,}" for count in counts], rank=0),
            Column.numbers(
                "embedding\nshare", [f"{count.embedding_share:.0%}" for count in counts], rank=1
            ),
            column("n_layers", 1, lambda one: one.n_layers),
            column("d_model", 1, lambda one: one.d_model),
            column("d_ff", 2, lambda one: one.d_ff),
            column("heads", 2, _heads),
            column("vocabulary", 2, lambda one: f"{one.vocab_size:,}"),
            Column(
                header="embedding",
                cells=[Text(_embedding(config)) for config in configs],
                rank=3,
                right=False,
            ),
            Column(
                header="feed-forward",
                cells=[Text(config.feed_forward) for config in configs],
                rank=3,
                right=False,
            ),
        ],
        name_left_out=True,
    )


def changes_table(before: ModelConfig, after: ModelConfig) -> RenderableType:
    """A preset and a model like it: each size, and each proportion that was to be kept."""
    old, new = Ratios.of(before), Ratios.of(after)
    rows = [
        ("parameters", f"{_total(before):,}", f"{_total(after):,}"),
        ("vocabulary", f"{before.vocab_size:,}", f"{after.vocab_size:,}"),
        ("d_model", str(before.d_model), str(after.d_model)),
        ("n_layers", str(before.n_layers), str(after.n_layers)),
        ("heads", _heads(before), _heads(after)),
        ("d_ff", str(before.d_ff), str(after.d_ff)),
        ("embedding", _embedding(before), _embedding(after)),
        ("layers per 64 of width", f"{64 * old.depth:.2f}", f"{64 * new.depth:.2f}"),
        ("heads per 64 of width", f"{64 * old.heads:.2f}", f"{64 * new.heads:.2f}"),
        ("query heads per kv head", str(old.group), str(new.group)),
        ("attention / width", f"{old.attention:.2f}", f"{new.attention:.2f}"),
        ("expansion", f"{old.expansion:.2f}", f"{new.expansion:.2f}"),
        ("embedding share", f"{_share(before):.0%}", f"{_share(after):.0%}"),
    ]
    if old.rank:
        rows.append(("rank / width", f"{old.rank:.3f}", f"{new.rank:.3f}"))
    return FittingTable(
        columns=[
            Column.names("", [name for name, _, _ in rows]),
            Column.numbers("preset", [was for _, was, _ in rows], rank=0),
            Column.numbers("like it", [now for _, _, now in rows], rank=0),
        ]
    )


def _heads(config: ModelConfig) -> str:
    heads = f"{config.n_heads} × {config.head_dim}"
    return heads if config.n_kv_heads is None else f"{heads}, {config.n_kv_heads} kv"


def _embedding(config: ModelConfig) -> str:
    rank = config.embedding_rank
    return config.embedding if rank is None else f"{config.embedding}, rank {rank}"


def _total(config: ModelConfig) -> int:
    return count_parameters(config).total


def _share(config: ModelConfig) -> float:
    return count_parameters(config).embedding_share
