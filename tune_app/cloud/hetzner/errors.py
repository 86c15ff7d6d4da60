"""How Hetzner's API fails, as errors that say what to do. Source: https://docs.hetzner.cloud/."""

from __future__ import annotations

from collections.abc import Mapping

from tune_app.cloud.errors import (
    CloudError,
    NoAnswerError,
    OddAnswerError,
    RateLimitedError,
    RefusedError,
    WrongKeyError,
)


class NotAvailableError(CloudError):
    """No such server can be had in that location now."""


class NameTakenError(CloudError):
    """A server of that name exists and is not ours."""


class ProjectLimitError(CloudError):
    """The project may not have more of it."""


class MaintenanceError(CloudError):
    """Hetzner is at work; nothing was done."""


class BusyError(CloudError):
    """The server is locked by something that is going on."""


class ProtectedError(CloudError):
    """The server is protected from being deleted."""


class GoneError(CloudError):
    """It does not exist (any more)."""


class NotReadyError(CloudError):
    """The server exists, and does not run (or is not gone) in time. It bills."""

    may_have_happened = True


class OverCapError(ValueError):
    """The server costs more than it may."""


_BY_CODE: Mapping[str, type[CloudError]] = {
    "unauthorized": WrongKeyError,
    "forbidden": WrongKeyError,
    "token_readonly": WrongKeyError,
    "rate_limit_exceeded": RateLimitedError,
    "resource_limit_exceeded": ProjectLimitError,
    "resource_unavailable": NotAvailableError,
    "placement_error": NotAvailableError,
    "maintenance": MaintenanceError,
    "locked": BusyError,
    "conflict": BusyError,
    "uniqueness_error": NameTakenError,
    "protected": ProtectedError,
    "not_found": GoneError,
    "server_error": NoAnswerError,
    "service_error": NoAnswerError,
    "unavailable": NoAnswerError,
    "bad_gateway": NoAnswerError,
    "timeout": NoAnswerError,
}

_REMEDIES: Mapping[type[CloudError], str] = {
    WrongKeyError: "; the token is wrong, or may only read: make one that may read and write under "
    "Security, API tokens of the project on https://console.hetzner.cloud/ and set HCLOUD_TOKEN",
    RateLimitedError: "; the project's calls of this hour are used up: wait some minutes",
    ProjectLimitError: "; the project has reached its limit of servers or addresses: delete "
    "one, or ask for a higher limit under Limits on https://console.hetzner.cloud/",
    NotAvailableError: "; choose another location or server type, or try again later",
    MaintenanceError: "; see https://status.hetzner.com/ and try again later",
    GoneError: "; it was deleted meanwhile, or a name in the settings is wrong",
    BusyError: "; something else is being done to it: try again in a minute",
    ProtectedError: "; remove its protection on https://console.hetzner.cloud/ if it is to go",
}


def failure(what: str, code: int | str, message: str) -> CloudError:
    """The error for what the API said.

    Args:
        code: the API's own word for it or, where the answer was not the API's, the HTTP status.
        message: cleaned of secrets.
    """
    text = f"{what}: {message} ({code})"
    kind = _BY_CODE.get(code) if isinstance(code, str) else _by_status(code)
    if code == "invalid_input" and "location" in message:
        kind = NotAvailableError
    kind = kind or RefusedError
    return kind(text + _REMEDIES.get(kind, ""))


def _by_status(status: int) -> type[CloudError] | None:
    if status >= 500:
        return NoAnswerError
    if status < 400:
        return OddAnswerError
    return {401: WrongKeyError, 403: WrongKeyError, 404: GoneError, 429: RateLimitedError}.get(
        status
    )
