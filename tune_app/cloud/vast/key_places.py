"""Where Vast.ai's own command line keeps the key of an account."""

from __future__ import annotations

from tune_app.cloud.secrets.account_key import KeyPlaces
from tune_app.cloud.vast.site import SITE

KEY_PLACES = KeyPlaces(
    market=SITE.name,
    variable="VAST_API_KEY",
    # As `vastai set api-key` writes them.
    files=(".config/vastai/vast_api_key", ".vast_api_key"),
    made=f"make one at {SITE.keys} that may search offers, create, list and destroy instances, and "
    f"read billing ({SITE.charges_scope}), and nothing else",
)
