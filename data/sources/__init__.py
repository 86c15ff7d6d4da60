"""Where texts come from: one class a kind of corpus. Imports `data.errors` and `data.documents`."""
