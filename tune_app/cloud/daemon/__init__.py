"""The one process that rents, and what its clients say to it. Imports `renting` and `overlay`."""
