"""Where a sweep keeps what outlives a machine: its checkpoints, and the tokens for its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_app.cluster.capacity import ClusterSize
from tune_app.stores.open import SFTP_EXAMPLE, below, is_folder, open_store

STORE_VARIABLE = "STELLUX_CHECKPOINTS"
"""Names the store of sweeps that name none; each gets a folder of its own in it."""


@dataclass(frozen=True, kw_only=True)
class Stores:
    """URLs of stores."""

    checkpoints: str
    tokens: str
    """Its folder `tokens` is shared by all sweeps that use it."""


def chosen_store(named: str | None, folder: Path) -> str:
    """The store of a sweep: as the command names it, or the environment, or beside its journal.

    A path becomes absolute: the processes that train work in other folders than this one.
    """
    store = named or os.environ.get(STORE_VARIABLE) or str(folder / "checkpoints")
    return str(Path(store).expanduser().absolute()) if "://" not in store else store


def stores_of(named: str | None, folder: Path, *, name: str, created_at: float) -> Stores:
    """Where a sweep's checkpoints and tokens lie.

    Two sweeps may train the same cell: in a store that serves all of them each needs a folder of
    its own, that a later sweep of the same name does not find either.

    Args:
        named: by the command.
        folder: of the sweep.
        name: in its journal; the folder may have been renamed since.
        created_at: seconds since the epoch, of its journal.
    """
    store = chosen_store(named, folder)
    if named or not os.environ.get(STORE_VARIABLE):
        return Stores(checkpoints=store, tokens=store)
    own = f"{name}-{int(created_at * 1000):x}"
    return Stores(checkpoints=below(store, own), tokens=store)


def refuse_unshared(
    url: str, size: ClusterSize, blind_nodes: Callable[[Path], Sequence[str]]
) -> None:
    """Refuses a folder of this machine that the others of a cluster do not see.

    A plain path has to be seen by each machine that is there, and none may come later that nobody
    has asked yet; with file:// a person vouches for those.

    Args:
        url: of the store.
        size: of the cluster.
        blind_nodes: asks the machines that are there, and names those that do not see a folder.

    Raises ValueError with what to name instead.
    """
    if not is_folder(url):
        return
    folder = Path(open_store(url).url)
    remedy = (
        f"name a store that all machines reach, as in --checkpoints {SFTP_EXAMPLE} or in the "
        f"environment variable {STORE_VARIABLE}; or, where the folder is mounted on each of them, "
        f"--checkpoints file://{folder}"
    )
    vouched = url.startswith("file:")
    if size.grows and not vouched:
        raise ValueError(
            f"the checkpoints would lie in {folder} on this machine, and the cluster may get "
            f"machines that do not see it; {remedy}"
        )
    try:
        blind = blind_nodes(folder)
    except OSError:
        return  # what is wrong with the folder itself is found and said when it is checked
    if blind:
        raise ValueError(
            f"the checkpoints would lie in {folder} on this machine, which "
            f"{', '.join(blind)} of the cluster cannot see; {remedy}"
        )
