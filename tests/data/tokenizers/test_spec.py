"""Which tokenizer is meant: identity by kind, size and options, and by content for files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from data.errors import CorpusError
from data.tokenizers.spec import TokenizerSpec
from tests.loaded import loaded_by


def test_the_key_is_readable_and_the_same_everywhere() -> None:
    assert TokenizerSpec(vocab_size=4_096).key == "byte_level_bpe-4096"
    key = TokenizerSpec(vocab_size=4_096, options={"b": [1, 2], "a": "x"}).key
    assert key == TokenizerSpec(vocab_size=4_096, options={"a": "x", "b": (1, 2)}).key
    assert key == "byte_level_bpe-4096-5125d018"


def test_specs_are_equal_by_what_decides_the_tokens() -> None:
    plain, other = TokenizerSpec(vocab_size=300), TokenizerSpec(vocab_size=301)
    assert plain == TokenizerSpec(vocab_size=300) != other
    assert plain != TokenizerSpec(vocab_size=300, options={"dropout": 0.1})
    assert len({plain, TokenizerSpec(vocab_size=300), other}) == 2
    assert pickle.loads(pickle.dumps(plain)) == plain


def test_options_cannot_be_changed_from_outside() -> None:
    options = {"levels": [1, 2]}
    spec = TokenizerSpec(vocab_size=300, options=options)
    before = spec.key
    options["levels"].append(3)
    assert spec.key == before


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a.json", "{}"), ("b.json", "{}"), ("c.json", "[]")):
        (tmp_path / name).write_text(content)
    one, moved, other = (
        TokenizerSpec(vocab_size=300, options={"file": str(tmp_path / name)}).resolved()
        for name in ("a.json", "b.json", "c.json")
    )
    assert one == moved != other
    assert one.key == moved.key != other.key
    (tmp_path / "a.json").unlink()
    assert one.resolved() == moved
    with pytest.raises(CorpusError, match=r"a\.json cannot be read"):
        TokenizerSpec(vocab_size=300, options={"file": str(tmp_path / "a.json")}).resolved()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "wordpiece"}, "unknown tokenizer 'wordpiece'; expected one of byte_level_bpe"),
        ({"kind": "super_bpe"}, "unknown tokenizer 'super_bpe'; did you mean superbpe?"),
        ({"kind": 3}, "unknown tokenizer 3; expected"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"options": ["a"]}, "must map names to values"),
        ({"options": {1: "a"}}, "must map names to values"),
        ({"options": {"a": {1, 2}}}, "its values must be"),
        ({"options": {"a": float("nan")}}, "its values must be"),
        ({"options": {"file": 7}}, "must be a path"),
    ],
)
def test_impossible_specs(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        TokenizerSpec(**values)


def test_it_loads_no_tokenizer() -> None:
    program = "import data.tokenizers.spec as spec; spec.TokenizerSpec().key"
    assert loaded_by(program, "tokenizers", "torch", "numpy") == []
