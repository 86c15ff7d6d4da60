"""Which machine to rent, for how much, and when it is destroyed. Imports `market` and `ledger`."""
