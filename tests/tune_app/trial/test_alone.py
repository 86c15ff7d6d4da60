"""One cell trained by a command: what it keeps, and that the same command goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from tune_app.trial.alone import train_alone
from tune_app.trial.trained import load


@pytest.fixture
def cell(
    small_corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield json.dumps(
        {
            **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
            **{"tokens": 1_536, "batch_size": 4, "evaluations": 3, "evaluation_bytes": 2_048},
            "corpus": str(small_corpus),
        }
    )
    torch.set_num_threads(threads)


def asked_after(looks: int) -> Callable[[], AbstractContextManager[Callable[[], bool]]]:
    """Asks to end from so many looks on."""

    @contextmanager
    def asked_to_end() -> Iterator[Callable[[], bool]]:
        seen = iter(range(looks))
        yield lambda: next(seen, None) is None

    return asked_to_end


def rows(output: str) -> list[str]:
    """The evaluations in an output, without their speed."""
    return [
        line.rsplit(maxsplit=1)[0]
        for line in output.splitlines()
        if line.endswith(tuple("0123456789")) and line.startswith("     ")
    ]


def test_what_it_trained_is_kept_and_not_trained_again(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_alone(cell, device="cpu") == 0
    assert torch.get_num_threads() == 1
    first = capsys.readouterr().out
    (line,) = [line for line in first.splitlines() if line.startswith("The trained model is in")]
    place = Path(line.removeprefix("The trained model is in "))
    assert place.parts[:2] == ("runs", "trials")
    trained = load(place)
    assert trained.tokens == 1_536 and trained.tokenizer.get_vocab_size() == 512
    assert train_alone(cell, device="cpu") == 0
    again = capsys.readouterr().out
    assert "This cell is trained already" in again and line in again
    assert rows(again) == rows(first)[-1:]


def test_asked_to_end_it_saves_and_the_same_command_goes_on(
    cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train_alone(cell, checkpoints="undisturbed", device="cpu")
    undisturbed = rows(capsys.readouterr().out)
    with pytest.raises(KeyboardInterrupt):
        train_alone(cell, device="cpu", asked_to_end=asked_after(0))
    before = capsys.readouterr().out
    train_alone(cell, device="cpu")
    after = capsys.readouterr().out
    assert "resumed at 512 tokens" in after
    assert rows(before) == undisturbed[:1]
    assert rows(after) == undisturbed, "the last report comes again"


def test_another_text_is_not_trained_on_with_the_old_ones_model(
    cell: str, small_corpus: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in small_corpus.iterdir():
        (corpus / path.name).write_bytes(path.read_bytes())
    cell = json.dumps(json.loads(cell) | {"corpus": str(corpus), "tokens": 128, "evaluations": 1})
    train_alone(cell, device="cpu")
    with (corpus / "train.jsonl").open("a") as file:
        file.write(json.dumps({"text": "one more line"}) + "\n")
    with pytest.raises(ValueError, match="has changed since the checkpoint was taken"):
        train_alone(cell, device="cpu")
