"""Document masking: a packed document has the logits that it has alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from model.mup import Scales
from model.network import causal_attention as kernels
from model.network.causal_attention import causal_attention
from model.network.documents import DOCUMENTS, Documents
from model.network.random_keys import RANDOM_KEYS, sequence_keys
from model.network.transformer import Transformer
from model.parts.variants import VARIANTS
from model.spec import ModelConfig
from tests.model.variants import EVERY, further_sizes

CONFIG = ModelConfig(
    vocab_size=61,
    context=24,
    d_model=24,
    n_layers=2,
    n_heads=4,
    head_dim=6,
    d_ff=36,
    document_masking=True,
)
END = 0
LENGTHS = (5, 1, 10, 8)
"""Of the documents of each sequence, end-of-text included; the first one began before it."""
CHOICES: list[dict[str, Any]] = [
    *EVERY,
    {"n_kv_heads": 2, "dropout": 0.1},
    {"n_kv_heads": 1, "attention": "qk_norm"},
]


def build(**changes: object) -> Transformer:
    names = {part: str(name) for part, name in changes.items() if part in VARIANTS}
    config = replace(CONFIG, **changes, **further_sizes(names))  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer(config, scales=Scales.own(config))


def packed() -> tuple[Tensor, dict[str, Tensor]]:
    """Two sequences of documents with their extra."""
    tokens_BT = torch.randint(1, 61, (2, 24), generator=torch.Generator().manual_seed(1))
    documents_T = torch.repeat_interleave(torch.arange(4), torch.tensor(LENGTHS))
    for start in (5, 6, 16):
        tokens_BT[:, start] = END
    return tokens_BT, {DOCUMENTS: documents_T.int().expand(2, -1)}


@pytest.fixture(params=["products", "blocks", "kernel"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways in which a CPU computes attention: all queries at once, some of them, its kernel."""
    if request.param == "blocks":
        monkeypatch.setattr(kernels, "QUERIES_OF_A_BLOCK", 5)
    if request.param == "kernel":
        monkeypatch.setattr(kernels, "PRODUCTS_UP_TO", 0)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_packed_document_has_the_logits_that_it_has_alone(choice: dict[str, object]) -> None:
    """Alone, its positions begin at 0: only differences of rotary positions matter."""
    model = build(**choice).eval()
    tokens_BT, extras = packed()
    with torch.inference_mode():
        together_BTV = model(tokens_BT, extras)
        alone_BTV = torch.cat([model(part) for part in tokens_BT.split(LENGTHS, dim=1)], dim=1)
    torch.testing.assert_close(together_BTV, alone_BTV, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together_BTV, model(tokens_BT))


@pytest.mark.parametrize("training", [False, True], ids=["evaluating", "training"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_nothing_reads_later_tokens_other_documents_or_other_sequences(
    choice: dict[str, object], training: bool
) -> None:
    model = build(**choice).train(training)
    tokens_BT, extras = packed()
    if training:
        extras[RANDOM_KEYS] = sequence_keys(seed=0, step=0, sequences=2)

    def logits(changed_BT: Tensor) -> Tensor:
        with torch.no_grad():
            logits_BTV: Tensor = model(changed_BT, extras)
        return logits_BTV[0]

    before_TV = logits(tokens_BT)
    for place, changes in (((0, 20), slice(20, 24)), ((0, 9), slice(9, 16)), ((1, 3), slice(0))):
        changed_BT = tokens_BT.clone()
        changed_BT[place] = changed_BT[place] % 60 + 1
        differs_T = (logits(changed_BT) != before_TV).any(-1)
        expected_T = torch.zeros(24, dtype=torch.bool)
        expected_T[changes] = True
        assert torch.equal(differs_T, expected_T), place


def test_gradients_are_those_of_the_documents_alone() -> None:
    model = build()
    tokens_BT, extras = packed()
    weights = list(model.parameters())
    together = torch.autograd.grad(model(tokens_BT, extras).square().sum(), weights)
    parts = [model(part).square().sum() for part in tokens_BT.split(LENGTHS, dim=1)]
    alone = torch.autograd.grad(torch.stack(parts).sum(), weights)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_flex_attention_reads_the_same_positions(kv_heads: int) -> None:
    """What compiled code runs on CUDA, here uncompiled."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 24, 16, generator=generator)
    key, value = torch.randn(2, 2, kv_heads, 24, 16, generator=generator)
    documents = Documents(packed()[1][DOCUMENTS])
    assert documents.fits_flex_attention(query)
    assert not documents.by_flex_attention(query)
    ours = causal_attention(query, key, value, scale=0.3, documents=documents)
    theirs = documents.flex_attention(query, key, value, scale=0.3)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_without_the_setting_documents_in_a_batch_change_nothing() -> None:
    tokens_BT, extras = packed()
    model = build(document_masking=False)
    assert torch.equal(model(tokens_BT, extras), model(tokens_BT))
