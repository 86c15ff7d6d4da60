"""The sweep as a service of the head. Imports `head`, `node` and `overlay`."""
