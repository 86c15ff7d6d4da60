"""Code that torch.compile made is used again: by the next model, and by another process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from data.batches import RandomBatches
from model.network.documents import DOCUMENTS
from model.spec import ModelConfig
from model.training.compiled_code import install
from model.training.compiler import Compiler, by_block
from model.training.settings import TrainingConfig
from model.training.training import Training
from tests.model.variants import EVERY, with_variants

CONFIG = ModelConfig(
    vocab_size=64, d_model=16, n_layers=3, n_heads=2, head_dim=8, d_ff=24, context=16
)
SETTINGS = TrainingConfig(tokens=10_000, batch_size=4, compile="on", precision="fp32")


def start(
    compiler: Compiler | None = None, *, config: ModelConfig = CONFIG, **settings: Any
) -> Training:
    batches = RandomBatches(vocab_size=config.vocab_size, context=config.context, batch_size=4)
    return Training(
        config, replace(SETTINGS, **settings), batches, baseline=config, compiler=compiler
    )


class Kept:
    """A store of code in memory."""

    def __init__(self) -> None:
        self.code: bytes | None = None
        self.spoilt_because: list[str] = []

    def find(self, shape: Mapping[str, Any], *, device: str) -> bytes | None:
        return self.code

    def keep(self, shape: Mapping[str, Any], code: bytes, *, device: str) -> None:
        self.code = code

    def spoilt(self, shape: Mapping[str, Any], reason: str, *, device: str) -> None:
        self.spoilt_because.append(reason)


@pytest.fixture
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Inductor's folder, empty."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "first"))
    return tmp_path


def move_on(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As another process would begin, with an empty folder."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured as for the real compiler, and run as they are."""
    compile_ = torch.compile

    def eager(function: Any, **options: Any) -> Any:
        return compile_(function, **options, backend="eager")

    monkeypatch.setattr("model.training.compiler.torch.compile", eager)


@pytest.mark.parametrize("names", EVERY)
def test_every_variant_whose_layers_are_alike_is_captured_once(
    captured: None, names: dict[str, str]
) -> None:
    # Two are enough to be alike; where a whole model is one graph, each takes its time.
    config = with_variants(replace(CONFIG, n_layers=2), names)
    training = start(config=config)
    counters.clear()
    losses = [training.step().loss for _ in range(2)]
    assert counters["stats"]["unique_graphs"] == 1
    eager = start(config=config, compile="off")
    assert losses == [pytest.approx(eager.step().loss, rel=1e-5) for _ in range(2)]


def test_layers_that_differ_are_compiled_as_a_whole() -> None:
    assert by_block(CONFIG, device="cpu")
    assert not by_block(CONFIG, device="cuda"), "nobody measured it there"
    assert not by_block(replace(CONFIG, dropout=0.1), device="cpu")
    assert not by_block(replace(CONFIG, document_masking=True), device="cpu"), DOCUMENTS
    assert not by_block(with_variants(CONFIG, {"feed_forward": "moe"}), device="cpu")
    assert not by_block(with_variants(CONFIG, {"feed_forward": "polyglu"}), device="cpu")


def test_evaluation_runs_the_blocks_uncompiled(captured: None) -> None:
    training = start()
    training.step()
    counters.clear()
    training.model(torch.zeros(1, 5, dtype=torch.long))
    assert not counters["frames"]


def test_a_second_seed_of_a_shape_is_not_compiled_again(captured: None) -> None:
    compiler = Compiler()
    start(compiler).step()
    counters.clear()
    second = start(compiler, seed=1)
    loss = second.step().loss
    assert not counters["stats"], "nothing was captured"
    assert loss == start(Compiler(), seed=1).step().loss


def test_another_shape_is_compiled_however_many_there_were(captured: None) -> None:
    compiler = Compiler()
    for d_ff in range(8, 8 * 11, 8):  # torch.compile gives up after eight versions
        start(compiler, config=replace(CONFIG, n_layers=1, d_ff=d_ff)).step()


@pytest.mark.slow
def test_another_process_takes_the_code_and_trains_the_same(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a whole, on one layer: with our loss in the graph, without which torch caches anyway.
    monkeypatch.setattr("model.training.compiler.by_block", lambda config, device: False)
    config = replace(CONFIG, n_layers=1)
    kept = Kept()
    first = start(Compiler(kept), config=config)
    losses = [first.step().loss for _ in range(2)]
    assert counters["aot_autograd"]["autograd_cache_miss"] == 1
    assert counters["aot_autograd"]["autograd_cache_bypass"] == 0
    assert kept.code is not None
    libraries = {path.name for path in (empty_folder / "first").glob("??/*.so")}

    move_on(monkeypatch, empty_folder / "second")
    second = start(Compiler(kept), config=config)
    assert [second.step().loss for _ in range(2)] == losses
    assert counters["aot_autograd"]["autograd_cache_hit"] == 1
    assert counters["aot_autograd"]["autograd_cache_miss"] == 0
    assert {path.name for path in (empty_folder / "second").glob("??/*.so")} == libraries
    assert kept.spoilt_because == []


def zipped(**contents: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in contents.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"", "not a zip file"),
        (zipped(artifacts=b"1")[:-30], "not a zip file"),
        (zipped(artifacts=b"12345").replace(b"12345", b"12354", 1), "Bad CRC"),
        (zipped(artifacts=b"12345"), "torch does not read its artifacts"),
        (zipped(), "no artifacts"),
        (zipped(artifacts=b"", **{"../../evil.so": b"x"}), "unknown part"),
    ],
)
def test_damaged_code_is_said_and_does_not_keep_a_cell_from_training(
    captured: None, empty_folder: Path, code: bytes, reason: str
) -> None:
    with pytest.raises((ValueError, zipfile.BadZipFile), match=reason):
        install(code)
    kept = Kept()
    kept.code = code
    start(Compiler(kept)).step()
    assert reason in kept.spoilt_because[0]


def test_code_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.compiled_code.MOST_BYTES", 3)
    with pytest.raises(ValueError, match="at most 3"):
        install(zipped(artifacts=b"1234"))
