"""What an answer of Vast.ai's API that is not a plain success means: which error, which remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_app.cloud.errors import (
    CloudError,
    CreditError,
    MissingScopeError,
    NoAnswerError,
    NoSuchInstanceError,
    NoSuchOfferError,
    OddAnswerError,
    PriceError,
    RateLimitedError,
    RefusedError,
    SearchQuotaError,
    SpendRateError,
    WrongKeyError,
)
from tune_app.cloud.vast.site import SITE

_BY_CODE: Mapping[str, type[CloudError]] = {
    "auth_error": WrongKeyError,
    "no_such_ask": NoSuchOfferError,
    "spend_rate_limit": SpendRateError,
    "insufficient_credit": CreditError,
    "invalid_price": PriceError,
    "search_quota_exceeded": SearchQuotaError,
}
_MISSING_INSTANCE = frozenset({"not_found", "no_such_instance"})
"""Two pages of the documents say two things."""


def error_of(endpoint: str, status: int, values: Mapping[str, Any], *, secret: str) -> CloudError:
    """The error that an answer stands for.

    Args:
        values: the answer's JSON object, empty if it is none.
        secret: what the error's message must not repeat.
    """
    contract = new_contract(values)
    code, text = str(values.get("error") or ""), str(values.get("msg") or "")
    said = f"{code} {text}".strip().replace(secret, "…")[:300]
    kind = _kind(endpoint, status, values, code, text)
    message = f"{endpoint}: HTTP {status} {said}".strip() + _remedy(kind)
    if kind is OddAnswerError:
        message += ": the answer is not a JSON object"
    return kind(message, contract=contract)


def _kind(  # noqa: PLR0911 - one line a kind
    endpoint: str, status: int, values: Mapping[str, Any], code: str, text: str
) -> type[CloudError]:
    if status >= 500:
        return NoAnswerError
    if status == 404 and endpoint in ("show", "destroy") and code in _MISSING_INSTANCE:
        return NoSuchInstanceError
    for known, kind in _BY_CODE.items():
        if known == code or known in text:
            return kind
    if status == 410 and endpoint == "create":
        return NoSuchOfferError
    if status == 429:
        return RateLimitedError
    if status in (401, 403):
        return MissingScopeError
    if status >= 400 or (values and values.get("success") is False):
        return RefusedError
    return OddAnswerError


def new_contract(answer: Mapping[str, Any]) -> int | None:
    """The contract that an answer says was made; None if it names none."""
    value = answer.get("new_contract")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _remedy(kind: type[CloudError]) -> str:
    return {
        MissingScopeError: "; the key is wrong or lacks a permission: make a new one on "
        f"{SITE.keys} that may do this, too",
        WrongKeyError: f"; the key is wrong or lacks a permission: make a new one on {SITE.keys}",
        CreditError: "; add credit to the Vast.ai account",
        SpendRateError: "; the account may not spend that much an hour: ask for fewer workers, "
        "or Vast.ai for a higher limit",
        SearchQuotaError: "; searches return at midnight UTC",
    }.get(kind, "")
