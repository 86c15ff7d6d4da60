"""Two tokenizers of one size in one sweep: planned, prepared, sent, fetched and counted apart."""

from __future__ import annotations

import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data.prepared import PreparedCorpus
from data.tokenizers.base import kind_of
from data.tokenizers.spec import TokenizerSpec
from tune_app.cluster.corpus_fetch import TokenFetch
from tune_app.journal.records import CellRecord, Status
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.sweep_rules import planned_rules
from tune_app.sweep.corpora import prepared_corpora, sweep_record
from tune_app.sweep.preflight import share_tokens
from tune_app.terminal.progress import SweepProgress
from tune_app.trial.data import TrialData

SIZE = 512


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the same size that was trained on another text."""
    text = (Path(sysconfig.get_path("stdlib")) / "turtle.py").read_text("utf-8")
    path = tmp_path_factory.mktemp("elsewhere") / "tokenizer.json"
    kind_of(TokenizerSpec(vocab_size=SIZE)).train([[text]]).save(str(path))
    return path


@pytest.fixture(scope="module")
def plan(small_corpus: Path, elsewhere: Path) -> SweepPlan:
    space = Space(
        name="two_tokenizers",
        axes={"glu_expansion": [2.66]},
        fixed={
            **{"target_parameters": 60_000, "vocab_size": SIZE, "n_heads": 2, "context": 32},
            **{"tokens": 2_560, "batch_size": 4, "evaluations": 5, "evaluation_bytes": 4_096},
            "corpus": str(small_corpus),
            "tokenizer": "imported",
            "tokenizer_options": {"file": str(elsewhere)},
        },
        baseline={"tokenizer": "byte_level_bpe", "tokenizer_options": {}},
    )
    return make_plan(space, Wishes())


@pytest.fixture(scope="module")
def corpora(plan: SweepPlan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedCorpus]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLUX_CACHE", str(tmp_path_factory.mktemp("cache")))
        return prepared_corpora(plan, Console(quiet=True))


def test_both_are_planned_and_prepared(plan: SweepPlan, corpora: dict[str, PreparedCorpus]) -> None:
    assert [tokenizer.kind for tokenizer in plan.tokenizers] == ["byte_level_bpe", "imported"]
    assert list(corpora) == [tokenizer.key for tokenizer in plan.tokenizers]
    one, other = corpora.values()
    assert one.folder != other.folder
    assert not np.array_equal(one.split("dev").tokens, other.split("dev").tokens)
    assert one.split("dev").document_bytes.tolist() == other.split("dev").document_bytes.tolist()


def test_a_trial_counts_in_its_own_tokens_and_in_the_baselines(
    plan: SweepPlan, corpora: dict[str, PreparedCorpus]
) -> None:
    own, other = (
        TrialData(Cell.from_values(cell.values), corpora=lambda one: corpora[one.key])
        for cell in plan.cells
    )
    assert own.tokens == own.baseline_tokens(own.tokens) == plan.tokens
    assert other.tokens > plan.tokens, "a tokenizer of another text needs more tokens"
    assert other.baseline_tokens(other.tokens) - plan.tokens in (0, 1), "rounded up"
    assert other.sample.text_bytes == own.sample.text_bytes


def test_both_travel_by_a_store(
    plan: SweepPlan, corpora: dict[str, PreparedCorpus], tmp_path: Path
) -> None:
    tokens = share_tokens(str(tmp_path / "store"), corpora, Console(quiet=True))
    fetching = TokenFetch(tokens, [one.key for one in plan.tokenizers], cache=tmp_path / "far")
    assert fetching.done(at_most=60.0)
    for key, corpus in fetching.corpora.items():
        assert corpus.manifest == corpora[key].manifest
        assert np.array_equal(corpus.split("train").tokens, corpora[key].split("train").tokens)


def test_progress_is_counted_in_the_baselines_tokens(
    plan: SweepPlan, corpora: dict[str, PreparedCorpus]
) -> None:
    rules = planned_rules(Space(name="x", axes={"n_heads": [2]}), Wishes(), tokens=plan.tokens)
    record = sweep_record(plan, rules, corpora, command="")
    assert list(record.bytes_per_token) == list(corpora)
    cells = [CellRecord.of(planned) for planned in plan.cells]
    view = SweepProgress(record, cells)
    cell = replace(cells[1], status=Status.RUNNING)
    view.advance(cell, 1_000)
    baseline, own = record.bytes_per_token.values()
    assert view.tokens(cell) == round(1_000 * own / baseline) < 1_000
