"""Does training begin better on short sequences? Four curricula of the 10M baseline.

Short sequences cost less attention, so a curriculum may also save time: compare at equal seconds
(`stellux report` has that view) as well as at equal tokens. Scores are always at the full context.
"""

AXES = {
    "curriculum": ["none", "10%:64", "30%:64", "10%:32,20%:128"],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "tokens": 5_000_000,
}
