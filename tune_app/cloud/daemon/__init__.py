"""The process on the head that holds the account's key, rents workers, and answers clients.

Imports `renting`, `ledger`, `markets`, `overlay` and `secrets`.
"""
