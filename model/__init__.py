"""From tokens to a loss, and from a budget to sizes. Knows nothing of data, Ray or sweeps."""
