"""A head made at Hetzner: its API and its settings. Imports `secrets` and `errors`."""
