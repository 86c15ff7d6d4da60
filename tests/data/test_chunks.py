"""Tokens in several files are read as if they were in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.batches import EvaluationDocuments, TrainingBatches
from data.chunks import ChunkedTokens, ChunkRecord, read_tokens, token_writer
from data.errors import DamagedCorpusError
from data.manifest import FileRecord
from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec
from data.windows import SlidingWindows

SIZE = 1_000


@pytest.fixture(scope="module")
def caches(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path):
    """One corpus, packed into single files and into chunks."""
    whole = prepare(str(small_corpus), TokenizerSpec(vocab_size=512), cache=cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.chunks.CHUNK_TOKENS", SIZE)
        elsewhere = tmp_path_factory.mktemp("chunks")
        return whole, prepare(str(small_corpus), TokenizerSpec(vocab_size=512), cache=elsewhere)


def test_chunks_give_the_same_batches_as_one_file(caches) -> None:
    whole, chunked = caches
    assert (whole.folder / "train.tokens.npy").exists()
    assert not (chunked.folder / "train.tokens.npy").exists()
    assert isinstance(chunked.split("train").tokens, ChunkedTokens)
    for split in ("train", "dev", "test"):
        one, many = whole.split(split), chunked.split(split)
        assert len(one.tokens) == len(many.tokens) > 2 * SIZE
        np.testing.assert_array_equal(one.tokens, many.tokens)
    batches = [
        TrainingBatches(corpus.split("train"), context=700, batch_size=4, seed=0)
        for corpus in caches
    ]
    for step in (0, 3, 50):
        np.testing.assert_array_equal(*(source.batch(step).targets_BT for source in batches))
    for kind, more in ((EvaluationDocuments, {}), (SlidingWindows, {"stride": 300})):
        scored = [
            [
                batch.targets_BT
                for batch in kind(
                    corpus.split("dev"), context=700, batch_size=2, end_of_text=0, **more
                )
            ]
            for corpus in caches
        ]
        np.testing.assert_array_equal(*map(np.concatenate, scored))


def test_each_chunk_has_a_manifest_and_is_in_the_corpus_manifest(caches) -> None:
    _, chunked = caches
    first = 0
    for number in range(3):
        name = f"train.tokens.{number:05d}"
        record = ChunkRecord.read(chunked.folder / f"{name}.json")
        assert (record.first_token, record.tokens, record.token_type) == (first, SIZE, "uint16")
        file = FileRecord.of(chunked.folder / f"{name}.npy")
        assert (record.bytes, record.sha256) == (file.bytes, file.sha256)
        assert chunked.manifest.files[f"{name}.npy"] == file
        first += SIZE
    assert not list(chunked.equal_splits())


def test_a_chunk_that_is_missing_or_another_is_noticed(caches, tmp_path: Path) -> None:
    _, chunked = caches
    folder = tmp_path / "copy"
    shutil.copytree(chunked.folder, folder)
    path = folder / "dev.tokens.00001.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "first_token": 7}))
    with pytest.raises(DamagedCorpusError, match=r"behind 1,000 others; its .* 7;"):
        read_tokens(folder, "dev")
    path.write_text("{")
    with pytest.raises(DamagedCorpusError, match=r"00001\.json cannot be read .*prepare it again"):
        read_tokens(folder, "dev")
    (folder / "dev.tokens.00000.npy").unlink()
    with pytest.raises(DamagedCorpusError, match="is missing"):
        read_tokens(folder, "dev")


@pytest.mark.parametrize("tokens", [0, 1, 9, 10, 11, 20, 35])
def test_any_number_of_tokens_comes_back(tmp_path: Path, tokens: int) -> None:
    wanted = np.arange(tokens, dtype=np.uint32) + 70_000
    with token_writer(tmp_path, "train", np.dtype(np.uint32), chunk_tokens=10) as writer:
        for part in np.array_split(wanted, 3):
            writer.write(part)
    found = read_tokens(tmp_path, "train")
    np.testing.assert_array_equal(found, wanted)
    assert len(found) == tokens
    assert len(list(tmp_path.glob("*.npy"))) == max(1, -(-tokens // 10))
    assert len(list(tmp_path.glob("*.json"))) == (0 if tokens <= 10 else -(-tokens // 10))
    part = found[3:27][2:]
    np.testing.assert_array_equal(part, wanted[5:27])
    assert part.tolist() == wanted[5:27].tolist()
    places = np.array([[4, 0], [tokens - 1, 2]]) % max(1, tokens)
    if tokens:
        np.testing.assert_array_equal(found[places], wanted[places])
