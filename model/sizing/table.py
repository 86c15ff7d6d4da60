"""Where the parameters of a model are: by part, as text for people and as data for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from model.sizing.budget import count_parameters
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One part of a model."""

    part: str
    shape: str
    """How the count comes about, in the sizes of this model."""
    parameters: int
    share: float
    """Of all parameters."""


@dataclass(frozen=True, kw_only=True)
class ParameterTable:
    """The parameters of a model by part; the rows add up to `total`."""

    rows: tuple[ParameterRow, ...]
    total: int
    embedding: int
    """Embedding and lm_head together."""
    embedding_share: float

    def as_dict(self) -> dict[str, object]:
        """The table as plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """The table in aligned columns, a part a line and the total below."""
        lines = [
            (row.part, row.shape, f"{row.parameters:,}", f"{row.share:.1%}") for row in self.rows
        ]
        lines.append(("total", "", f"{self.total:,}", f"{1:.1%}"))
        part, shape, parameters, share = (
            max(map(len, column)) for column in zip(*lines, strict=True)
        )
        text = [
            f"{a:<{part}}  {b:<{shape}}  {c:>{parameters}}  {d:>{share}}" for a, b, c, d in lines
        ]
        text.insert(-1, "─" * len(text[-1]))
        return "\n".join(text)


def parameter_table(config: ModelConfig) -> ParameterTable:
    """The table of a model, from the closed form."""
    count = count_parameters(config)
    d_model, n_layers = config.d_model, config.n_layers
    matrix = f"{config.vocab_size} × {d_model}"
    parts = (
        ("embedding", matrix, count.embedding),
        ("lm_head", matrix if count.lm_head else "the embedding", count.lm_head),
        (
            "attention",
            f"{n_layers} layers, {config.n_heads} heads of {config.head_dim}, "
            f"{d_model} × {config.d_attention}",
            count.attention,
        ),
        ("feed-forward", f"{n_layers} layers, {d_model} × {config.d_ff}", count.feed_forward),
        ("norms", f"{2 * n_layers + 1} of {d_model}", count.norms),
    )
    return ParameterTable(
        rows=tuple(
            ParameterRow(part=part, shape=shape, parameters=number, share=number / count.total)
            for part, shape, number in parts
        ),
        total=count.total,
        embedding=count.embedding + count.lm_head,
        embedding_share=count.embedding_share,
    )
