"""Vast.ai's HTTP API as a `market.protocol.Market`. Imports `market` and `secrets`."""
