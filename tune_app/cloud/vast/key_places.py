"""Where Vast.ai's own command line keeps the key of an account."""

from __future__ import annotations

from tune_app.cloud.secrets.account_key import KeyPlaces

KEY_PLACES = KeyPlaces(
    market="Vast.ai",
    variable="VAST_API_KEY",
    # As `vastai set api-key` writes them.
    files=(".config/vastai/vast_api_key", ".vast_api_key"),
    made="make one at https://cloud.vast.ai/manage-keys/ that may search offers, create, list and "
    "destroy instances, and read billing (billing_read), and nothing else",
)
