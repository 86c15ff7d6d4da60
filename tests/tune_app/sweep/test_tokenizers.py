"""Real sweeps over tokenizers, judged by bits per byte."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from search_spaces import quick_superbpe
from tests.tune_app.real_sweeps import ROOT, Sweeps
from tune_app.trial.trained import load


@pytest.mark.sweeps
def test_superbpe_against_bpe_end_to_end(tmp_path: Path, small_corpus: Path, cache: Path) -> None:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    small = ("target_parameters=60_000", "vocab_size=512", "context=32", "evaluations=4")
    settings = (*small, "tokens=2_560", "evaluation_bytes=4_096", f"corpus={small_corpus}")
    code, output = sweeps.run(
        "tokens",
        *(word for setting in settings for word in ("--set", setting)),
        *("--scheduler", "none"),
        space=ROOT / "search_spaces" / "quick_superbpe.py",
    )
    assert code == 0, output
    assert "bits per byte (full dev)" in output
    table = pd.read_parquet(sweeps.path("tokens") / "results.parquet")
    assert len(table) == len(quick_superbpe.AXES["tokenizer", "tokenizer_options"])
    assert table["full_bits_per_byte"].notna().all()
    best = table.set_index("rank").loc[1]
    leader = load(best["checkpoint"], folder=sweeps.path("tokens"))
    text = " for the rest of the line\n\n    return self"
    ids = leader.tokenizer.encode(text).ids
    assert leader.tokenizer.decode(ids, skip_special_tokens=False) == text
