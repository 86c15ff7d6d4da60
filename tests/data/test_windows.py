"""Windows that overlap score every token of the text once, with more context."""

from __future__ import annotations

import numpy as np
import pytest

from data.prepared import PackedSplit
from data.windows import SlidingWindows

END = 0


def split(*lengths: int) -> PackedSplit:
    """Documents of so many tokens, all different."""
    tokens: list[int] = []
    for length in lengths:
        tokens += [END, *range(len(tokens) + 1, len(tokens) + 1 + length)]
    return PackedSplit(
        name="test",
        tokens=np.array(tokens, dtype=np.uint16),
        document_offsets=np.cumsum([0, *(length + 1 for length in lengths)]),
        document_bytes=np.array(lengths, dtype=np.int64),
    )


@pytest.mark.parametrize("lengths", [(1,), (3, 4), (7,), (8,), (9, 1, 30), (40, 17)])
@pytest.mark.parametrize(("context", "stride"), [(8, 2), (8, 8), (8, 3), (1, 1)])
def test_every_token_is_scored_once_behind_the_text_before_it(
    lengths: tuple[int, ...], context: int, stride: int
) -> None:
    packed = split(*lengths)
    windows = SlidingWindows(packed, context=context, stride=stride, batch_size=3, end_of_text=END)
    scored: list[int] = []
    batches = list(windows)
    assert len(batches) == len(windows)
    for batch in batches:
        assert batch.mask_BT is not None
        for inputs_T, targets_T, mask_T in zip(
            batch.inputs_BT, batch.targets_BT, batch.mask_BT, strict=True
        ):
            for place in np.flatnonzero(mask_T):
                target = int(targets_T[place])
                scored.append(target)
                before = packed.tokens[max(0, target - 1 - place) : target]
                assert inputs_T[: place + 1].tolist() == before.tolist()
                # Nearly a whole context, but for the beginning of the text.
                assert place + 1 >= min(target, context - stride + 1)
    assert scored == [token for token in packed.tokens.tolist() if token != END]
    assert windows.text_bytes == sum(lengths)


def test_the_first_documents_can_be_scored_alone() -> None:
    windows = SlidingWindows(
        split(3, 4, 5), context=4, stride=2, batch_size=2, end_of_text=END, first=2
    )
    assert sum(int(batch.mask_BT.sum()) for batch in windows if batch.mask_BT is not None) == 7
    with pytest.raises(ValueError, match="stride is 5; it must be from 1 to the context of 4"):
        SlidingWindows(split(3), context=4, stride=5, batch_size=1, end_of_text=END)
