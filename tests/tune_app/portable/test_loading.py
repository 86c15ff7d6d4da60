"""An export loads as the model that was trained, with little installed, or says what is wrong."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_imports import MODULES
from tests.tune_app.untrained import untrained
from tune_app.evaluation.exporting import write_export
from tune_app.portable.format import ExportError
from tune_app.portable.loading import load
from tune_app.trial.trained import TrainedModel

TOKENS_BT = torch.arange(24)[None]


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    found = untrained(embedding="untied", feed_forward="polyglu", d_model=32, n_layers=3)
    found.model.set_progress(0.7)  # its temperature is part of the model
    return found


@pytest.fixture(scope="module")
def exported(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exports") / "one"
    write_export(trained, target, source={"sweep": "quick"}, documents={"MODEL_CARD.md": "# é\n"})
    return target


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(TOKENS_BT)
    return found


def test_the_logits_of_a_cell_unlike_the_baseline_are_kept(
    trained: TrainedModel, exported: Path
) -> None:
    scales = trained.model.scales
    assert 1 not in (scales.residual, scales.logits, scales.attention_logits)
    before = torch.random.get_rng_state()
    loaded = load(exported)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(logits(loaded.model), logits(trained.model), atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.logits("the film"), trained.logits("the film"))
    assert loaded.export.parametrization == "complete_p"
    assert {path.name for path in exported.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md")
    }
    assert list(exported.parent.iterdir()) == [exported]


def test_a_text_is_continued(exported: Path) -> None:
    loaded = load(exported)
    text = loaded.generate("the film", max_tokens=12, seed=1)
    assert text == loaded.generate("the film", max_tokens=12, seed=1)
    assert text != loaded.generate("the film", max_tokens=12, seed=2)
    with pytest.raises(ValueError, match="max_tokens is 0"):
        loaded.generate("", max_tokens=0)
    with pytest.raises(ValueError, match="half a character at position 1"):
        loaded.generate("a\udce9")
    with pytest.raises(ValueError, match="at most 31 fit into the context of 32"):
        loaded.logits("東" * 32)


ELSEWHERE = (
    *("ray", "optuna", "pandas", "numpy", "pyarrow", "scipy", "matplotlib", "datasets"),
    *("rich", "cyclopts", "jinja2", "filelock", "yaml", "httpx", "psutil", "asyncssh"),
)


@pytest.fixture
def little_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing but torch, safetensors and tokenizers can be imported, and none of ours was yet."""
    ours = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in ours:
        del sys.modules[name]
    for name in ELSEWHERE:
        monkeypatch.setitem(sys.modules, name, None)
    yield
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    sys.modules.update(ours)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in ("data", "model", "tune_app")


@pytest.mark.usefixtures("little_installed")
def test_it_loads_where_little_is_installed(exported: Path, trained: TrainedModel) -> None:
    with pytest.raises(ImportError):
        importlib.import_module("tune_app.journal.journal")
    loading = importlib.import_module("tune_app.portable.loading")
    assert loading.load is not load
    loaded = loading.load(str(exported))
    torch.testing.assert_close(logits(loaded.model), logits(trained.model), atol=1e-5, rtol=0)
    assert loaded.generate("the film", max_tokens=3)


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("model.safetensors"), r"model\.safetensors is cut off: it has [\d,]+ of [\d,]+ bytes"),
        (cut("config.json"), "config.json is damaged"),
        (cut("tokenizer.json"), "tokenizer.json is cut off"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the export is not complete"),
        (lambda folder: (folder / "config.json").unlink(), "is no export: name a folder"),
        (shutil.rmtree, "there is no folder"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}" + " " * 99_999),
            "is not the tokenizer that the model was trained with",
        ),
        (edited("config.json", lambda _: {}), "does not describe an export of Stellux"),
        (edited("config.json", lambda _: [1]), "does not describe an export of Stellux"),
        (edited("config.json", lambda one: one | {"format": 9}), "has format 9, but this version"),
        (
            edited("config.json", lambda one: one | {"model": one["model"] | {"moon": 1}}),
            "describes no model that this version of Stellux knows",
        ),
        (
            edited("config.json", lambda one: one | {"model": one["model"] | {"d_ff": 8}}),
            r"the weight blocks.0.feed_forward.alpha_FK is \(\d+, 4\)",
        ),
        (
            edited("config.json", lambda one: one | {"model": one["model"] | {"d_ff": 1 << 40}}),
            "weights, but its configuration",
        ),
        (
            edited("config.json", lambda one: one | {"model": one["model"] | {"context": 1 << 30}}),
            "has a context of 1,073,741,824 tokens",
        ),
        (
            edited("config.json", lambda one: one | {"scales": one["scales"] | {"logits": 0}}),
            "the multiplier logits is 0",
        ),
        (edited("config.json", lambda one: one | {"progress": "x"}), "progress is 'x'; it must be"),
        (edited("config.json", lambda one: one | {"files": {}}), "does not name model.safetensors"),
        (edited("config.json", lambda one: one | {"end_of_text": 999}), "999 for end-of-text"),
        (edited("config.json", lambda one: one | {"end_of_text": True}), "end_of_text is True; it"),
        (edited("config.json", lambda one: one | {"tokenizer": {}}), "is of the kind None; expect"),
        (edited("config.json", lambda one: one | {"source": [1]}), "source is .1.; it must be of"),
        (
            edited(
                "config.json",
                lambda one: (
                    one
                    | {"files": {name: file | {"size": "9"} for name, file in one["files"].items()}}
                ),
            ),
            "a file has the size '9' and the SHA-256",
        ),
        (lambda folder: (folder / "config.json").write_text("[" * 99_999), "json is damaged"),
        (
            lambda folder: (
                (folder / "model.safetensors").unlink(),
                (folder / "model.safetensors").symlink_to("/dev/zero"),
            ),
            "model.safetensors is not a file",
        ),
    ],
)
def test_what_is_damaged_is_refused(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    with pytest.raises(ExportError, match=message):
        load(copy)


def test_nothing_is_unpickled(copy: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, copy / "model.safetensors")
    edited("config.json", lambda one: one | {"files": _records(copy)})(copy)
    with pytest.raises(ExportError, match="holds no weights"):
        load(copy)
    ours = [path for name, path in MODULES.items() if name.startswith("tune_app.portable")]
    assert not any(
        re.search(r"pickle|(?<!safetensors\.)torch\.load\(", path.read_text()) for path in ours
    )


def _records(folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from tune_app.portable.format import FileRecord

    names = ("model.safetensors", "tokenizer.json")
    return {name: asdict(FileRecord.of((folder / name).read_bytes())) for name in names}
