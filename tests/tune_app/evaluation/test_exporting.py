"""An export appears whole and checked, with a card whose numbers are those of its metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.tune_app.journals import make_journal
from tests.tune_app.untrained import untrained
from tune_app import export, generate
from tune_app.command_line import run_command
from tune_app.evaluation import model_card as cards
from tune_app.evaluation.choice import ChosenCell
from tune_app.evaluation.exporting import write_export
from tune_app.evaluation.fields import FIELDS, schema
from tune_app.portable.format import ExportError
from tune_app.portable.loading import load
from tune_app.trial.trained import TrainedModel


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return untrained()


def test_what_differs_when_loaded_again_does_not_appear(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "exports/one"
    scales = trained.model.scales
    other = replace(scales, residual=2 * scales.residual)
    with monkeypatch.context() as patched, pytest.raises(ExportError, match="logits differ"):
        # The multipliers that are written are not those that the model has.
        patched.setattr(trained.model, "scales", other)
        write_export(trained, target, source={}, documents={})
    assert list(target.parent.iterdir()) == []
    write_export(trained, target, source={}, documents={})
    with pytest.raises(ExportError, match="exists already; remove it, or name another"):
        write_export(trained, target, source={}, documents={})


def run(command: ModuleType, *arguments: str) -> int:
    """The exit code of a command line."""
    try:
        return run_command(command.app, command.MODULE, arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def runs(tmp_path: Path, trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results with one sweep, whose cells are all the same untrained model."""
    with make_journal(tmp_path / "runs/quick/journal.sqlite3") as journal:
        for cell in journal.cells():
            journal.keep(cell.key, f"checkpoints/{cell.key}/1-0.pt")
    monkeypatch.setattr(ChosenCell, "load", lambda *_, **__: trained)
    return tmp_path / "runs"


def numbers(text: str) -> set[str]:
    """The numbers in a text, without commas and signs."""
    return set(re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", text.replace(",", "")))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def known_numbers(metrics: object) -> set[str]:
    """The numbers that metrics have, in all forms that a card gives them."""
    known: set[str] = set()
    for leaf in leaves(metrics):
        if isinstance(leaf, str):
            known |= numbers(leaf)
        elif leaf is not None:
            forms = [form(leaf) for name, form in cards.FILTERS.items() if name != "told"]
            known |= numbers(" ".join([*forms, str(leaf)]))
    return known


def test_every_number_of_the_card_is_in_the_metrics(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "exports/leader"
    assert run(export, "quick", "--to", str(target), "--results", str(runs)) == 0
    assert f"to {target}" in capsys.readouterr().out.replace("\n", "")
    metrics = json.loads((target / "metrics.json").read_text())
    known = known_numbers(metrics)
    template = Path(cards.__file__).with_name("model_card.md.jinja").read_text()
    fixed = numbers(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template))
    card = (target / "MODEL_CARD.md").read_text()
    assert numbers(card.replace(target.name, "")) - known - fixed == set()
    assert f"{metrics['quality']['dev_bits_per_byte']:.4f}" in card
    assert all(text in card for text in ("## Limits", "## Licence", "@software", "quick"))
    assert card == (target / "MODEL_CARD.md").read_text()
    assert load(target).generate("the", max_tokens=2)


def test_the_metrics_fit_their_schema(runs: Path) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    from tune_app.evaluation.cell_metrics import cell_metrics
    from tune_app.evaluation.choice import choose_cell

    results = choose_cell("quick", results=runs).results
    for cell in results.cells:  # finished, stopped, diverged, failed and infeasible ones
        metrics = cell_metrics(results, cell)
        assert list(validator.iter_errors(metrics)) == []
        card = cards.model_card(metrics, name="a", folder="b", prompt="c")
        assert "None" not in card and "nan" not in card
    assert sum(map(len, FIELDS.values())) > 40
    assert all(
        field.unit or field.type != "number" or name.startswith(("learning", "weight"))
        for group in FIELDS.values()
        for name, field in group.items()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quikc"], "there is no sweep 'quikc'"),
        (["quick", "--cell", "35% x 4"], "has no cell '35% x 4'"),
    ],
)
def test_mistakes_are_told(
    runs: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (export, generate):
        assert run(command, *arguments, "--results", str(runs)) == 2
        assert message in capsys.readouterr().err.replace("\n", "")


def test_a_text_is_continued_from_a_sweep_and_from_an_export(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: TrainedModel
) -> None:
    write_export(trained, tmp_path / "one", source={}, documents={})
    texts = []
    threads = torch.get_num_threads()
    for name in ("quick", str(tmp_path / "one")):
        for more in ([], ["--stream"]):
            given = [name, "--prompt", "the film", "--max-tokens", "9", *more]
            given += ["--threads", str(threads), "--results", str(runs)]
            assert run(generate, *given) == 0
            texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1 and len(texts[0]) > 9
    assert run(generate, str(tmp_path / "one"), "--cell", "a") == 2
    assert "is one model, not a sweep" in capsys.readouterr().err
    (tmp_path / "one/config.json").unlink()
    assert run(generate, str(tmp_path / "one")) == 2
    assert "is no export" in capsys.readouterr().err
