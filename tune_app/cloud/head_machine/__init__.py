"""The cluster's head as the user's machine sees it: chosen, created, fetched from."""
