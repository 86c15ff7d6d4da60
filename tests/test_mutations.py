"""Each mutation still finds its text in the code, and its test; `make mutations` runs them."""

from __future__ import annotations

import pytest

from tests.mutation_table import MUTATIONS, Mutation
from tests.mutations import ROOT, main


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_text_and_its_test_are_there(mutation: Mutation) -> None:
    text = (ROOT / mutation.path).read_text("utf-8")
    assert mutation.applied(text) != text
    path, _, name = mutation.test.partition("::")
    assert f"def {name}" in (ROOT / path).read_text("utf-8")


def test_each_has_a_name_and_a_change_of_its_own() -> None:
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
    changes = {(one.path, one.old.strip(), one.new.strip()) for one in MUTATIONS}
    assert len(changes) == len(MUTATIONS)


def test_a_text_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 times: bring it up to the code"):
        MUTATIONS[0].applied("")
    assert main(["no such name"]) == 2
