"""The process on the head that holds the account's key, rents workers, and answers clients.

Imports `renting`, `ledger`, `open_market`, `overlay` and `secrets`.
"""
