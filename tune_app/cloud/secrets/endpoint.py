"""Checks where a secret may be sent."""

from __future__ import annotations

from urllib.parse import urlsplit


def checked_endpoint(url: str, *, what: str, secret: str) -> str:
    """The URL without a trailing slash. Raises ValueError if the secret could be intercepted.

    Args:
        what, secret: names of the URL and of the secret, for the message.
    """
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(
            f"the {what} is {url!r}; it must start with https:// (http:// only to this "
            f"machine), or the {secret} could be read on its way"
        )
    return url.rstrip("/")
