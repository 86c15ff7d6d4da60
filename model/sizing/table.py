"""A model's parameters by part: as text for people, and as plain values for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from model.parts.variants import Parts
from model.sizing.counts import count_parameters
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One part of a model."""

    part: str
    shape: str
    """The sizes that make up the count: `16000 × 220`."""
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
    active: int
    """Used for one token: fewer than `total` if a router chooses among experts."""

    def as_dict(self) -> dict[str, object]:
        """The table as plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """The table in aligned columns: a line for each part, the total below."""
        lines = [
            (row.part, row.shape, f"{row.parameters:,}", f"{row.share:.1%}") for row in self.rows
        ]
        lines.append(("total", "", f"{self.total:,}", f"{1:.1%}"))
        if self.active != self.total:
            lines.append(("active", "", f"{self.active:,}", f"{self.active / self.total:.1%}"))
        part, shape, parameters, share = (
            max(map(len, column)) for column in zip(*lines, strict=True)
        )
        text = [
            f"{a:<{part}}  {b:<{shape}}  {c:>{parameters}}  {d:>{share}}" for a, b, c, d in lines
        ]
        text.insert(len(self.rows), "─" * len(text[-1]))
        return "\n".join(text)


def parameter_table(config: ModelConfig) -> ParameterTable:
    """The table of a model, by the formulas in `model.parts`."""
    count = count_parameters(config)
    rows = [row for part in Parts.of(config) for row in part.rows(config)]
    return ParameterTable(
        rows=tuple(
            ParameterRow(
                part=row.part,
                shape=row.shape,
                parameters=row.parameters,
                share=row.parameters / count.total,
            )
            for row in rows
        ),
        total=count.total,
        embedding=count.embedding + count.lm_head,
        embedding_share=count.embedding_share,
        active=count.active,
    )
