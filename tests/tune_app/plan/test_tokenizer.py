"""A cell's tokenizer among its values, and in its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.cell import Cell
from tune_app.plan.tokenizer import tokenizer_of

SAVED = '{"model": {"vocab": {"a": 0, "b": 511}}, "added_tokens": [{"id": 599}]}'
"""As much of a tokenizer's file as a cell reads."""


def test_the_default_changes_no_key() -> None:
    plain = Cell.from_values({"vocab_size": 4_096})
    said = Cell.from_values(
        {"vocab_size": 4_096, "tokenizer": "byte_level_bpe", "tokenizer_options": {}}
    )
    assert plain == said
    assert plain.key == said.key
    assert plain.tokenizer == plain.baseline_tokenizer == TokenizerSpec(vocab_size=4_096)


def test_records_older_than_the_setting_mean_the_default() -> None:
    assert tokenizer_of({"vocab_size": 512}) == TokenizerSpec(vocab_size=512)


def test_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(SAVED)
    options = {"file": str(path)}
    cell = Cell.from_values({"tokenizer": "imported", "tokenizer_options": options})
    path.unlink()  # on another machine, say
    assert Cell.from_values(cell.values()) == cell
    assert tokenizer_of(cell.values()) == cell.tokenizer == cell.baseline_tokenizer
    assert tokenizer_of(cell.values()["baseline"]) == cell.baseline_tokenizer


def test_a_key_has_the_content_of_a_file_and_not_its_place(tmp_path: Path) -> None:
    keys = []
    for name, content in (("a.json", SAVED), ("b.json", SAVED), ("c.json", SAVED + "\n")):
        (tmp_path / name).write_text(content)
        options = {"file": str(tmp_path / name)}
        keys.append(Cell.from_values({"tokenizer": "imported", "tokenizer_options": options}).key)
    assert keys[0] == keys[1] != keys[2]


def test_the_baseline_may_have_another_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(SAVED)
    imported = {"tokenizer": "imported", "tokenizer_options": {"file": str(tmp_path / "a.json")}}
    cell = Cell.from_values({**imported, "baseline": {"tokenizer": "byte_level_bpe"}})
    assert cell.tokenizer.kind == "imported"
    assert cell.baseline_tokenizer == TokenizerSpec(vocab_size=cell.model.vocab_size)
    assert cell.key != Cell.from_values(imported).key


def test_an_impossible_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tokenizer 'words'; expected one of"):
        Cell.from_values({"tokenizer": "words"})
    with pytest.raises(ValueError, match="tokenizer_options is 3"):
        Cell.from_values({"tokenizer_options": 3})


def test_the_vocabulary_is_as_large_as_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(SAVED)
    imported = {"tokenizer": "imported", "tokenizer_options": {"file": str(tmp_path / "a.json")}}
    assert Cell.from_values(imported).model.vocab_size == 600
    assert Cell.from_values({**imported, "vocab_size": None}).model.vocab_size == 600
    with pytest.raises(ValueError, match="vocab_size is None"):
        Cell.from_values({"vocab_size": None})
    assert Cell.from_values({**imported, "vocab_size": 700}).model.vocab_size == 700
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json is not a tokenizer\.json \(no 'model'\)"):
        Cell.from_values(imported)
