"""Packs gathered text into token files that can be memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from data.chunks import TokenType, token_writer, write_header
from data.gathering import GatheredSplit, SplitTexts
from data.manifest import SplitRecord
from data.prepared import bytes_file, offsets_file
from data.progress import Report
from data.tokenizers.base import TokenizerKind

PERCENTILES = (5, 25, 50, 75, 95)


def token_type(vocab_size: int) -> TokenType:
    """The narrowest type that holds every token."""
    return np.dtype(np.uint16) if vocab_size <= 1 << 16 else np.dtype(np.uint32)


class TrainingTexts:
    """The text of a split in batches, for a tokenizer's trainer; may be iterated again."""

    def __init__(self, split: GatheredSplit, kind: TokenizerKind, report: Report) -> None:
        self._texts = split.texts()
        self._kind = kind
        self._report = report
        self._passes = 0

    def __iter__(self) -> Iterator[list[str]]:
        self._passes += 1
        stage = "train the tokenizer" + (f", pass {self._passes}" if self._passes > 1 else "")
        for batch in self._texts.batches(stage, self._report, cutting=self._kind.cutting):
            yield [piece.decode() for _, piece in batch]


def pack(
    split: GatheredSplit, kind: TokenizerKind, tokenizer: Tokenizer, folder: Path, report: Report
) -> SplitRecord:
    """Encodes a split into its three files in `folder`; dev also in stretches, for samples."""
    if split.name == "dev":
        for domain in (None, *range(len(split.domain_documents))):
            _pack(split.stretches(domain), kind, tokenizer, folder, report)
    texts = split.texts()
    return _record(texts, _pack(texts, kind, tokenizer, folder, report))


def _pack(
    texts: SplitTexts, kind: TokenizerKind, tokenizer: Tokenizer, folder: Path, report: Report
) -> NDArray[np.int64]:
    """Writes the three files of texts. Returns the tokens of each, as `_write_tokens`."""
    text_tokens = _write_tokens(folder, texts, kind, tokenizer, report)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(text_tokens + 1, out=offsets[1:])
    _write_array(folder / offsets_file(texts.name), offsets)
    _write_array(folder / bytes_file(texts.name), texts.text_bytes)
    return text_tokens


def _write_tokens(
    folder: Path,
    texts: SplitTexts,
    kind: TokenizerKind,
    tokenizer: Tokenizer,
    report: Report,
) -> NDArray[np.int64]:
    """Writes end-of-text and the tokens of each text, as a .npy file or several.

    Returns the number of tokens of each text: [texts].
    """
    dtype = token_type(kind.spec.vocab_size)
    end_of_text = kind.end_of_text(tokenizer)
    text_tokens = np.zeros(len(texts), dtype=np.int64)
    begun = 0
    with token_writer(folder, texts.name, dtype) as writer:
        for batch in texts.batches(f"encode {texts.name}", report, cutting=kind.cutting):
            decoded = [piece.decode() for _, piece in batch]
            stream: list[int] = []
            for (place, _), ids in zip(batch, kind.encode(tokenizer, decoded), strict=True):
                if place == begun:
                    stream.append(end_of_text)
                    begun += 1
                stream.extend(ids)
                text_tokens[place] += len(ids)
            writer.write(np.array(stream, dtype=dtype))
    return text_tokens


def _record(texts: SplitTexts, text_tokens: NDArray[np.int64]) -> SplitRecord:
    percentiles = np.percentile(text_tokens, PERCENTILES, method="nearest")
    return SplitRecord(
        documents=len(texts),
        text_bytes=texts.total_bytes,
        tokens=int(text_tokens.sum()) + len(texts),
        tokens_per_document={
            **{f"p{p}": int(value) for p, value in zip(PERCENTILES, percentiles, strict=True)},
            "max": int(text_tokens.max()),
        },
        bytes_per_token=texts.total_bytes / int(text_tokens.sum()),
    )


def _write_array(path: Path, array: NDArray[np.int64]) -> None:
    # Not np.save: its OSError does not say that the disk is full.
    with path.open("wb") as file:
        write_header(file, array.dtype, len(array))
        file.write(array.tobytes())
