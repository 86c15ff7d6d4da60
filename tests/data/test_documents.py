"""Where documents end in text."""

from __future__ import annotations

import pytest

from data.documents import GROUPINGS, by_blank_line, by_end_of_text, by_heading, grouping_of


def lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def test_lines_of_end_of_text_separate_documents() -> None:
    text = "one\n\nstill one\n<|endoftext|>\ntwo\r\n<|endoftext|>\r\nthree"
    assert grouping_of(text.encode()) == "separators"
    assert list(by_end_of_text(lines(text))) == [b"one\n\nstill one", b"two", b"three"]


def test_end_of_text_within_a_line_is_text() -> None:
    text = "a line with <|endoftext|> in it\n\nnext\n"
    assert grouping_of(text.encode()) == "paragraphs"
    assert next(by_blank_line(lines(text))) == b"a line with <|endoftext|> in it"


def test_wikitext_articles_begin_at_headings_of_level_one() -> None:
    text = " \n = Lobster = \n \n Red . \n \n = = Size = = \n \n Big . \n = Crab = \n \n Small . \n"
    assert grouping_of(text.encode()) == "headings"
    documents = [document for document in by_heading(lines(text)) if document.strip()]
    assert [document.splitlines()[0] for document in documents] == [b" = Lobster = ", b" = Crab = "]
    assert b"Size" in documents[0]


@pytest.mark.parametrize("line", ["x = 3 = y", " = = Section = = ", "= Title =", " = "])
def test_other_lines_with_equals_signs_are_no_titles(line: str) -> None:
    assert grouping_of(f"text\n{line}\ntext\n".encode()) == "paragraphs"


def test_blank_lines_separate_paragraphs_and_white_space_counts_as_blank() -> None:
    text = "\n\none\nmore\n \t\r\n\n\n  two\n"
    documents = [document for document in by_blank_line(lines(text)) if document.strip()]
    assert documents == [b"one\nmore", b"  two"]


def test_real_wikitext_has_its_articles(shared_data) -> None:
    text = (shared_data / "wikitext-2" / "valid.txt").read_bytes()
    documents = [
        d for d in GROUPINGS[grouping_of(text)](text.splitlines(keepends=True)) if d.strip()
    ]
    assert grouping_of(text) == "headings"
    assert len(documents) == 60  # the articles of the published validation split
    assert documents[0].startswith(b" = Homarus gammarus = ")
