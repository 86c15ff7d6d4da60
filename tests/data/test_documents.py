"""Where documents end in text."""

from __future__ import annotations

import pytest

from data.documents import (
    GROUPINGS,
    PIECE_BYTES,
    by_blank_line,
    by_end_of_text,
    by_heading,
    by_pieces,
    grouping_of,
    is_one_paragraph,
)


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
    documents = list(by_heading(lines(text)))
    assert [document.splitlines()[0] for document in documents] == [b" = Lobster = ", b" = Crab = "]
    assert b"Size" in documents[0]


@pytest.mark.parametrize("line", ["x = 3 = y", " = = Section = = ", "= Title =", " = "])
def test_other_lines_with_equals_signs_are_no_titles(line: str) -> None:
    assert grouping_of(f"text\n{line}\ntext\n".encode()) == "paragraphs"


def test_blank_lines_separate_paragraphs_and_white_space_counts_as_blank() -> None:
    text = "\n\none\nmore\n \t\r\n\n\n  two\n"
    documents = list(by_blank_line(lines(text)))
    assert documents == [b"one\nmore", b"  two"]


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("", True),
        (" \n \n", True),
        ("a\nb", True),
        ("\n\n a\nb \n\t\n\n", True),
        ("a\n\nb", False),
        ("a\r\n \t\r\nb", False),
    ],
)
def test_one_paragraph_is_what_the_grouping_makes_of_it(text: str, one: bool) -> None:
    assert is_one_paragraph(text.encode()) is one
    assert (len(list(by_blank_line(lines(text)))) <= 1) is one


def test_pieces_end_at_lines_then_at_white_space_then_between_characters() -> None:
    size = PIECE_BYTES
    for parts in ([7], [size], [100_000]):
        text = ("x" * (size + 10) + "\n") + "y " * (2 * size) + "語" * (2 * size) + " end"
        raw = text.encode()
        given = [raw[i : i + parts[0]] for i in range(0, len(raw), parts[0])]
        pieces = list(by_pieces(given))
        assert pieces[0] == b"x" * (size + 10)
        assert pieces[1] == b"y " * (size // 2) + b"y"
        assert b"".join(pieces) == raw.replace(b"\n", b"")
        assert all(len(piece) <= 2 * size and piece.decode() for piece in pieces)


def test_real_wikitext_has_its_articles(shared_data) -> None:
    text = (shared_data / "wikitext-2" / "valid.txt").read_bytes()
    documents = list(GROUPINGS[grouping_of(text)](text.splitlines(keepends=True)))
    assert grouping_of(text) == "headings"
    assert len(documents) == 60  # the articles of the published validation split
    assert documents[0].startswith(b" = Homarus gammarus = ")
