"""Where a user keeps the key of the Vast.ai account: never in the YAML, never on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tune_app.cloud.secrets.key import ApiKey

VARIABLE = "VAST_API_KEY"
FILES = (".config/vastai/vast_api_key", ".vast_api_key")
"""In the home, as Vast.ai's own command line writes it."""


def account_key(environment: Mapping[str, str], home: Path) -> ApiKey:
    """The key from the environment, or else from the file that `vastai set api-key` writes.

    Raises ValueError if there is none, or if it is not a key.
    """
    told = environment.get(VARIABLE, "")
    if told.strip():
        return ApiKey(told)
    for name in FILES:
        path = home / name
        if path.is_file():
            try:
                return ApiKey(path.read_text("utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    raise ValueError(
        f"no Vast.ai key: set {VARIABLE}, or write it into ~/{FILES[0]}; make one at "
        "https://cloud.vast.ai/manage-keys/ that may search offers, create, list and destroy "
        "instances, and read billing (billing_read), and nothing else"
    )
