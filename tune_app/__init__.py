"""The sweep: cells, trials, rules that stop them, results. Each folder says what it may import."""
