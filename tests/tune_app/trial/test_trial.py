"""A trial without Ray: the same seed gives the same bits, stopped anywhere or never."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepare import prepare
from model.spec import ModelConfig, ModelSpec
from model.training import loss_scale
from model.training.hardware import Cpu
from tests.tune_app.observations import changed
from tests.tune_app.trial.running import Corpora, results, run_to_end
from tune_app.journal.records import PHASES, Observation
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.stores.path import PathStore
from tune_app.trial.alone import read_cell
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

SMALL: dict[str, Any] = {
    "target_parameters": 60_000,
    "vocab_size": 512,
    "n_heads": 2,
    "context": 32,
    "tokens": 2_560,
    "batch_size": 4,
    "evaluations": 5,
    "evaluation_bytes": 4_096,
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def corpora(small_corpus: Path, cache: Path) -> Corpora:
    return lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache)


@pytest.fixture(scope="module")
def undisturbed(corpora: Corpora) -> list[Observation]:
    """The small cell's results, trained without a stop."""
    return results(run_to_end(Trial(Cell.from_values(SMALL), corpora=corpora)))


def test_a_trial_learns_and_scores_the_whole_split_at_its_end(corpora: Corpora) -> None:
    cell = Cell.from_values({**SMALL, "tokens": 10_240})
    observations = run_to_end(Trial(cell, corpora=corpora))
    assert [point.tokens for point in observations] == [2_048, 4_096, 6_144, 8_192, 10_240]
    scores = [point.bits_per_byte for point in observations]
    assert scores == sorted(scores, reverse=True)
    assert [point.full_bits_per_byte is None for point in observations] == [True] * 4 + [False]
    assert set(observations[-1].seconds) == set(PHASES)
    assert observations[-1].baseline_tokens == observations[-1].tokens
    assert observations[-1].baseline_token_perplexity == pytest.approx(observations[-1].perplexity)


def test_one_seed_gives_the_same_bits_twice_and_another_seed_others(
    corpora: Corpora, undisturbed: list[Observation]
) -> None:
    cell = Cell.from_values(SMALL)
    assert results(run_to_end(Trial(cell, corpora=corpora))) == undisturbed
    other = results(run_to_end(Trial(cell.with_seed(1), corpora=corpora)))
    assert [point.bits_per_byte for point in other] != [p.bits_per_byte for p in undisturbed]


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_stopped_at_any_step_and_resumed_gives_the_same_bits(
    corpora: Corpora, undisturbed: list[Observation], tmp_path: Path, steps: int
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(cell, corpora=corpora)
    seen: list[Observation] = []
    while trial.tokens < steps * 128:
        observation = trial.advance(at_most=0.0)
        seen += [] if observation is None else [observation]
    kept(tmp_path, cell).save(trial._state(), tokens=trial.tokens)
    resumed = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert resumed.resumed_from == steps * 128
    again = results(run_to_end(resumed))
    known = {point.tokens for point in results(seen)} - {point.tokens for point in again}
    assert [point for point in undisturbed if point.tokens not in known] == again
    assert again[0].tokens == max(128 * steps // 512 * 512, 512), "the last report comes again"


EXPERTS = {"feed_forward": "moe", "n_experts": 4, "top_k": 2, "shared_experts": 1}


@pytest.mark.parametrize(
    "variants",
    [
        {"n_kv_heads": 1, "attention": "qk_norm", "document_masking": True, "dropout": 0.1},
        pytest.param(
            {**EXPERTS, "budget": "active", "embedding": "factorized_untied"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["attention", "experts"],
)
def test_what_changes_the_forward_pass_is_resumed_bit_for_bit_too(
    corpora: Corpora, tmp_path: Path, variants: dict[str, Any]
) -> None:
    values = {**SMALL, **variants, **{"tokens": 1_280, "evaluations": 2}}
    cell = Cell.from_values(values)
    whole = results(run_to_end(Trial(cell, corpora=corpora)))
    trial = Trial(cell, corpora=corpora)
    while trial.tokens < 7 * 128:
        trial.advance(at_most=0.0)
    kept(tmp_path, cell).save(trial._state(), tokens=trial.tokens)
    resumed = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert results(run_to_end(resumed)) == whole


def test_a_checkpoint_of_before_named_metrics_is_continued(
    corpora: Corpora, undisturbed: list[Observation], tmp_path: Path
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(cell, corpora=corpora)
    while trial.tokens < 6 * 128:
        trial.advance(at_most=0.0)
    state = trial._state()
    steps, point = state.pop("steps"), state.pop("observation")
    flat = point | point["metrics"]
    del flat["metrics"], flat["gradient_norm"], flat["sample_parts"]
    flat |= {
        "reference_tokens": flat.pop("baseline_tokens"),
        "reference_perplexity": flat.pop("baseline_token_perplexity"),
        "whole_bits_per_byte": None,
        "whole_perplexity": None,
    }
    state |= {"losses": steps["train_loss"], "learning_rate": steps["learning_rate"][-1]}
    kept(tmp_path, cell).save({**state, "observation": flat}, tokens=trial.tokens)
    resumed = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    first, second, *rest = results(run_to_end(resumed))
    assert first == replace(changed(undisturbed[0], gradient_norm=None), sample_parts=())
    norm = second.metrics["gradient_norm"]
    assert second == changed(undisturbed[1], gradient_norm=norm), "over the steps since then"
    assert rest == undisturbed[2:]


def test_the_last_report_is_repeated_in_case_that_it_was_lost(
    corpora: Corpora, tmp_path: Path
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    first = trial.advance()
    trial.save()
    resumed = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert resumed.advance() == first


def test_more_evaluations_than_steps_are_one_a_step(corpora: Corpora) -> None:
    cell = Cell.from_values({**SMALL, "tokens": 400, "evaluations": 10})
    observations = run_to_end(Trial(cell, corpora=corpora))
    assert [point.tokens for point in observations] == [128, 256, 384, 512]
    assert [point.full_bits_per_byte is None for point in observations] == [True] * 3 + [False]


def test_a_slice_of_time_ends_without_an_observation(corpora: Corpora) -> None:
    trial = Trial(Cell.from_values(SMALL), corpora=corpora)
    assert trial.advance(at_most=0.0) is None
    assert trial.tokens == 128
    assert trial.advance() is not None


@pytest.mark.parametrize("steps", [2, 3, 16])
def test_steps_that_are_read_later_give_the_same_bits(
    corpora: Corpora,
    undisturbed: list[Observation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    """As on a GPU, which is not waited for after each step."""
    monkeypatch.setattr(Cpu, "STEPS_AHEAD", steps)
    cell = Cell.from_values(SMALL)
    assert results(run_to_end(Trial(cell, corpora=corpora))) == undisturbed
    trial = Trial(cell, corpora=corpora)
    seen = []
    while trial.tokens < 1_200:
        seen += [] if (observation := trial.advance(at_most=0.0)) is None else [observation]
    kept(tmp_path, cell).save(trial._state(), tokens=trial.tokens)
    resumed = run_to_end(Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell)))
    known = {point.tokens for point in seen} - {point.tokens for point in resumed}
    assert [point for point in undisturbed if point.tokens not in known] == results(resumed)


def test_divergence_is_seen_within_the_steps_that_are_read_together(
    corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cpu, "STEPS_AHEAD", 4)
    trial = Trial(Cell.from_values(SMALL), corpora=corpora)
    with torch.no_grad():
        trial._training.model.final_norm.weight[0] = math.nan
    observation = trial.advance()
    assert observation is not None and math.isnan(observation.train_loss)
    assert observation.tokens == 4 * 128


def test_steps_that_overflow_in_fp16_are_counted_and_are_no_divergence(
    corpora: Corpora, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Cpu, "multiplies_fp16", lambda self, device: True)
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    caplog.set_level(logging.INFO)
    trial = Trial(Cell.from_values({**SMALL, "precision": "fp16"}), corpora=corpora)
    points = run_to_end(trial)
    assert trial.tokens == SMALL["tokens"]
    skipped = [point.metrics["skipped_steps"] for point in points]
    assert skipped[0] > skipped[-1] == 0
    assert points[-1].metrics["loss_scale"] == 2.0 ** (24 - sum(skipped))
    assert all(math.isfinite(point.train_loss) for point in points)
    assert caplog.text.count("a step was skipped") == sum(skipped)


def test_a_learning_rate_out_of_all_bounds_is_seen_as_divergence(corpora: Corpora) -> None:
    cell = Cell.from_values({**SMALL, "learning_rate": 1e30, "gradient_clip": 1e30})
    observation = Trial(cell, corpora=corpora).advance()
    assert observation is not None
    assert not math.isfinite(observation.train_loss) or not math.isfinite(observation.bits_per_byte)


def test_two_tokenizers_train_on_the_same_text(corpora: Corpora) -> None:
    small, large = (
        Trial(
            Cell.from_values({**SMALL, "vocab_size": size, "baseline": {"vocab_size": 512}}),
            corpora=corpora,
        )
        for size in (512, 600)
    )
    one, other = run_to_end(small), run_to_end(large)
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert theirs.tokens <= mine.tokens
        assert theirs.baseline_tokens == pytest.approx(mine.baseline_tokens, abs=128)
    # Equal bits are equal perplexities in the baseline's tokens, whoever has them.
    units = [
        math.log(point.baseline_token_perplexity) / point.bits_per_byte for point in (*one, *other)
    ]
    assert units == pytest.approx([units[0]] * len(units))
    assert one[-1].baseline_token_perplexity == pytest.approx(one[-1].perplexity)
    assert other[-1].baseline_token_perplexity != pytest.approx(other[-1].perplexity)


def test_training_runs_where_ray_cannot_be_imported(small_corpus: Path, cache: Path) -> None:
    cell = json.dumps({**SMALL, "tokens": 512, "evaluations": 1, "corpus": str(small_corpus)})
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "import tune_app.trial.__main__ as trial\n"
        "from tune_app.command_line import run_command\n"
        f"sys.exit(run_command(trial.app, 'tune_app.trial', [{cell!r}, '--threads', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"STELLUX_CACHE": str(cache), "PATH": "/usr/bin:/bin", "HOME": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    assert "full dev split" in done.stdout


def test_a_store_that_refuses_costs_the_checkpoint_and_not_the_training(
    corpora: Corpora,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tune_app.trial.unstored.LAST_PATIENCE", 0.5)
    cell = Cell.from_values(SMALL)
    checkpoints = kept(tmp_path, cell)
    (tmp_path / "c" / cell.key).write_text("no folder can be made here")
    trial = Trial(
        cell, corpora=corpora, checkpoints=checkpoints, timing=CheckpointTiming(interval=0)
    )
    observations = run_to_end(trial)
    assert observations[-1].full_bits_per_byte is not None
    assert "training continues" in caplog.text
    assert "is not stored" in caplog.text
    trial.close()


def test_the_trained_model_is_stored_before_the_last_report(
    corpora: Corpora, tmp_path: Path
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    last = run_to_end(trial)[-1]
    trial.close()
    restored = kept(tmp_path, cell).newest()
    assert restored.tokens == last.tokens
    again = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert run_to_end(again) == [last], "nothing is trained twice"


def test_the_last_checkpoint_is_that_after_the_last_evaluation(
    corpora: Corpora, tmp_path: Path
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(
        cell,
        corpora=corpora,
        checkpoints=kept(tmp_path, cell),
        timing=CheckpointTiming(interval=0),
    )
    run_to_end(trial)
    trial.close()
    again = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert len(run_to_end(again)) == 1


def test_a_rung_has_its_checkpoint(corpora: Corpora, tmp_path: Path) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(
        cell,
        corpora=corpora,
        checkpoints=kept(tmp_path, cell),
        timing=CheckpointTiming(interval=10_000, rungs=(1_000,)),
    )
    for _ in range(3):
        trial.advance()
    trial.close()
    assert kept(tmp_path, cell).newest().tokens == 1_024


def test_half_the_micro_batch_goes_on_from_the_same_checkpoint(
    corpora: Corpora,
    undisturbed: list[Observation],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cell = Cell.from_values(SMALL)
    trial = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell))
    trial.advance()
    trial.save()
    trial.close()
    halved = Trial(cell, corpora=corpora, checkpoints=kept(tmp_path, cell), micro_batch_size=1)
    assert halved.resumed_from == 512
    assert "micro_batch_size" in caplog.text
    scores = [point.bits_per_byte for point in run_to_end(halved)]
    expected = [point.bits_per_byte for point in undisturbed]
    assert scores == pytest.approx(expected, rel=1e-3), "the same global batch"


def kept(folder: Path, cell: Cell) -> Checkpoints:
    (folder / "c").mkdir(exist_ok=True)
    return Checkpoints(PathStore(folder / "c"), cell=cell.key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"width": 3}', "unknown setting 'width'"),
        ('{"seed": 1, "seed": 2}', "not valid JSON \\('seed' is given twice\\)"),
        ('{"learning_rate": NaN}', "learning_rate is nan"),
        ('{"learning_rate": "1e-3"}', "learning_rate is '1e-3'; it must be a number"),
    ],
)
def test_a_cell_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_cell(text)


def test_a_cell_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    for text in ('{"embedding_ratio": 0.25}', '\ufeff{"embedding_ratio": 0.25}'):
        path.write_text(text, "utf-8")
        assert read_cell(str(path)).model.embedding_ratio == 0.25


def test_a_cell_s_file_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file nofile\.json cannot be read \(No such file or dir"):
        read_cell("nofile.json")
    folder, other = tmp_path / "folder.json", tmp_path / "other.json"
    folder.mkdir()
    other.write_bytes(b'{"corpus": "\xff"}')
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        read_cell(str(folder))
    with pytest.raises(ValueError, match=r"is not UTF-8 \(byte 12\); save it as UTF-8"):
        read_cell(str(other))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_sizes_that_come_with_the_cell_are_trained(
    corpora: Corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell.from_values(SMALL)
    solved = SolvedModels.of(cell)
    other = replace(solved, model=replace(solved.model, d_ff=solved.model.d_ff + 8))

    def solver(spec: ModelSpec) -> ModelConfig:
        raise AssertionError("it was solved in the plan")

    monkeypatch.setattr("tune_app.plan.solved.solve", solver)
    trial = Trial(cell, solved=other, corpora=corpora, checkpoints=kept(tmp_path, cell))
    assert trial.config == other.model
    trial.advance()
    trial.save()
    trial.close()
    with pytest.raises(ValueError, match="d_ff"):
        Trial(cell, solved=solved, corpora=corpora, checkpoints=kept(tmp_path, cell))
    baseline = replace(other.baseline, d_model=other.baseline.d_model + 8)
    with pytest.raises(ValueError, match=r"another baseline \(d_model"):
        Trial(
            cell,
            solved=replace(other, baseline=baseline),
            corpora=corpora,
            checkpoints=kept(tmp_path, cell),
        )
