"""Which machine to rent, for how much, and what becomes of it. Imports `vast` and `ledger`."""
