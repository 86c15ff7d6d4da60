"""Calls of Hetzner's API through its own client, hcloud, with our rules of repeating and errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from hcloud import APIException, Client, HCloudException

from tune_app.cloud.errors import (
    CloudError,
    NoAnswerError,
    OddAnswerError,
    RateLimitedError,
    RefusedError,
    UnreachableError,
)
from tune_app.cloud.hetzner.errors import BusyError, GoneError, failure
from tune_app.cloud.hetzner.settings import HetznerSettings
from tune_app.cloud.secrets.endpoint import checked_endpoint
from tune_app.cloud.secrets.key import ApiKey

logger = logging.getLogger(__name__)

ENDPOINT = "https://api.hetzner.cloud/v1"
_Answer = TypeVar("_Answer")


class HetznerApi:
    """hcloud's client, and how to ask it. No message, log line or repr holds the token."""

    def __init__(
        self,
        settings: HetznerSettings,
        token: ApiKey,
        *,
        endpoint: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            endpoint: https, or http to this machine.
        """
        self._settings = settings
        self._token = token
        self._endpoint = checked_endpoint(endpoint or ENDPOINT, what="endpoint", secret="token")
        self._sleep = sleep
        self.client = Client(
            token.reveal(),
            api_endpoint=self._endpoint,
            application_name="stellux",
            timeout=settings.http_s,
        )
        base = self.client._client
        # hcloud sends every call again after a time-out or a 502, an order too. And its session
        # would take the token from a .netrc, and follow redirects to other hosts.
        assert hasattr(base, "_retry_max_retries") and hasattr(base, "_session")
        base._retry_max_retries = 0
        base._session.trust_env = False
        base._session.max_redirects = 0

    def __repr__(self) -> str:
        return f"HetznerApi({self._endpoint!r})"

    def repeated(
        self, what: str, ask: Callable[[], _Answer], *, gone: bool = False
    ) -> _Answer | Any:
        """A call that may be sent again. `gone`: a missing thing is not an error."""
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return self.call(what, ask)
            except GoneError:
                if not gone:
                    raise
                return None
            except (NoAnswerError, RateLimitedError, UnreachableError, BusyError) as error:
                if attempt == self._settings.attempts:
                    raise
                logger.info("%s; once more", error)
                self._sleep(self._settings.poll_s * attempt)
        raise AssertionError("at least one attempt is made")

    def call(self, what: str, ask: Callable[[], _Answer]) -> _Answer:
        """Asks once. Raises CloudError for whatever goes wrong on the way or in the answer."""
        # Raised outside of `except`: hcloud's and requests' errors hold the order and the token.
        try:
            return ask()
        except APIException as error:
            problem = failure(what, error.code, self._cleaned(str(error.message)))
        except HCloudException as error:
            problem = RefusedError(f"{what}: {type(error).__name__}")
        except requests.RequestException as error:
            problem = self._no_answer(what, error)
        except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
            problem = OddAnswerError(
                f"{what}: the answer is not what the API documents ({type(error).__name__})"
            )
        raise problem

    def _no_answer(self, what: str, error: requests.RequestException) -> CloudError:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        kinds = (type(error).__name__, type(reason).__name__)
        if {"ConnectTimeout", "NewConnectionError", "NameResolutionError"} & {*kinds}:
            return UnreachableError(
                f"{what}: no connection to {self._endpoint} ({kinds[0]}); look at the network"
            )
        return NoAnswerError(f"{what}: no complete answer from {self._endpoint} ({kinds[0]})")

    def _cleaned(self, text: str) -> str:
        text = text.replace(self._token.reveal(), "…")
        return text.partition("-----BEGIN")[0][:300]
