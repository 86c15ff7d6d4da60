"""Real Ray on a head whose links break, and on a worker that has no head or no token."""

from __future__ import annotations

import pytest

from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.cloud.node.ray_nodes import RayNodes
from tune_app.cloud.node.head import LINKS_CAME_BACK
from tune_app.cloud.overlay.addresses import Ports, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.setup import OverlayFiles

pytestmark = pytest.mark.sweeps


def test_links_that_went_and_came_back_end_the_heads_ray(nodes: RayNodes) -> None:
    folder = nodes.folder / "overlay"
    folder.mkdir()
    allowed = AuthorizedKeys(OverlayFiles(folder).authorized("stellux-link"))
    allowed.path.parent.mkdir()
    for k in (4, 5):
        allowed.put(k, f"a worker's line stellux-{k}")
    overlay = nodes.folder / "overlay.json"
    overlay.write_text('{"head": "head.example"}', "utf-8")
    nodes.change(overlay=str(overlay), overlay_folder=str(folder), links_s=0.2)
    links = [(address(k), Ports(k).node_manager) for k in (4, 5)]

    with nodes.listening(("127.0.0.1", 7722)):
        with nodes.listening(*links):
            nodes.start_head()
            until(lambda: nodes.log.count("link: open") == 2, why=lambda: nodes.log)
        until(lambda: nodes.log.count("all 2 links closed") == 2, why=lambda: nodes.log)
        assert nodes.head is not None
        assert nodes.head.poll() is None  # before that, nobody could join
        with nodes.listening(links[0]):
            assert nodes.head.wait(20) == LINKS_CAME_BACK
    assert "worker 4 is open again" in nodes.log
    assert nodes.processes(1) == []


def test_a_worker_that_cannot_start_says_why(nodes: RayNodes) -> None:
    no_token = nodes.worker("--head-s=0.5")
    assert no_token.returncode == 2
    assert "no token" in no_token.stderr

    token = nodes.home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64, "utf-8")
    no_head = nodes.worker("--head-s=0.5")
    assert no_head.returncode == 1
    assert "127.77.0.1:6379" in no_head.stderr
    assert nodes.processes(2) == []
