"""Where a sweep keeps its checkpoints, and the tokens that its workers download."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_app.cluster.capacity import ClusterSize
from tune_app.stores.open import SFTP_EXAMPLE, below, is_folder, open_store

STORE_VARIABLE = "STELLUX_CHECKPOINTS"
"""Default store for sweeps without --checkpoints; each sweep gets its own folder in it."""


@dataclass(frozen=True, kw_only=True)
class Stores:
    """URLs of a sweep's stores."""

    checkpoints: str
    tokens: str
    """Its folder `tokens` is shared by all sweeps that use the store."""


def chosen_store(named: str | None, folder: Path) -> str:
    """The store of a sweep: --checkpoints, else the environment, else next to the journal.

    A path becomes absolute, because trials run in other working folders.
    """
    store = named or os.environ.get(STORE_VARIABLE) or str(folder / "checkpoints")
    return str(Path(store).expanduser().absolute()) if "://" not in store else store


def stores_of(named: str | None, folder: Path, *, name: str, created_at: float) -> Stores:
    """Where a sweep's checkpoints and tokens are stored.

    Two sweeps may train the same cell. In a shared store each therefore gets its own folder, and a
    later sweep of the same name gets a new one.

    Args:
        named: store given with --checkpoints.
        folder: folder of the sweep.
        name: the sweep's name in its journal; the folder may have been renamed since.
        created_at: creation time of the journal, seconds since the epoch.
    """
    store = chosen_store(named, folder)
    if named or not os.environ.get(STORE_VARIABLE):
        return Stores(checkpoints=store, tokens=store)
    own = f"{name}-{int(created_at * 1000):x}"
    return Stores(checkpoints=below(store, own), tokens=store)


def refuse_unshared(
    url: str, size: ClusterSize, blind_nodes: Callable[[Path], Sequence[str]]
) -> None:
    """Refuses a local folder as a store if other machines of the cluster cannot see it.

    A plain path must be visible on every current machine, and no machine may join later, because
    it cannot be checked yet. With file:// the user vouches for machines that join later.

    Args:
        url: URL of the store.
        size: size of the cluster.
        blind_nodes: returns the names of current machines that cannot see a folder.

    Raises ValueError with alternatives.
    """
    if not is_folder(url):
        return
    folder = Path(open_store(url).url)
    remedy = (
        f"use a store that all machines can reach, as in --checkpoints {SFTP_EXAMPLE} or the "
        f"environment variable {STORE_VARIABLE}; or, if the folder is mounted on all of them, "
        f"--checkpoints file://{folder}"
    )
    vouched = url.startswith("file:")
    if size.grows and not vouched:
        raise ValueError(
            f"the checkpoints would be in {folder} on this machine, and the cluster may add "
            f"machines that cannot see it; {remedy}"
        )
    try:
        blind = blind_nodes(folder)
    except OSError:
        return  # check_storage reports what is wrong with the folder itself
    if blind:
        raise ValueError(
            f"the checkpoints would be in {folder} on this machine, which "
            f"{', '.join(blind)} in the cluster cannot see; {remedy}"
        )
