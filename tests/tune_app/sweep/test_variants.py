"""A real sweep over ways to spend parameters that have sizes, metrics and counts of their own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.tune_app.real_sweeps import Sweeps

SPACE = """
AXES = {
    ("embedding", "embedding_ratio", "feed_forward", "n_experts", "top_k"): [
        ("tied", 0.35, "swiglu", None, None),
        ("factorized", 0.25, "swiglu", None, None),
        ("tied", 0.35, "moe", 4, 2),
    ],
}
FIXED = {
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 5_120, "batch_size": 4, "evaluations": 5, "evaluation_bytes": 4_096,
    "learning_rate": 1e-2, "d_model": 40, "glu_expansion": None, "n_layers": 2, "corpus": %r,
}
KILL_RULE = {"unit": "off"}
"""


@pytest.mark.sweeps
def test_a_sweep_over_embeddings_and_experts(
    tmp_path: Path, small_corpus: Path, cache: Path
) -> None:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    space = tmp_path / "variants.py"
    space.write_text(SPACE % str(small_corpus))
    code, output = sweeps.run("variants", "--scheduler", "none", space=space)
    assert code == 0, output
    found = pd.read_csv(sweeps.path("variants") / "results.csv")
    whole, factorized, experts = (row for _, row in found.iterrows())
    assert list(found["status"]) == ["finished"] * 3
    assert list(found["solved_d_model"]) == [40] * 3
    assert 0 < factorized["solved_embedding_rank"] < 40
    assert pd.isna(whole["solved_embedding_rank"])
    assert whole["parameters_active"] == whole["parameters_total"]
    assert experts["parameters_active"] < 0.85 * experts["parameters_total"]
    assert experts["parameters_router"] == 2 * 40 * 4
    assert 0 < experts["last_router_entropy"] <= 1.387  # ln 4
    assert 1 <= experts["last_expert_load"] <= 4
    assert experts["last_balance_loss"] > 0
    assert pd.isna(whole["last_router_entropy"])
    explained = pd.read_csv(sweeps.path("variants") / "columns.csv")
    assert explained["meaning"].notna().all()
