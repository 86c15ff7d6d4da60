"""The sweep: cells, trials, stopping rules, results. Each folder says what it may import."""
