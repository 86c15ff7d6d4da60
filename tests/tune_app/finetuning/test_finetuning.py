"""Fine-tuning learns answers alone, resumes bit for bit, and gives an export again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.chatml import Conversation, Turn
from data.conversations.packing import PackedConversations
from tests.tune_app.evaluation.test_exporting import known_numbers, numbers, run
from tests.tune_app.untrained import untrained
from tune_app import finetune, generate
from tune_app.evaluation.exporting import Exportable, write_export
from tune_app.evaluation.fields import schema
from tune_app.finetuning import card as cards
from tune_app.finetuning.settings import FineTuneSettings
from tune_app.finetuning.tuning import FineTuning
from tune_app.portable.format import WEIGHTS_FILE, ExportError
from tune_app.portable.loading import ExportedModel, load, load_moments
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints

CONTEXT = 160


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model whose feed-forward depends on how far training is."""
    target = tmp_path_factory.mktemp("exports") / "small"
    trained = untrained(context=CONTEXT, feed_forward="polyglu")
    trained.model.set_progress(0.75)
    write_export(trained, target, source={"sweep": "quick"}, documents={})
    return target


def talk(question: str, answer: str) -> Conversation:
    turns = (Turn(role="user", content=question), Turn(role="assistant", content=answer))
    return Conversation(name="line 1", turns=turns)


def packed(model: ExportedModel, *talks: Conversation, batch_size: int = 2) -> PackedConversations:
    return PackedConversations(
        talks or [talk(f"{number}?", f"{number} + {number}") for number in range(8)],
        model.tokenizer,
        end_of_text=model.end_of_text,
        context=CONTEXT,
        batch_size=batch_size,
    )


SETTINGS = FineTuneSettings(epochs=2, batch_size=2, evaluations=2, learning_rate=8e-3)


def test_prompt_tokens_carry_no_gradient(export: Path) -> None:
    model = load(export)
    tuning = FineTuning(model, SETTINGS, packed(model))
    network = tuning.training.model
    assert network.config.document_masking
    moved = tuning.training._batch()
    assert moved.mask_BT is not None
    heads = []
    output = network.output

    def kept(hidden_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features_BTE, weight_VE = output(hidden_BTD)
        features_BTE.retain_grad()
        heads.append(features_BTE)
        return features_BTE, weight_VE

    network.output = kept  # type: ignore[method-assign]
    loss = network.loss(moved.inputs_BT, moved.targets_BT, moved.mask_BT, dict(moved.extras))
    torch.autograd.backward(loss.cross_entropy)
    by_position_BT = heads[0].grad.abs().sum(-1)
    assert (by_position_BT[~moved.mask_BT] == 0).all()
    assert (by_position_BT[moved.mask_BT] > 0).all()


def test_another_conversation_in_the_sequence_changes_nothing(export: Path) -> None:
    model = load(export)
    ours, other = talk("Hi", "Hello"), talk("long?", "longer")
    alone, beside = packed(model, ours, batch_size=1), packed(model, ours, other, batch_size=1)
    assert beside.rows == 1
    tuning = FineTuning(model, SETTINGS, alone)

    def gradient(talks: PackedConversations, answer: str) -> torch.Tensor:
        """Of the embedding, for the loss on one answer."""
        (batch,) = talks
        ids = model.tokenizer.encode(f"{answer}<|im_end|>").ids
        network = tuning.training.model
        network.zero_grad()
        row, mask = torch.from_numpy(batch.targets_BT[0]), torch.zeros(1, CONTEXT, dtype=torch.bool)
        start = next(
            place for place in range(CONTEXT) if row[place : place + len(ids)].tolist() == ids
        )
        mask[0, start : start + len(ids)] = True
        extras = {name: torch.from_numpy(one) for name, one in batch.extras.items()}
        inputs = torch.from_numpy(batch.inputs_BT).contiguous()
        targets = torch.from_numpy(batch.targets_BT).contiguous()
        torch.autograd.backward(network.loss(inputs, targets, mask, extras).cross_entropy)
        found = next(one for name, one in network.named_parameters() if "embed" in name).grad
        assert found is not None
        return found.clone()

    # Conversations do not begin at the same place, so only rounding may differ.
    torch.testing.assert_close(gradient(alone, "Hello"), gradient(beside, "Hello"))


def test_it_resumes_bit_for_bit(export: Path, tmp_path: Path) -> None:
    model = load(export)

    def begun(where: Path) -> FineTuning:
        where.mkdir(exist_ok=True)
        return FineTuning(
            model,
            SETTINGS,
            packed(model),
            checkpoints=Checkpoints(PathStore(where), cell="a"),
            timing=CheckpointTiming(interval=0.0),
        )

    whole = begun(tmp_path / "whole")
    while not whole.finished:
        whole.advance()
    first = begun(tmp_path / "cut")
    assert first.advance(at_most=0.0) is None and not first.finished
    second = begun(tmp_path / "cut")
    assert second.resumed_from == 1
    while not second.finished:
        second.advance(at_most=0.0)
    assert second.reports == whole.reports and len(whole.reports) == 2
    for name, one in whole.training.model.state_dict().items():
        assert torch.equal(one, second.training.model.state_dict()[name]), name
    # The routing is as sharp as it was when the training ended.
    assert whole.training.model.progress.item() == 0.75
    # The schedule is its own: it begins and ends low.
    rates = [one.learning_rate for one in whole.reports]
    assert rates[-1] < SETTINGS.learning_rate / 2


def test_the_optimiser_may_go_on(export: Path, tmp_path: Path) -> None:
    model = load(export)
    first = FineTuning(model, SETTINGS, packed(model))
    first.advance()
    target = tmp_path / "warm"
    write_export(
        Exportable(
            model=first.training.model.eval(),
            tokenizer=model.tokenizer,
            tokenizer_values=model.export.tokenizer,
            end_of_text=model.end_of_text,
            parametrization="complete_p",
            moments=first.moments(),
        ),
        target,
        source={},
        documents={},
    )
    warm = FineTuning(load(target), SETTINGS, packed(model), moments=load_moments(target))
    for name, state in first.moments().items():
        assert all(torch.equal(one, warm.moments()[name][key]) for key, one in state.items())
    warm.advance()
    with pytest.raises(ExportError, match="no state of the optimiser; write the export with"):
        load_moments(export)
    with pytest.raises(ValueError, match="name the optimiser that it is from"):
        FineTuning(
            model, replace(SETTINGS, optimizer="muon"), packed(model), moments=first.moments()
        )


def test_the_command_line_writes_an_export_that_answers(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "talks.jsonl"
    rows = [
        [{"role": "user", "content": ask}, {"role": "assistant", "content": "the film is a film"}]
        for ask in ("Hi", "What?", "Who?", "the film")
    ]
    data.write_text("".join(json.dumps({"messages": one}) + "\n" for one in rows))
    common = ["--checkpoints", str(tmp_path / "store"), "--device", "cpu"]
    target = tmp_path / "tuned"
    options = {"--data": str(data), "--to": str(target), "--epochs": "40", "--batch-size": "2"}
    options |= {"--learning-rate": "2e-2", "--evaluations": "2"}

    def called(where: Path, options: dict[str, str], *more: str) -> int:
        given = [text for option in options.items() for text in option]
        return run(finetune, str(where), *given, *common, *more)

    assert called(export, options) == 0
    told = capsys.readouterr().out
    assert "4 conversations in 2 sequences of 160 tokens" in told
    values = json.loads((target / "finetuning.json").read_text())
    assert values["reports"][-1]["answer_loss"] < 0.1
    assert values["from"] == {"export": "small", "sweep": "quick"}
    assert values["progress"] == load(target).model.progress.item() == 0.75
    card = (target / "MODEL_CARD.md").read_text()
    assert f"{values['reports'][-1]['bits_per_byte']:.4f}" in card and "None" not in card
    metrics = json.loads((target / "metrics.json").read_text())
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    assert list(validator.iter_errors(metrics)) == []
    # Every number of the card is in the metrics.
    template = Path(cards.__file__).with_name("finetuned_card.md.jinja").read_text()
    fixed = numbers(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template))
    assert numbers(card) - known_numbers(metrics) - fixed == set()
    assert len(numbers(card) - fixed) > 10
    assert run(generate, str(target), "--chat", "What?", "--temperature", "0") == 0
    assert capsys.readouterr().out.strip() == "the film is a film"

    assert called(export, options) == 2
    assert "exists already" in capsys.readouterr().err.replace("\n", " ")
    options["--to"] = str(tmp_path / "other")
    for changed, message in (
        ({"--data": "none.jsonl"}, "none.jsonl cannot be read"),
        ({"--learning-rate": "0"}, "learning_rate is 0.0; it must be positive"),
        ({"--epochs": "-1"}, "epochs is -1.0"),
    ):
        assert called(export, options | changed) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
    assert called(export, options, "--keep-optimizer") == 2
    assert "has no state of the optimiser" in capsys.readouterr().err.replace("\n", " ")
    cut = tmp_path / "half"
    cut.mkdir()
    for file in export.iterdir():
        content = file.read_bytes()
        (cut / file.name).write_bytes(
            content[: len(content) // 2] if file.name == WEIGHTS_FILE else content
        )
    assert called(cut, options) == 2
    assert "model.safetensors is cut off" in capsys.readouterr().err.replace("\n", " ")
