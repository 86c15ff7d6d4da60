"""What is found in a model is what its weights say; what is no model is refused with the reason."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from model.mup import Scales
from model.network.polyglu import PolyGLU
from model.network.transformer import Transformer
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.training import Training
from tests.model.training.test_training import CountingBatches
from tests.model.variants import with_variants
from tune_app.command_line import run_command
from tune_app.interpret.__main__ import MODULE, app
from tune_app.interpret.experts import expert_loads
from tune_app.interpret.findings import look_inside
from tune_app.interpret.picture import write_picture
from tune_app.interpret.routing import by_preference, on_text
from tune_app.interpret.spectra import spectrum
from tune_app.interpret.subject import Subject, published_weights
from tune_app.interpret.table import findings_table
from tune_app.trial.former_states import FORMAT
from tune_app.trial.trained import CheckpointError, load

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36,
    feed_forward="polyglu",
)  # fmt: skip
NOTHING: dict[str, Any] = {"title": "none", "tau": 1.0, "alphas_FK": {}, "embeddings_VD": {}}
SETTINGS = TrainingConfig(tokens=4 * 8 * 16, batch_size=8, compile="off")


def shown(findings: Any) -> str:
    screen = io.StringIO()
    Console(file=screen, width=100).print(findings_table(findings))
    return screen.getvalue()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model halfway through its training."""
    training = Training(CONFIG, SETTINGS, CountingBatches(), baseline=CONFIG)
    training.step()
    training.step()
    path = tmp_path_factory.mktemp("checkpoints") / "256-abc.pt"
    torch.save({"format": FORMAT, "training": training.state_dict()}, path)
    return path


def test_preferences_are_counted_by_layer() -> None:
    alpha_FK = torch.tensor([[5.0, 0, 0, 0], [0, 3, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]])
    found = by_preference(alpha_FK, tau=0.1)
    assert found.favourites == pytest.approx((5 / 16, 9 / 16, 1 / 16, 1 / 16))
    assert found.entropy == pytest.approx(math.log(4) / 4, abs=1e-6)
    assert by_preference(alpha_FK, tau=1e9).entropy == pytest.approx(math.log(4))


def test_on_a_text_the_gate_of_each_position_counts() -> None:
    torch.manual_seed(0)
    model = Transformer(CONFIG, scales=Scales.own(CONFIG)).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.feed_forward.alpha_FK)
        torch.nn.init.normal_(block.feed_forward.router[2].weight)
    model.set_progress(0.5)
    tokens_BT = torch.arange(2 * 16).view(2, 16)
    found = on_text(model, tokens_BT)
    context = model.context(16)
    hidden_BTD = model.embed(tokens_BT, context)
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            part = block.feed_forward
            assert isinstance(part, PolyGLU)
            read_BTD = block.attention(block.attention_norm(hidden_BTD), context)
            read_BTD = hidden_BTD + block.residual_scale * read_BTD
            states_BTK = part.states(block.feed_forward_norm(read_BTD))
            weights = ((part.alpha_FK + states_BTK[:, :, None]) / 0.55).softmax(-1).double()
            entropy = -(weights * weights.log()).sum(-1).mean().item()
            assert found[layer].entropy == pytest.approx(entropy, rel=1e-4)
            assert found[layer].weights == pytest.approx(weights.mean((0, 1, 2)).tolist(), rel=1e-4)
            hidden_BTD = block(hidden_BTD, context)


def test_a_spectrum_is_that_of_the_matrix() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(50, 6) * torch.tensor([9.0, 1, 1, 1, 1, 0])
    found = spectrum(matrix)
    assert found.values == pytest.approx(torch.linalg.svdvals(matrix).tolist(), rel=1e-4, abs=1e-4)
    assert found.ninety_percent == 1
    assert 1 < found.effective_rank < 5
    assert spectrum(torch.eye(7)).effective_rank == pytest.approx(7)
    with pytest.raises(ValueError, match="NaN or infinite"):
        spectrum(torch.full((3, 2), math.nan))
    with pytest.raises(ValueError, match="zero everywhere"):
        spectrum(torch.zeros(3, 2))


def test_a_checkpoint_is_shown_as_tables_and_as_a_picture(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "new/inside.png"
    with pytest.raises(SystemExit) as ended:
        run_command(app, MODULE, [str(checkpoint), "--to", str(picture)])
    assert ended.value.code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert "at a temperature of 0.55" in " ".join(told.split())
    assert "effective rank" in told and "embedding" in told and "lm_head" not in told


def test_the_load_of_experts_is_what_the_router_chooses(tmp_path: Path) -> None:
    config = with_variants(CONFIG, {"feed_forward": "moe"})
    torch.manual_seed(0)
    model = Transformer(config, scales=Scales.own(config)).eval()
    tokens_BT = torch.arange(2 * 16).view(2, 16)
    found = expert_loads(model, tokens_BT)
    output = model.loss(tokens_BT, tokens_BT)
    for layer, one in found.items():
        assert sum(one.loads) == pytest.approx(config.n_experts)
        reported = output.diagnostics[f"expert_load_of_layer/{layer}"].item()
        assert max(one.loads) == pytest.approx(reported, rel=1e-5)
        entropy = output.diagnostics[f"router_entropy_of_layer/{layer}"].item()
        assert one.entropy == pytest.approx(entropy, rel=1e-5)
    findings = replace(look_inside(Subject(**NOTHING)), experts=found, tokens=32)
    assert "busiest" in shown(findings)
    write_picture(findings, tmp_path / "experts.png")


def test_an_untied_head_has_a_spectrum_of_its_own(tmp_path: Path) -> None:
    config = replace(CONFIG, embedding="untied", feed_forward="swiglu")
    training = Training(config, SETTINGS, CountingBatches(), baseline=config)
    torch.save({"format": FORMAT, "training": training.state_dict()}, path := tmp_path / "a.pt")
    findings = look_inside(Subject.of_trained(load(path), title="a"))
    assert list(findings.spectra) == ["embedding", "lm_head"]
    assert "no PolyGLU and no experts in this model" in shown(findings)
    write_picture(findings, tmp_path / "a.png")


def test_the_papers_checkpoints_are_read_by_their_names(tmp_path: Path) -> None:
    weights = {
        f"model_core.{layer}.polyglu.alpha": torch.eye(4).repeat(3, 1).roll(layer, 1)
        for layer in (0, 1, 10, 2)
    }
    weights["embeddings.weight"] = torch.randn(40, 8)
    torch.save({"model_state_dict": weights, "step": 9, "tau": 0.25}, path := tmp_path / "p.pt")
    subject = published_weights(path)
    assert subject is not None
    findings = look_inside(subject)
    assert (list(findings.preferences), findings.tau) == ([0, 1, 2, 10], 0.25)
    assert findings.preferences[1].favourites == pytest.approx((0.25,) * 4)
    assert list(findings.spectra) == ["embedding"]
    with pytest.raises(ValueError, match="only be looked at, not run; leave out the text"):
        look_inside(subject, "a text")
    torch.save({"model_state_dict": weights, "tau": -1}, path)
    with pytest.raises(CheckpointError, match="the temperature -1"):
        published_weights(path)


@pytest.fixture
def files(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files of all sorts."""
    monkeypatch.chdir(tmp_path)
    whole = checkpoint.read_bytes()
    broken = {"cut.pt": whole[: len(whole) // 2], "text.pt": b"no checkpoint", "whole.pt": whole}
    for name, content in {**broken, "binary": b"\xff\xfe", "words": b"some words"}.items():
        Path(name).write_bytes(content)
    torch.save({"something": torch.ones(3)}, "other.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pt"], "there is no checkpoint 'nowhere.pt'; name a .pt file, or a sweep"),
        (["cut.pt"], "cut.pt is cut off, or no checkpoint of PyTorch"),
        (["text.pt"], "text.pt is cut off, or no checkpoint of PyTorch"),
        (["other.pt"], "holds no model of a cell"),
        (["no_such_sweep"], "there is no sweep 'no_such_sweep' in 'runs'"),
        (["whole.pt", "--cell", "a"], "--cell chooses a cell of a sweep"),
        (["whole.pt", "--to", "picture.pdf"], "is not a .png file"),
        (["whole.pt", "--text", "binary"], "binary is not UTF-8 text (byte 0)"),
        (["whole.pt", "--text", "nothing"], "nothing cannot be used: No such file"),
        (["whole.pt", "--text", "words"], "the tokenizer of this checkpoint was not found"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    arguments: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, MODULE, arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (files / "interpretation.png").exists()
