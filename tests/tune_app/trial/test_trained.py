"""A model loaded from its checkpoint is the trained one, or is refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec
from model.evaluation.bits_per_byte import evaluate
from model.mup import depth_mup
from model.network.transformer import Transformer
from model.spec import ModelConfig
from tests.tune_app.trial.running import run_to_end
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.former_states import FORMAT
from tune_app.trial.tokenizer_files import TokenizerError, keep_tokenizer
from tune_app.trial.trained import CheckpointError, load
from tune_app.trial.trial import Trial

CELL = Cell.from_values(
    {
        **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
        **{"tokens": 1_024, "batch_size": 4, "evaluations": 1, "evaluation_bytes": 4_096},
        # Neither as wide nor as deep as the baseline, so that no multiplier is 1.
        **{"embedding_ratio": 0.25, "glu_expansion": 2.0, "learning_rate": 1e-2},
        # Its output depends on how far training is.
        **{"feed_forward": "polyglu"},
    }
)


@pytest.fixture(scope="module")
def trial(small_corpus: Path, cache: Path) -> Trial:
    trial = Trial(CELL, corpora=lambda spec: prepare(str(small_corpus), spec, cache=cache))
    run_to_end(trial)
    return trial


@pytest.fixture
def sweep(trial: Trial, small_corpus: Path, cache: Path, tmp_path: Path) -> Path:
    """The folder of a sweep with one checkpoint and its tokenizer."""
    store = PathStore(tmp_path / "sweep/checkpoints")
    Checkpoints(store, cell=CELL.key).save(trial._state(), tokens=trial.tokens)
    corpus = prepare(str(small_corpus), CELL.tokenizer, cache=cache)
    keep_tokenizer(corpus, PathStore(tmp_path / "sweep"))
    return tmp_path / "sweep"


def checkpoint(sweep: Path) -> Path:
    (found,) = sweep.glob("checkpoints/*/*.pt")
    return found


def rewritten(sweep: Path, **changes: Any) -> Path:
    """The checkpoint with other entries; `training` is merged."""
    path = checkpoint(sweep)
    state = torch.load(path, weights_only=True)
    training = state["training"] | changes.pop("training", {})
    torch.save(state | {"training": training} | changes, path)
    path.with_suffix(".json").unlink()
    return path


def test_the_loaded_model_is_the_trained_one(trial: Trial, sweep: Path) -> None:
    trained, loaded = trial._training.model, load(checkpoint(sweep))
    tokens_BT = torch.arange(64).view(2, 32)
    with torch.no_grad():
        logits_BTV = loaded.model(tokens_BT)
        assert torch.equal(logits_BTV, trained.eval()(tokens_BT))
    assert logits_BTV.shape == (2, 32, 512)
    score = evaluate(loaded.model, trial._data.full).bits_per_byte
    assert loaded.observation is not None
    assert score == loaded.observation.full_bits_per_byte
    assert loaded.model.scales == trained.scales
    assert (loaded.tokens, Cell.from_values(loaded.cell)) == (trial.tokens, CELL)


def test_the_logits_of_a_text_follow_the_start_of_a_document(sweep: Path) -> None:
    loaded = load(checkpoint(sweep))
    tokens = loaded.tokenizer.encode("def main").ids
    with torch.no_grad():
        (expected_TV,) = loaded.model(torch.tensor([[loaded.end_of_text, *tokens]]))
    assert torch.equal(loaded.logits("def main"), expected_TV)
    assert loaded.logits("").shape == (1, 512)
    with pytest.raises(ValueError, match="at most 31 fit into the context of 32"):
        loaded.logits(100 * "def main")


def test_the_tokenizer_is_found_beside_it_and_by_its_path(sweep: Path, tmp_path: Path) -> None:
    loaded = load(checkpoint(sweep))
    text = "def main() -> int:\n"
    ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
    assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text
    assert loaded.tokenizer.token_to_id("<|endoftext|>") == loaded.end_of_text
    (file,) = sweep.glob("tokenizers/byte_level_bpe-512-*/tokenizer.json")
    elsewhere = shutil.copytree(checkpoint(sweep).parent, tmp_path / "alone/cell") / (
        checkpoint(sweep).name
    )
    with pytest.raises(TokenizerError, match=r"not found \(searched .*pass the path"):
        _ = load(elsewhere).tokenizer
    assert load(elsewhere, tokenizer=file).tokenizer.encode(text).ids == ids


def test_another_tokenizer_is_refused(sweep: Path) -> None:
    (file,) = sweep.glob("tokenizers/*/tokenizer.json")
    file.write_text(file.read_text().replace('"type": "BPE"', '"type":  "BPE"'))
    with pytest.raises(TokenizerError, match="is not the tokenizer that the model was trained"):
        load(checkpoint(sweep))


def test_loading_leaves_the_random_generators_alone(sweep: Path) -> None:
    before = torch.get_rng_state()
    load(checkpoint(sweep))
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_cannot_be_built_without_its_scales() -> None:
    config = ModelConfig(
        vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36
    )
    with pytest.raises(TypeError, match="scales"):
        Transformer(config)  # type: ignore[call-arg]


def test_a_state_without_scales_takes_them_from_its_baseline(trial: Trial, sweep: Path) -> None:
    state = torch.load(checkpoint(sweep), weights_only=True)
    training = {name: one for name, one in state["training"].items() if name != "scales"}
    old = {"training": training, "baseline": state["baseline"]}
    torch.save(old, checkpoint(sweep))
    checkpoint(sweep).with_suffix(".json").unlink()
    loaded = load(checkpoint(sweep))
    assert loaded.model.scales == depth_mup(trial.config, trial._baseline)
    assert (loaded.cell, loaded.observation) == ({}, None)
    with pytest.raises(TokenizerError, match="older than the record"):
        _ = loaded.tokenizer
    (file,) = sweep.glob("tokenizers/*/tokenizer.json")
    assert load(checkpoint(sweep), tokenizer=file).tokenizer.get_vocab_size() == 512
    smaller = json.loads(file.read_text())
    del smaller["model"]["vocab"]["".join(smaller["model"]["merges"].pop())]
    file.write_text(json.dumps(smaller))
    with pytest.raises(TokenizerError, match="has 511 tokens, but the model 512"):
        load(checkpoint(sweep), tokenizer=file)
    file.write_text("{}")
    with pytest.raises(TokenizerError, match=r"is not a tokenizer\.json"):
        load(checkpoint(sweep), tokenizer=file)
    del old["baseline"]
    torch.save(old, checkpoint(sweep))
    with pytest.raises(CheckpointError, match="neither its multipliers nor its baseline"):
        load(checkpoint(sweep))
    loaded = load(checkpoint(sweep), baseline=SolvedModels.of(CELL).baseline)
    assert loaded.model.scales == depth_mup(trial.config, trial._baseline)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code in a checkpoint was run",))


def damages() -> Iterator[Any]:
    yield pytest.param(
        lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged", id="cut"
    )
    yield pytest.param(lambda path: path.unlink(), "there is no checkpoint", id="missing")
    yield pytest.param(
        lambda path: path.with_suffix(".json").write_text("[]"),
        "no checkpoint of a cell",
        id="json",
    )


@pytest.mark.parametrize(("damage", "message"), list(damages()))
def test_a_damaged_checkpoint_is_refused(sweep: Path, damage: Any, message: str) -> None:
    path = checkpoint(sweep)
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04cut"])
def test_what_is_no_checkpoint_is_refused(sweep: Path, content: bytes) -> None:
    path = checkpoint(sweep).with_name("7-foreign.pt")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is cut off, or no checkpoint of PyTorch"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1}, "but this version of Stellux reads up to"),
        ({"training": {"model": {}}}, "has 0 weights, but its configuration"),
        ({"training": {"scales": {"logits": 1.0}}}, "no checkpoint of a cell: 'reference_sizes'"),
        ({"tokenizer": {"kind": "byte_level_bpe"}}, "no checkpoint of a cell"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(
    sweep: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(rewritten(sweep, **changes))


def test_weights_of_another_shape_are_refused(sweep: Path) -> None:
    weights = torch.load(checkpoint(sweep), weights_only=True)["training"]["model"]
    name = "embeddings.embedding"
    turned = weights | {name: weights[name].T.contiguous()}
    with pytest.raises(CheckpointError, match=rf"{name} of the checkpoint has the shape"):
        load(rewritten(sweep, training={"model": turned}))


def test_code_in_a_file_is_not_run(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(sweep).with_name("7-hostile.pt")
    torch.save({"training": Hostile()}, path)
    with pytest.raises(CheckpointError, match="cut off, or no checkpoint"):
        load(path)
    assert "was run" not in capsys.readouterr().out
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="holds no model of a cell"):
        load(path)
    with pytest.raises(CheckpointError, match=r"it ends in \.pt"):
        load(tmp_path)


def test_the_identity_of_a_tokenizer_names_its_corpus_file(sweep: Path) -> None:
    (file,) = sweep.glob("tokenizers/*/identity.json")
    identity = json.loads(file.read_text())
    assert (identity["kind"], identity["vocab_size"]) == ("byte_level_bpe", 512)
    assert isinstance(Tokenizer.from_file(str(file.with_name("tokenizer.json"))), Tokenizer)
    assert TokenizerSpec(kind=identity["kind"], vocab_size=512).key in str(file)
