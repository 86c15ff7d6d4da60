"""Documents of text in memory, packed as a split is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from data.prepared import PackedSplit
from data.splits import SplitName
from data.tokenizers.cutting import Cutting


def pack_documents(
    documents: Sequence[bytes],
    tokenizer: Tokenizer,
    *,
    end_of_text: int,
    cutting: Cutting,
    name: SplitName = "test",
) -> PackedSplit:
    """Documents in UTF-8 with their tokens, as `data.packing` makes them of a corpus."""
    offsets, tokens = [0], []
    for document in documents:
        tokens.append([end_of_text])
        pieces = [piece.decode() for piece in cutting.pieces(document, 0, len(document))]
        for encoding in tokenizer.encode_batch_fast(pieces, add_special_tokens=False):
            tokens.append(encoding.ids)
        offsets.append(offsets[-1] + sum(map(len, tokens[-1 - len(pieces) :])))
    return PackedSplit(
        name=name,
        tokens=np.concatenate([np.array(ids, dtype=np.uint32) for ids in tokens]),
        document_offsets=np.array(offsets, dtype=np.int64),
        document_bytes=np.array([len(one) for one in documents], dtype=np.int64),
    )
