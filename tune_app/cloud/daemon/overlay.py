"""Joins the overlay to the daemon: keys for its workers, and a watch over their links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tune_app.cloud.open_market import how_an_instance_ends
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.setup import OverlaySetup
from tune_app.cloud.overlay.watch import LinkWatch
from tune_app.cloud.renting.settings import CloudSettings


def join_overlay(
    cloud: CloudSettings, path: Path, folder: Path
) -> tuple[CloudSettings, OverlaySetup, LinkWatch]:
    """The daemon's settings limited to the overlay's numbers, and the arguments for `serve`.

    Args:
        path: of the overlay's settings.
        folder: of its keys.

    Raises ValueError for settings that contradict each other, OSError if the folder cannot be
    written.
    """
    overlay = load_overlay_settings(path)
    try:
        cloud = numbered_alike(cloud, overlay)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    setup = OverlaySetup(overlay, folder, ending=how_an_instance_ends(cloud.access))
    let_in = AuthorizedKeys(setup.files.authorized(overlay.link_user))
    return cloud, setup, LinkWatch.of(overlay, let_in.workers)


def numbered_alike(cloud: CloudSettings, overlay: OverlaySettings) -> CloudSettings:
    """The settings limited to the numbers that both allow.

    Raises ValueError if these are too few for `max_instances`.
    """
    first = max(cloud.first_k, overlay.workers.start)
    last = min(cloud.last_k, overlay.last_k)
    if last - first + 1 < cloud.max_instances:
        raise ValueError(
            f"workers may have the numbers {first} to {last}, too few for {cloud.max_instances} "
            f"instances; raise last_k, which is {overlay.last_k} here and {cloud.last_k} in the "
            "daemon's settings, or lower max_instances there"
        )
    return replace(cloud, first_k=first, last_k=last)
