"""Tokens on their way to other machines: whole, once a machine, through a store that falters."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.stores.servers import SSHD, Sshd
from tune_app.cluster import corpus_share as tokens
from tune_app.cluster.corpus_fetch import TokenFetch
from tune_app.cluster.corpus_share import CancelledError, Tokens, fetch, patiently, share
from tune_app.stores.base import StoreUnreachableError, TornError
from tune_app.stores.open import open_store
from tune_app.stores.path import PathStore

ROOT = Path(__file__).parents[3]


class CountingStore(PathStore):
    """Counts what is read and written, and fails some reads."""

    def __init__(self, folder: Path, *, failing_reads: int = 0) -> None:
        super().__init__(folder)
        self.reads: list[str] = []
        self.writes: list[str] = []
        self._failing = failing_reads

    def read(self, name: str) -> bytes:
        self.reads.append(name)
        if self._failing:
            self._failing -= 1
            raise StoreUnreachableError("no answer")
        return super().read(name)

    def write(self, name: str, content: bytes | memoryview) -> None:
        self.writes.append(name)
        super().write(name, content)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts a file, and no long pauses."""
    monkeypatch.setattr(tokens, "PART_BYTES", 10_000)
    monkeypatch.setattr(tokens, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def corpus(small_corpus: Path, cache: Path) -> PreparedCorpus:
    return prepare(str(small_corpus), TokenizerSpec(vocab_size=512), cache=cache)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path / "store")
    store.check()
    store.reads.clear()
    store.writes.clear()
    return store


def same(one: PreparedCorpus, other: PreparedCorpus) -> bool:
    return one.manifest == other.manifest and all(
        (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
        for name in (*one.manifest.files, "manifest.json")
    )


def test_what_is_fetched_is_what_was_prepared(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    fetched = fetch(shared, store, tmp_path / "far")
    assert same(fetched, corpus)
    assert np.array_equal(fetched.split("train").tokens, corpus.split("train").tokens)
    assert store.writes[-1] == f"{shared.folder}/manifest.json", "what makes it current is last"


def test_what_is_there_is_not_sent_and_not_fetched_again(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path, cache: Path
) -> None:
    shared = share(corpus, store)
    store.writes.clear()
    assert share(corpus, store) == shared
    assert store.writes == []
    fetch(shared, store, tmp_path / "far")
    store.reads.clear()
    fetch(shared, store, tmp_path / "far")
    assert fetch(shared, store, cache).folder == corpus.folder, "the driver's machine has its own"
    assert store.reads == []


def test_a_cut_off_upload_is_finished_and_nothing_half_sent_is_taken(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    sent = list(store.writes)
    store.remove(sent[-1])
    store.remove(sent[3])
    super(CountingStore, store).write(sent[5], b"half")
    with pytest.raises(OSError, match=r"holds no .*manifest\.json"):
        fetch(shared, store, tmp_path / "far")
    assert not [path for path in (tmp_path / "far").iterdir() if path.is_dir()]
    store.writes.clear()
    share(corpus, store)
    assert store.writes == [sent[3], sent[5], sent[-1]]
    assert same(fetch(shared, store, tmp_path / "far"), corpus)


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000])
def test_other_bytes_than_were_sent_are_never_used(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path, damage: bytes
) -> None:
    shared = share(corpus, store)
    store.write(f"{shared.folder}/train.tokens.npy.00000", damage)
    with pytest.raises(TornError, match=f"remove {shared.folder} there"):
        fetch(shared, store, tmp_path / "far")
    share(corpus, store)
    assert not (tmp_path / "far" / shared.name).exists()


def test_a_damaged_cache_is_fetched_anew(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    fetched = fetch(shared, store, tmp_path / "far")
    path = fetched.folder / "train.tokens.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert same(fetch(shared, store, tmp_path / "far"), corpus)


def test_a_corpus_of_the_same_key_with_other_bytes_is_another(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    other = tmp_path / "far" / shared.key
    other.mkdir(parents=True)
    for path in corpus.folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace(shared.key, "") + " ")
    assert fetch(shared, store, tmp_path / "far").folder.name == shared.name


def test_a_store_that_does_not_answer_is_asked_again(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    faltering = CountingStore(tmp_path / "store", failing_reads=5)
    assert same(fetch(shared, faltering, tmp_path / "far"), corpus)
    away = CountingStore(tmp_path / "store", failing_reads=10**6)
    with pytest.raises(StoreUnreachableError):
        fetch(shared, away, tmp_path / "farther", patience=0.2)


def test_the_pauses_of_many_do_not_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_FIRST_PAUSE", 0.2)

    def tries(_: int) -> float:
        attempts = []

        def call() -> float:
            attempts.append(time.monotonic())
            if len(attempts) < 2:
                raise StoreUnreachableError("no answer")
            return attempts[1] - attempts[0]

        return patiently(call)

    with ThreadPoolExecutor(8) as pool:
        pauses = list(pool.map(tries, range(8)))
    assert min(pauses) >= 0.1
    assert max(pauses) - min(pauses) > 0.01


def test_the_machines_of_one_host_fetch_once(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    store.reads.clear()
    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda _: fetch(shared, store, tmp_path / "far"), range(4)))
    assert all(same(copy, corpus) for copy in fetched)
    assert len(store.reads) == len(set(store.reads))


def test_a_trial_that_ends_does_not_wait_for_a_store(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    away = CountingStore(tmp_path / "store", failing_reads=10**6)
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(CancelledError):
        fetch(shared, away, tmp_path / "far", cancelled=cancelled.is_set)


def test_a_fetch_says_when_it_is_done_and_what_went_wrong(
    corpus: PreparedCorpus, store: CountingStore, tmp_path: Path
) -> None:
    shared = share(corpus, store)
    wanted = Tokens(store=store.url, corpora={512: shared})
    fetching = TokenFetch(wanted, [512], cache=tmp_path / "far")
    while not fetching.done(at_most=0.05):
        pass
    assert same(fetching.corpora[512], corpus)
    store.remove(f"{shared.folder}/manifest.json")
    failing = TokenFetch(wanted, [512], cache=tmp_path / "farther")
    with pytest.raises(OSError, match="holds no"):
        while not failing.done(at_most=0.05):
            pass


FETCH = """
import sys
from pathlib import Path
from tune_app.stores.open import open_store
from tune_app.cluster.corpus_share import SharedCorpus, fetch
url, key, manifest, cache = sys.argv[1:]
store = open_store(url)
fetch(SharedCorpus(key=key, manifest_sha256=manifest), store, Path(cache))
store.close()
"""


@pytest.mark.sweeps
def test_eight_workers_at_once_get_their_tokens_from_an_sshd_that_turns_some_away(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its MaxStartups lets two be on their way in, and drops the rest at once."""
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    monkeypatch.undo()  # the workers have parts of the usual size
    with Sshd(tmp_path / "sshd", options=("MaxStartups 2:100:2",)) as server:
        store = open_store(server.url())
        store.check()
        shared = share(corpus, store)
        store.close()
        workers = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", FETCH, server.url(), shared.key),
                    *(shared.manifest_sha256, str(tmp_path / f"cache-{number}")),
                ],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(8)
        ]
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors
    for number in range(8):
        copy = PreparedCorpus.open(tmp_path / f"cache-{number}" / shared.name)
        assert same(copy, corpus)
