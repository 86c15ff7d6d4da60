from __future__ import annotations

import json

import pytest

from model.sizing.table import parameter_table
from model.spec import ModelConfig
from tests.model.sizing.built import count_built

CONFIG = ModelConfig(
    vocab_size=1000, context=8, d_model=16, n_layers=2, n_heads=2, head_dim=6, d_ff=40
)
UNTIED = ModelConfig(**{**CONFIG.values(), "embedding": "untied"})


@pytest.mark.parametrize("config", [CONFIG, UNTIED], ids=["tied", "untied"])
def test_rows_add_up_to_the_model_that_is_built(config: ModelConfig) -> None:
    table = parameter_table(config)
    assert sum(row.parameters for row in table.rows) == table.total == count_built(config)
    assert sum(row.share for row in table.rows) == pytest.approx(1)
    assert table.embedding_share == table.embedding / table.total


def test_an_untied_head_counts_to_the_embedding() -> None:
    assert parameter_table(CONFIG).embedding == 16_000
    assert parameter_table(UNTIED).embedding == 32_000


def test_as_text() -> None:
    assert parameter_table(CONFIG).as_text().splitlines() == [
        "embedding     1000 × 16                        16,000   74.6%",
        "lm_head       the embedding                         0    0.0%",
        "attention     2 layers, 2 heads of 6, 16 × 12   1,536    7.2%",
        "feed-forward  2 layers, 16 × 40                 3,840   17.9%",
        "norms         5 of 16                              80    0.4%",
        "─────────────────────────────────────────────────────────────",
        "total                                          21,456  100.0%",
    ]


def test_as_dict_is_plain_data() -> None:
    table = parameter_table(UNTIED)
    data = json.loads(json.dumps(table.as_dict()))
    assert data["total"] == table.total
    assert data["rows"][1] == {
        "part": "lm_head",
        "shape": "1000 × 16",
        "parameters": 16_000,
        "share": 16_000 / table.total,
    }
