"""What a name or a path means, and what is read there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.corpus import find_corpus
from data.errors import CorpusError
from data.sources.hub import HubDataset, HubName, parse_hub_name
from data.sources.standard_library import StandardLibrary


def refusal(corpus: str | Path) -> str:
    """The error of a corpus that is found and read to its end; always one line."""
    with pytest.raises(CorpusError) as caught:
        source = find_corpus(str(corpus))
        source.content_hash()
        list(source.documents())
    message = str(caught.value)
    assert "\n" not in message
    return message


def texts(corpus: str | Path) -> list[str]:
    return [(document.text or b"").decode() for document in find_corpus(str(corpus)).documents()]


class TestNames:
    def test_an_unknown_name_is_answered_with_near_ones(self) -> None:
        message = refusal("wikitxt-2")
        assert "'wikitxt-2'" in message
        assert "did you mean wikitext-2" in message
        assert "stdlib" in message

    def test_a_known_name_wins_over_a_folder_of_that_name(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "wikitext-2").mkdir()
        assert isinstance(find_corpus("wikitext-2"), HubDataset)
        assert "'train'" in refusal("./wikitext-2")

    def test_a_tilde_is_the_home_folder(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "a.txt").write_text("text")
        assert texts("~/a.txt") == ["text"]

    def test_hub_names(self) -> None:
        assert parse_hub_name("a/b") == HubName(repository="a/b")
        assert parse_hub_name("a/b:c") == HubName(repository="a/b", configuration="c")
        assert parse_hub_name("a/b::f") == HubName(repository="a/b", field="f")
        assert parse_hub_name("a/b:c:f") == HubName(repository="a/b", configuration="c", field="f")

    @pytest.mark.parametrize("name", ["", "a", "a/", "/b", "a/b/c", "a/b:c:f:g"])
    def test_what_is_no_hub_name(self, name) -> None:
        assert "hf:owner/name" in refusal(f"hf:{name}")


class TestStandardLibrary:
    def test_it_holds_sources_and_no_tests_or_tables(self) -> None:
        library = StandardLibrary()
        paths = [path for path, _ in library._files()]
        assert "json/decoder.py" in paths
        assert len(paths) == len(set(paths))
        left_out = ("test", "tests", "encodings", "idlelib", "pydoc_data", "site-packages")
        assert not [path for path in paths if set(path.split("/")) & set(left_out)]
        assert not [path for path in paths if path.startswith(("_sysconfigdata", "config-"))]

    def test_undecodable_files_are_skipped(self, tmp_path) -> None:
        (tmp_path / "good.py").write_text("x = 1\n")
        (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
        library = StandardLibrary(tmp_path)
        assert [document.text for document in library.documents()] == [b"x = 1\n"]

    def test_a_python_without_its_sources_is_refused(self, tmp_path) -> None:
        with pytest.raises(CorpusError, match="no sources"):
            StandardLibrary(tmp_path).content_hash()


class TestFiles:
    def test_the_three_formats_give_the_same_documents(self, tmp_path) -> None:
        expected = ["first\nstory", "zweite Geschichte: äöü", "third"]
        (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(expected), encoding="utf-8")
        (tmp_path / "a.jsonl").write_text(
            "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in expected)
        )
        pq.write_table(pa.table({"id": [1, 2, 3], "text": expected}), tmp_path / "a.parquet")
        for suffix in ("txt", "jsonl", "parquet"):
            assert texts(tmp_path / f"a.{suffix}") == expected

    def test_a_byte_order_mark_is_no_text(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_text("text", encoding="utf-8-sig")
        (tmp_path / "a.jsonl").write_text('{"text": "text"}', encoding="utf-8-sig")
        assert texts(tmp_path / "a.txt") == texts(tmp_path / "a.jsonl") == ["text"]

    def test_the_hash_is_of_the_content_and_not_of_the_place(self, tmp_path) -> None:
        for name, text in {"a.txt": "same", "b.txt": "same", "c.txt": "other"}.items():
            (tmp_path / name).write_text(text)
        a, b, c = (find_corpus(str(tmp_path / f"{n}.txt")).content_hash() for n in "abc")
        assert a == b != c

    def test_lines_that_end_in_carriage_returns_alone(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_bytes(b"one\r\rtwo\r\rthree")
        assert "carriage returns alone" in refusal(tmp_path / "a.txt")
        (tmp_path / "b.txt").write_bytes(b"one line\r")
        assert texts(tmp_path / "b.txt") == ["one line"]

    def test_one_line_decides_what_a_document_is_unless_it_is_said(self, tmp_path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("one\n\ntwo\n<|endoftext|>\nthree\n\nfour\n")
        found = find_corpus(str(path))
        assert found.grouping == "text between lines of <|endoftext|>"
        said = find_corpus(f"{path}#paragraphs")
        assert said.grouping == "paragraphs, text between blank lines"
        assert len(texts(path)) == 2
        assert len(texts(f"{path}#paragraphs")) == 3
        assert found.content_hash() != said.content_hash()
        assert len(texts(f"{path}#lines")) == 5
        assert "one of separators, headings, paragraphs, lines, pieces" in refusal(f"{path}#words")

    def test_a_path_may_hold_the_mark_of_a_grouping(self, tmp_path) -> None:
        (tmp_path / "a#paragraphs").mkdir()
        assert "'train'" in refusal(tmp_path / "a#paragraphs")

    def test_equal_documents_share_a_split(self, tmp_path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("\n\n".join(f"text {i % 50}" for i in range(200)))
        places = {
            (document.text, document.split) for document in find_corpus(str(path)).documents()
        }
        assert len(places) == 50

    def test_a_path_that_is_not_utf8(self, tmp_path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
        Path(path).write_text("text")
        message = refusal(path)
        assert "is not UTF-8" in message
        message.encode()

    def test_a_missing_path(self, tmp_path) -> None:
        assert "does not exist" in refusal(tmp_path / "nothing.txt")
        assert "does not exist" in refusal("nothing-here.jsonl")

    def test_an_empty_file(self, tmp_path) -> None:
        (tmp_path / "a.txt").touch()
        assert "a.txt is empty" in refusal(tmp_path / "a.txt")

    def test_another_ending(self, tmp_path) -> None:
        (tmp_path / "a.md").write_text("text")
        assert "'.md'" in refusal(tmp_path / "a.md")
        assert ".jsonl" in refusal(tmp_path / "a.md")

    @pytest.mark.parametrize("before", [0, 5, (1 << 20) - 1, (1 << 20) + 7])
    @pytest.mark.parametrize("suffix", ["txt", "jsonl"])
    def test_bytes_that_are_not_utf8_are_named_by_their_offset(
        self, tmp_path, before, suffix
    ) -> None:
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"a" * before + b"\xff" + b"b" * 100)
        message = refusal(path)
        assert str(path) in message
        assert f"byte {before} is 0xff" in message

    def test_a_character_cut_off_by_the_end_of_the_file(self, tmp_path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"caf\xc3")
        assert "byte 3 is 0xc3" in refusal(path)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
    def test_other_encodings_are_refused(self, tmp_path, encoding) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes("Was für ein schöner Tag".encode(encoding))
        if encoding == "utf-16-le":  # without a BOM it is UTF-8 with many zeros, until an accent
            assert "is 0xfc" in refusal(path)
        else:
            assert "byte" in refusal(path)

    def test_a_character_across_two_blocks_is_fine(self, tmp_path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"a" * ((1 << 20) - 1) + "é".encode())
        find_corpus(str(path)).content_hash()

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"text": "cut off', "not valid JSON"),
            ("[" * 100_000, "not valid JSON"),
            ('{"body": "text"}', "no field 'text' (fields 'body')"),
            (json.dumps({f"a\nb{i}": 0 for i in range(99)}), ", …)"),
            ('["text"]', "no field 'text'"),
            ('{"text": 7}', "is a int"),
            ('{"text": "\\ud800"}', "surrogate"),
        ],
    )
    def test_a_bad_json_line_is_named_by_its_number(self, tmp_path, line, reason) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text(f'{{"text": "good"}}\n\n{line}\n')
        message = refusal(path)
        assert f"{path}:3" in message
        assert reason in message
        assert len(message) < 500

    def test_parquet_without_text(self, tmp_path) -> None:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"body": ["text"]}), path)
        assert "no column 'text' (columns 'body')" in refusal(path)
        pq.write_table(pa.table({"text": [1, 2]}), path)
        assert "of type int64" in refusal(path)
        path.write_bytes(b"no parquet at all")
        assert "not a readable Parquet file" in refusal(path)

    def test_parquet_that_is_not_utf8(self, tmp_path) -> None:
        path = tmp_path / "a.parquet"
        column = pa.array([b"good", b"bad \xff"], pa.binary()).view(pa.string())
        pq.write_table(pa.table({"text": column}), path)
        assert "row 1 of the column 'text' is not UTF-8 at byte 4" in refusal(path)

    def test_nulls_are_not_blank_documents(self, tmp_path) -> None:
        pq.write_table(pa.table({"text": ["a", None, ""]}), tmp_path / "a.parquet")
        (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": ""}\n')
        for name in ("a.parquet", "a.jsonl"):
            documents = find_corpus(str(tmp_path / name)).documents()
            assert [document.text for document in documents] == [b"a", None, b""]

    def test_a_field_is_named_behind_the_path(self, tmp_path) -> None:
        rows = [{"id": "1", "a:b": "colon", "review": "good"}]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        for name in ("a.jsonl", "a.parquet"):
            path = tmp_path / name
            assert texts(f"{path}:review") == ["good"]
            found = {find_corpus(f"{path}:{field}").content_hash() for field in ("id", "review")}
            assert len(found) == 2
            assert "no" in (message := refusal(path)) and "'text'" in message
            assert "as in a.parquet:id" in message or "as in a.jsonl:a:b" in message
            assert "'reviw'" in refusal(f"{path}:reviw")
        (tmp_path / "a.txt").write_text("text")
        assert "plain text has no fields" in refusal(f"{tmp_path}/a.txt:review")
        assert "each row is a document" in refusal(f"{tmp_path}/a.jsonl#paragraphs")
        assert "does not exist" in refusal(f"{tmp_path}/b.jsonl:review")

    def test_the_field_text_may_be_named(self, tmp_path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a"}')
        assert find_corpus(f"{path}:text").content_hash() == find_corpus(str(path)).content_hash()

    def test_a_field_of_every_file_in_a_folder(self, tmp_path) -> None:
        for name in ("train", "dev"):
            (tmp_path / f"{name}.jsonl").write_text(f'{{"review": "{name}"}}')
        assert texts(f"{tmp_path}:review") == texts(f"{tmp_path}/:review") == ["train", "dev"]

    @pytest.mark.parametrize("line_end", ["\n", "\r\n", " ", ""])
    def test_text_without_blank_lines_is_cut_into_pieces(self, tmp_path, line_end) -> None:
        path = tmp_path / "a.txt"
        text = f"Grüße{line_end}" * 5_000
        path.write_text(text, encoding="utf-8", newline="")
        found = find_corpus(str(path))
        assert found.grouping == "pieces of 4 to 8 KiB, cut at line ends, else at white space"
        pieces = texts(path)
        assert len(pieces) >= 7
        assert "".join(pieces).replace("\r\n", "\n").replace("\n", "") == text.replace(
            "\r\n", ""
        ).replace("\n", "")
        assert found.content_hash() == find_corpus(f"{path}#pieces").content_hash()
        assert len(texts(f"{path}#paragraphs")) == 1

    def test_a_grouping_that_the_content_calls_for_may_be_named(self, tmp_path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("one\n\ntwo")
        asked = find_corpus(f"{path}#paragraphs")
        assert asked.content_hash() == find_corpus(str(path)).content_hash()

    def test_loops_and_broken_links(self, tmp_path) -> None:
        (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
        (tmp_path / "broken.txt").symlink_to(tmp_path / "nothing")
        assert "cannot be opened" in refusal(tmp_path / "loop.txt")
        assert "is a broken link" in refusal(tmp_path / "broken.txt")

    def test_a_pipe_is_no_file(self, tmp_path) -> None:
        os.mkfifo(tmp_path / "a.txt")
        assert "not a regular file" in refusal(tmp_path / "a.txt")


class TestFolders:
    @pytest.mark.parametrize("name", ["dev.txt", "valid.txt", "validation.jsonl", "val.TXT"])
    def test_each_file_is_a_split(self, tmp_path, name) -> None:
        (tmp_path / "train.txt").write_text("a\n\nb")
        (tmp_path / "test.txt").write_text("d")
        (tmp_path / name).write_text('{"text": "c"}' if name.endswith("jsonl") else "c")
        found = [(d.split, d.text) for d in find_corpus(str(tmp_path)).documents()]
        assert found == [("train", b"a"), ("train", b"b"), ("dev", b"c"), ("test", b"d")]

    def test_the_hash_of_a_corpus_never_changes(self, tmp_path) -> None:
        """It stands in every journal; a sweep is continued only on the same corpus."""
        for name, text in {"train": "a\n\nb", "dev": "c", "test": "d"}.items():
            (tmp_path / f"{name}.txt").write_text(text)
        assert find_corpus(str(tmp_path)).content_hash() == (
            "c8ecad32dfe0afd5e1169f9cafe0864c604c58dea5d76a452d821cf75f70059a"
        )

    def test_files_of_different_groupings_are_told(self, tmp_path) -> None:
        (tmp_path / "train.txt").write_text("a\n\nb")
        (tmp_path / "dev.txt").write_text("a\n<|endoftext|>\nb")
        (tmp_path / "test.jsonl").write_text('{"text": "d"}')
        assert find_corpus(str(tmp_path)).grouping == (
            "train: paragraphs, text between blank lines; "
            "dev: text between lines of <|endoftext|>; test: as stored"
        )

    def test_a_missing_split(self, tmp_path) -> None:
        (tmp_path / "train.txt").write_text("a")
        (tmp_path / "test.txt").write_text("b")
        assert "no file for the split 'dev'" in refusal(tmp_path)

    def test_a_test_split_is_not_needed(self, tmp_path) -> None:
        (tmp_path / "train.txt").write_text("a")
        (tmp_path / "valid.txt").write_text("b")
        assert texts(tmp_path) == ["a", "b"]

    def test_a_file_of_a_folder_may_be_a_single_document(self, tmp_path) -> None:
        for name in ("train", "dev"):
            (tmp_path / f"{name}.txt").write_text("line\n" * 5_000)
        assert len(texts(tmp_path)) == 2
        assert len(texts(f"{tmp_path}#pieces")) > 7

    def test_real_folder_without_train(self, shared_data) -> None:
        assert "no file for the split 'train'" in refusal(shared_data / "wikitext-2")

    def test_two_files_of_one_split(self, tmp_path) -> None:
        for name in ("train.txt", "valid.txt", "dev.txt", "test.txt"):
            (tmp_path / name).write_text("a")
        assert "2 files for the split 'dev' (dev.txt, valid.txt)" in refusal(tmp_path)

    def test_a_folder_where_a_file_should_be(self, tmp_path) -> None:
        for name in ("valid.txt", "test.txt"):
            (tmp_path / name).write_text("a")
        (tmp_path / "train.txt").mkdir()
        assert "train.txt is not a regular file" in refusal(tmp_path)
