"""The market Vast.ai: its API, offers and labels. Imports `secrets` and `errors`."""
