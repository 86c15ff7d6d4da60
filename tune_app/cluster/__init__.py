"""What several machines need: capacity, and the tokens on each. Imports stores and `data`."""
