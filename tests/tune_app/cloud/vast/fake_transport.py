"""The API on loopback without the loopback: the same answers, on a virtual clock, at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate

import httpx

from tests.tune_app.cloud.vast.fake_vast import FakeVast


class FakeTransport(httpx.BaseTransport):
    """Hands requests to a `FakeVast` that listens nowhere.

    Args:
        silence: called where no answer comes, before the time-out; it moves the clock.
        before, after: called with the endpoint's method and path around each request, to kill
            whoever sends it.
    """

    def __init__(
        self,
        fake: FakeVast,
        *,
        silence: Callable[[], None] = lambda: None,
        before: Callable[[str, str], None] = lambda *_: None,
        after: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._fake, self._silence = fake, silence
        self._before, self._after = before, after
        fake.waits = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self._before(method, path)
        raw = request.read()
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        status, answer = self._fake.answer(
            method,
            path,
            dict(request.url.params.items()),
            json.loads(raw) if raw else {},
            key,
        )
        self._after(method, path)
        if status == 0:
            self._silence()
            raise httpx.ReadTimeout("no answer", request=request)
        return httpx.Response(
            status,
            content=answer if isinstance(answer, bytes) else json.dumps(answer).encode(),
            headers={"Date": formatdate(self._fake.clock(), usegmt=True)},
            request=request,
        )
