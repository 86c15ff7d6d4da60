"""The prepared corpora of a trial's process: at hand, or fetched while the driver hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from data.cache import default_cache
from data.prepared import PreparedCorpus
from tune_app.cluster.corpus_share import CancelledError, Tokens, fetch
from tune_app.stores.open import open_store


class TokenFetch:
    """Gets corpora into this machine's cache, in a thread of its own.

    Args:
        tokens: where from.
        tokenizers: keys of those that are wanted.
        cache: default this machine's.
    """

    def __init__(
        self, tokens: Tokens, tokenizers: Sequence[str], *, cache: Path | None = None
    ) -> None:
        self.corpora: dict[str, PreparedCorpus] = {}
        """By the tokenizer's key, whole when it is done."""
        self._tokens = tokens
        self._tokenizers = tokenizers
        self._cache = cache or default_cache()
        self._error: Exception | None = None
        self._cancelled = threading.Event()
        # A daemon: a process that is told to end does not wait for a store.
        self._thread = threading.Thread(target=self._run, name="token fetch", daemon=True)
        self._thread.start()

    def done(self, *, at_most: float) -> bool:
        """Whether all are here; waits for it. Raises what went wrong: see `tokens.fetch`.

        Args:
            at_most: seconds to wait.
        """
        self._thread.join(at_most)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def cancel(self) -> None:
        """Ends it, as soon as the store lets it."""
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
