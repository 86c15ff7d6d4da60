from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from model.evaluation.bits_per_byte import evaluate, nats_by_token
from model.evaluation.scored_batches import HeldDocuments, ScoredBatch
from model.mup import Scales
from model.network.documents import DOCUMENTS
from model.network.transformer import Transformer
from tests.model.evaluation.test_bits_per_byte import CONFIG, END, Documents, Windows


@dataclass(frozen=True, kw_only=True)
class Numbered(Documents):
    """Windows that say which document a position is of."""

    def __iter__(self) -> Iterator[Windows]:
        for window in super().__iter__():
            numbers_BT = np.cumsum(window.inputs_BT == END, axis=1, dtype=np.int32)
            yield replace(window, extras={DOCUMENTS: numbers_BT})


class Once:
    """Documents that are read a single time."""

    def __init__(self, documents: Documents) -> None:
        self.text_bytes = documents.text_bytes
        self._left = iter(documents)

    def __iter__(self) -> Iterator[Windows]:
        return self._left


@pytest.mark.parametrize("masking", [False, True])
def test_held_documents_score_the_same_bits_and_are_read_once(masking: bool) -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, document_masking=masking)
    model = Transformer(config, scales=Scales.own(config))
    documents = Numbered(batch_size=5)
    held = HeldDocuments(Once(documents), device="cpu")
    for _ in range(2):
        assert evaluate(model, held) == evaluate(model, documents)
        assert np.array_equal(nats_by_token(model, held), nats_by_token(model, documents))
        with torch.no_grad():  # the next scores are those of the weights as they are then
            model.final_norm.weight.mul_(1.5)


def test_documents_are_still_asked_for_where_a_model_masks_them() -> None:
    config = replace(CONFIG, document_masking=True)
    model = Transformer(config, scales=Scales.own(config))
    with pytest.raises(ValueError, match="do not say which document a position is of"):
        evaluate(model, HeldDocuments(Documents(batch_size=4), device="cpu"))


def test_only_scored_targets_are_moved() -> None:
    (window,) = Documents(batch_size=12)
    batch = ScoredBatch.of(window, device="cpu")
    assert batch.places_N is not None
    assert torch.equal(batch.places_N, torch.from_numpy(np.flatnonzero(window.mask_BT)))
    assert batch.targets_N.tolist() == window.targets_BT[window.mask_BT].tolist()
    assert ScoredBatch.of(batch, device="cpu") is batch
