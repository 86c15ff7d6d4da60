"""The worker's start script: its size, its quoting, and what it does not hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.market.instance_request import MAXIMUM_START, WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.open_market import how_an_instance_ends
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.setup import OverlaySetup
from tune_app.cloud.overlay.worker_script import (
    HOST_KEY,
    LINK_KEY,
    REST,
    STORE_KEY,
    client_config,
    known_hosts_line,
    store_url,
    unpacked,
    worker_script,
)
from tune_app.cloud.renting.settings import NodeType
from tune_app.cloud.secrets.ssh_keys import KeyPair

SETTINGS = OverlaySettings(head="head.example")
PUBLIC = "ssh-ed25519 " + "A" * 68
SECRETS = tuple(f"{name}{half}" for name in (LINK_KEY, STORE_KEY, HOST_KEY) for half in ("", REST))
ENDING = how_an_instance_ends(MarketAccess())


def script(k: int = 5, *, settings: OverlaySettings = SETTINGS, then: str = "") -> str:
    return worker_script(
        settings, k, head_public=PUBLIC, updater_public=PUBLIC, then=then, ending=ENDING
    )


def label(k: int) -> Label:
    return Label(cluster="mine", node_type="gpu", k=k, attempt="r.1")


def test_the_longest_one_leaves_room_for_the_node_types_own() -> None:
    settings = OverlaySettings(
        head="h" * 253,
        last_k=127,
        worker_folder="/" + "f" * 99,
        link_user="u" * 32,
        between_workers=True,
    )
    assert len(script(127, settings=settings)) < MAXIMUM_START - 500
    with pytest.raises(ValueError, match="4,048 are"):
        script(then="x" * (MAXIMUM_START - len(script()) + 1))


def test_it_is_a_posix_script_that_ends_with_the_node_types_own() -> None:
    then = "echo 'it''s' \"$(hostname)\" `id` <<'E'\n@K @FOLDER %s\\n\nE\n"
    text = script(then=then)
    assert text.endswith(f"\n{then}")
    text = unpacked(text)
    assert len(re.findall("@[A-Z]", text)) == 2, "all of its own are filled in"
    assert text.endswith(f"\n{then}")
    done = subprocess.run(["sh", "-n"], check=False, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_switch_is_the_first_thing_it_starts() -> None:
    text = unpacked(script(then="echo mine\n"))
    began = text.index('[ -z "${CONTAINER_ID-}" ]')
    assert text.startswith("#!/bin/sh\nask() {\n")  # what it needs is there, and nothing else ran
    assert text.index("destroy() {") < began < text.index("mkdir") < text.index("echo mine")
    assert "https://console.vast.ai/api/v0/instances/$CONTAINER_ID/" in text
    assert "${STELLUX_SILENT_S-800}" in text
    assert "${STELLUX_LIFE_S-259200}" in text


def test_the_head_is_known_by_one_key_and_a_link_has_all_its_forwards_or_ends() -> None:
    assert known_hosts_line(SETTINGS, PUBLIC) == f"[head.example]:7722 {PUBLIC}\n"
    lines = client_config(SETTINGS).splitlines()
    assert {
        "StrictHostKeyChecking yes",
        "UserKnownHostsFile known_hosts",
        "GlobalKnownHostsFile /dev/null",
        "ExitOnForwardFailure yes",
        "ServerAliveInterval 15",
        "ServerAliveCountMax 16",
        "IdentitiesOnly yes",
    } < set(lines)


@pytest.mark.parametrize("public", ["'; touch /tmp/x; '", f"{PUBLIC}\n* {PUBLIC}", ""])
def test_what_is_no_key_does_not_get_into_it(public: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        worker_script(SETTINGS, 5, head_public=public, updater_public=PUBLIC)
    with pytest.raises(ValueError, match="not a public key"):
        worker_script(SETTINGS, 5, head_public=PUBLIC, updater_public=public)


def test_the_store_has_one_name_on_all_workers_and_the_head() -> None:
    assert store_url(SETTINGS, "/my sweep") == (
        "sftp://stellux-store@head.example:7722/my%20sweep"
        "?key=~/.stellux/store_key&known_hosts=~/.stellux/known_hosts&files=read-only"
    )
    assert "@[2001:db8::1]:7722/" in store_url(OverlaySettings(head="2001:db8::1"), "/")
    elsewhere = OverlaySettings(head="h", worker_folder="/workspace/.stellux")
    assert "key=/workspace/.stellux/store_key" in store_url(elsewhere, "/")


def test_a_worker_is_given_keys_of_its_own_and_none_of_the_heads(tmp_path: Path) -> None:
    setup = OverlaySetup(SETTINGS, tmp_path)
    hostile = {"NAME": "a'b\"c $(id)\n", LINK_KEY: "mine"}
    kind = NodeType(image="cuda", onstart="echo mine\n", env=hostile)
    first, second = setup.prepare(kind.start, label(2)), setup.prepare(kind.start, label(3))
    assert first.env["NAME"] == hostile["NAME"]
    assert (first.env["STELLUX_K"], first.env["STELLUX_LABEL"]) == ("2", "stellux/mine/gpu/2/r.1")
    own = [start.env[name] for start in (first, second) for name in SECRETS]
    assert len(set(own)) == 12, "no two alike"
    assert max(map(len, [*first.env.values(), *second.env.values()])) <= 256
    assert not any("\n" in secret for secret in own)
    onstart = unpacked(first.onstart)
    given = onstart + "".join(first.env.values())
    for path in (setup.files.host_key, setup.files.updater_key):
        head = KeyPair.parse(path.read_text("ascii"))
        assert path.stat().st_mode & 0o777 == 0o600
        assert "".join(path.read_text("ascii").split("\n")[1:-2]) not in given
        assert head.public in onstart
    assert not any(secret in onstart for secret in own)


def test_what_was_given_is_taken_back_at_once_and_as_often_as_asked(tmp_path: Path) -> None:
    setup = OverlaySetup(SETTINGS, tmp_path)
    kind = NodeType(image="cuda")
    start = setup.prepare(kind.start, label(2))
    setup.prepare(kind.start, label(3))
    again = OverlaySetup(SETTINGS, tmp_path)  # as after the daemon's own restart
    users = (SETTINGS.link_user, SETTINGS.store_user)
    files = [setup.files.known_workers, *map(setup.files.authorized, users)]
    assert [AuthorizedKeys(file).workers() for file in files] == [{2, 3}] * 3
    for _ in range(2):
        again.revoke(2)
        assert [AuthorizedKeys(file).workers() for file in files] == [{3}] * 3
    assert again.prepare(kind.start, label(2)).env[LINK_KEY] != start.env[LINK_KEY]
    again.prepare(kind.start, label(2))
    assert files[1].read_text("utf-8").count(" stellux-2\n") == 1
    assert again.prepare(kind.start, label(2)).onstart == start.onstart, "the head's own keys stay"


def test_nothing_is_let_in_where_the_script_cannot_be(tmp_path: Path) -> None:
    setup = OverlaySetup(SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="raise last_k"):
        setup.prepare(WorkerStart(), label(18))
    with pytest.raises(ValueError, match="let it fetch the rest"):
        setup.prepare(WorkerStart(onstart="x" * 4_000), label(2))
    assert not setup.files.authorized(SETTINGS.link_user).exists()
    setup.revoke(18)
