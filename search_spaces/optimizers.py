"""AdamW or Muon, each at its best of three rates? The 10M baseline under both.

Muon takes the hidden matrices, AdamW everything else. `learning_rate_factor` multiplies both rates;
what Muon's is at 1 is `muon_learning_rate`, which AdamW does not use: 0.08 suits a start at zero
(docs/transfer.md).
"""

AXES = {
    ("optimizer", "muon_learning_rate"): [("adamw", 0.02), ("muon", 0.08)],
}

NUISANCE = {
    "learning_rate_factor": [1.0, 0.5, 2.0],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "tokens": 5_000_000,
}
