"""The account's key: read, held and sent only where it may go. Imports nothing of the project."""
