"""The names and pages of Vast.ai that messages send a person to."""

from __future__ import annotations

from tune_app.cloud.market.site import MarketSite

SITE = MarketSite(
    name="Vast.ai",
    instances="https://cloud.vast.ai/instances/",
    keys="https://cloud.vast.ai/manage-keys/",
    charges_scope="billing_read",
)
