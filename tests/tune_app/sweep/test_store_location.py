"""Where checkpoints lie, and which folders a cluster may not use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.cluster.capacity import ClusterSize, Machines
from tune_app.stores.open import below, is_folder, open_store
from tune_app.sweep.store_location import Stores, refuse_unshared, stores_of

URL = "sftp://u@head:22/srv/store?key=~/.ssh/store_key"
ONE = Machines(name="one", number=1, cpus=4, gpus=0)
TYPE = Machines(name="gpu-worker", number=4, cpus=4, gpus=1)


def test_the_command_wins_over_the_environment_and_that_over_the_sweeps_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "quick"
    beside = str(folder / "checkpoints")

    def stores_of_quick(named: str | None, created_at: float) -> Stores:
        return stores_of(named, folder, name="quick", created_at=created_at)

    assert stores_of_quick(None, 1.0) == Stores(checkpoints=beside, tokens=beside)
    monkeypatch.setenv("STELLUX_CHECKPOINTS", URL)
    assert stores_of_quick("/mine", 1.0) == Stores(checkpoints="/mine", tokens="/mine")
    stores = stores_of_quick(None, 1.0)
    assert stores.tokens == URL, "one copy of the tokens for all sweeps"
    assert stores.checkpoints == URL.replace("/store?", "/store/quick-3e8?")
    later = stores_of_quick(None, 2.0)
    assert later.checkpoints != stores.checkpoints, "of a sweep that was removed and began anew"
    renamed = stores_of(None, tmp_path / "runs" / "renamed", name="quick", created_at=1.0)
    assert renamed == stores, "the name in the journal counts, not that of the folder"


def test_a_relative_path_is_one_of_the_folder_that_the_command_was_given_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = str(tmp_path / "mine")
    assert stores_of("mine", Path("runs"), name="x", created_at=1.0) == Stores(
        checkpoints=mine, tokens=mine
    )
    monkeypatch.setenv("STELLUX_CHECKPOINTS", "all")
    stores = stores_of(None, Path("runs"), name="x", created_at=1.0)
    assert stores == Stores(checkpoints=str(tmp_path / "all/x-3e8"), tokens=str(tmp_path / "all"))
    assert stores_of(URL, Path("runs"), name="x", created_at=1.0).checkpoints == URL


def test_a_store_in_a_folder_of_another() -> None:
    assert (
        open_store(below(URL, "a b")).url == "sftp://u@head:22/srv/store/a%20b?key=~/.ssh/store_key"
    )
    assert below("file:///srv/store", "x") == "file:///srv/store/x"
    assert below("/srv/store", "x") == "/srv/store/x"
    assert below("s3://bucket/?region=r", "x") == "s3://bucket/x?region=r"


def test_what_is_a_folder() -> None:
    assert is_folder("runs/x")
    assert is_folder("file:///x")
    assert not is_folder(URL)


def test_a_folder_that_all_machines_see_is_taken(tmp_path: Path) -> None:
    refuse_unshared(str(tmp_path), ClusterSize(now=(ONE,)), lambda folder: [])
    refuse_unshared(URL, ClusterSize(), lambda folder: pytest.fail("nobody needs to be asked"))


def test_a_folder_that_a_machine_does_not_see_is_refused(tmp_path: Path) -> None:
    for url in (str(tmp_path), tmp_path.as_uri()):
        with pytest.raises(ValueError, match=r"which one, two in the cluster cannot see; use a st"):
            refuse_unshared(url, ClusterSize(now=(ONE,)), lambda folder: ["one", "two"])


@pytest.mark.parametrize("size", [ClusterSize(), ClusterSize(now=(ONE,), later=(TYPE,))])
def test_machines_that_come_later_have_to_be_vouched_for(tmp_path: Path, size: ClusterSize) -> None:
    with pytest.raises(
        ValueError, match=rf"may add machines .* STELLUX_CHECKPOINTS; .*file://{tmp_path}"
    ):
        refuse_unshared(str(tmp_path), size, lambda folder: [])
    refuse_unshared(tmp_path.as_uri(), size, lambda folder: [])


def test_a_folder_that_is_away_is_left_to_the_check_of_the_store(tmp_path: Path) -> None:
    def away(folder: Path) -> list[str]:
        raise FileExistsError

    refuse_unshared(str(tmp_path), ClusterSize(now=(ONE,)), away)
