"""Where a user keeps the key of a market's account: never in the YAML, never on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.secrets.key import ApiKey


@dataclass(frozen=True, kw_only=True)
class KeyPlaces:
    """Where the key of one market's accounts is looked for, and how a user comes by one."""

    market: str
    """As people call it."""
    variable: str
    """Of the environment; it takes precedence."""
    made: str
    """Where one is made, and what it must be allowed to do: `make one at …`."""
    files: tuple[str, ...] = ()
    """In the home, the first of them the usual one."""


def account_key(places: KeyPlaces, environment: Mapping[str, str], home: Path) -> ApiKey:
    """The key from the environment, or else from the first file that there is.

    Raises ValueError if there is none, or if it is not a key.
    """
    told = environment.get(places.variable, "")
    if told.strip():
        return _checked(told, places, places.variable)
    for path in (home / name for name in places.files):
        if path.is_file():
            return _checked(path.read_text("utf-8"), places, str(path))
    remedy = f"set {places.variable}"
    if places.files:
        remedy += f", or write it into ~/{places.files[0]}"
    raise ValueError(f"no {places.market} key: {remedy}; {places.made}")


def _checked(text: str, places: KeyPlaces, where: str) -> ApiKey:
    try:
        return ApiKey(text, called=f"the {places.market} key")
    except ValueError as error:
        raise ValueError(f"{where}: {error}, or {places.made}") from None
