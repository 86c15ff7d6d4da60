"""Fetches the prepared corpora for a trial's process in the background, so it can still report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from data.cache import default_cache
from data.prepared import PreparedCorpus
from tune_app.cluster.corpus_share import CancelledError, Tokens, fetch
from tune_app.stores.open import open_store


class TokenFetch:
    """Downloads corpora into this machine's cache in a background thread.

    Args:
        tokens: where to get them.
        tokenizers: keys of the tokenizers whose corpora are needed.
        cache: folder; default: this machine's cache.
    """

    def __init__(
        self, tokens: Tokens, tokenizers: Sequence[str], *, cache: Path | None = None
    ) -> None:
        self.corpora: dict[str, PreparedCorpus] = {}
        """By tokenizer key; complete once `done` returns True."""
        self._tokens = tokens
        self._tokenizers = tokenizers
        self._cache = cache or default_cache()
        self._error: Exception | None = None
        self._cancelled = threading.Event()
        # A daemon thread, so that a process can exit without waiting for the store.
        self._thread = threading.Thread(target=self._run, name="token fetch", daemon=True)
        self._thread.start()

    def done(self, *, at_most: float) -> bool:
        """Waits; returns whether all corpora are here. Raises the errors of `corpus_share.fetch`.

        Args:
            at_most: maximum wait, in seconds.
        """
        self._thread.join(at_most)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def cancel(self) -> None:
        """Cancels the download at the next opportunity."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            self._fetch_all(self._cancelled.is_set)
        except CancelledError:
            return
        except Exception as error:
            self._error = error

    def _fetch_all(self, cancelled: Callable[[], bool]) -> None:
        store = open_store(self._tokens.store)
        try:
            for key in self._tokenizers:
                self.corpora[key] = fetch(
                    self._tokens.corpora[key], store, self._cache, cancelled=cancelled
                )
        finally:
            store.close()
