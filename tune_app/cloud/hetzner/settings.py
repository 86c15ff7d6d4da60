"""The settings of a head at Hetzner, and the server that comes of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_app.cloud.hetzner.prices import Price
from tune_app.cloud.secrets.key import ApiKey

if TYPE_CHECKING:
    import asyncssh

VARIABLE = "HCLOUD_TOKEN"
DOLLARS_PER_EURO_MOST = 2.0


def hetzner_token(environment: Mapping[str, str]) -> ApiKey:
    """The token from HCLOUD_TOKEN. Raises ValueError if it is missing or invalid."""
    try:
        return ApiKey(environment.get(VARIABLE, ""))
    except ValueError:
        raise ValueError(
            f"{VARIABLE} is not set, or holds no token: make one that may read and write under "
            "Security, API tokens of the project on https://console.hetzner.cloud/ and export it"
        ) from None


@dataclass(frozen=True, kw_only=True)
class HetznerSettings:
    """The server to order; the token is not part of it.

    Raises ValueError for what could never be meant.
    """

    ssh_public_key: str
    """The key that logs in as root: its text, or the path of its .pub file."""
    max_euros_per_month: float
    """With tax and with the IPv4 address; a server that costs more is not made."""
    dollars_per_euro: float | None = None
    """With it, sweeps are charged for the head while they run, at Hetzner's price of an hour, which
    is without tax; multiply the tax in if you pay it. None: what the head costs is not counted."""
    server_type: str = "cx23"
    """The smallest with Intel or AMD processors since October 2025, if not in every location."""
    location: str = "nbg1"
    image: str = "ubuntu-24.04"
    folder: Path = Path("~/.stellux/hetzner")
    """On this machine: by which host keys servers are recognised."""
    http_s: float = 30.0
    """For connecting, and for each piece of an answer."""
    start_s: float = 300.0
    """Within which a server runs."""
    gone_s: float = 180.0
    """Within which a deleted one is gone."""
    look_s: float = 30.0
    """How long an order whose outcome is not known is looked for."""
    poll_s: float = 2.0
    attempts: int = 3
    """How often a call that may be repeated is sent."""

    def __post_init__(self) -> None:
        for name in ("max_euros_per_month", "http_s", "start_s", "gone_s", "look_s", "poll_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} is {value!r}; it must be a number over 0")
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value!r}; it must be finite")
        rate = self.dollars_per_euro
        if rate is not None and not 0 < rate <= DOLLARS_PER_EURO_MOST:
            raise ValueError(
                f"dollars_per_euro is {rate!r}; it must be over 0 and at most "
                f"{DOLLARS_PER_EURO_MOST:g}: write how many dollars a euro costs today, about 1.1, "
                "or remove it"
            )
        for name in ("server_type", "location", "image"):
            if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", getattr(self, name)):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; write it as Hetzner does, e.g. "
                    f"{HetznerSettings.__dataclass_fields__[name].default}"
                )
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; it must be at least 1")
        self.public_key()

    def public_key(self) -> asyncssh.SSHKey:
        """Raises ValueError if the text, or the file, is not a public key."""
        import asyncssh  # noqa: PLC0415 - programs on the head read these settings, and need no SSH

        text = self.ssh_public_key.strip()
        where = "ssh_public_key"
        if " " not in text and text:
            path = Path(text).expanduser()
            where = f"ssh_public_key ({path})"
            try:
                text = path.read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{where} cannot be read ({type(error).__name__}); write the key itself, or "
                    "the path of its .pub file"
                ) from None
        try:
            if "\n" in text:
                raise ValueError("several lines")
            return asyncssh.import_public_key(text)
        except (asyncssh.KeyImportError, ValueError):
            raise ValueError(
                f"{where} is not a public key in one line ('ssh-ed25519 AAAA…'); name the file "
                "that ends in .pub"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that exists, and bills."""

    id: int
    name: str
    address: str
    """IPv4; empty while it has none."""
    status: str
    price: Price | None
    """None if the price list does not have it (any more)."""
    known_hosts_line: str
    """By which it is recognised; two lines while its key is being replaced."""
