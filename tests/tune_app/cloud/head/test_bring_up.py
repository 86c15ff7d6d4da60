"""What is sent to a head, and what is refused before anything is."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.autoscaling.ray_autoscaler import yaml_config
from tune_app.cloud.cluster_yaml.settings import check_config
from tune_app.cloud.head.bring_up import bring_up, check_no_other_sweep, settings_files
from tune_app.cloud.head.bundle import bundle
from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.overlay.settings import load_overlay_settings
from tune_app.cloud.renting.settings import load_settings
from tune_app.cloud.secrets.account_key import account_key
from tune_app.cloud.vast.key_places import KEY_PLACES


def test_the_program_and_its_settings_are_sent_and_nothing_of_the_machine() -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle({"daemon.json": "{}"})), mode="r:gz") as archive:
        items = {item.name: item for item in archive}
    assert {
        "code/tune_app/sweep/__main__.py",
        "code/requirements.txt",
        "settings/daemon.json",
    } <= set(items)
    assert {name.split("/")[0] for name in items} == {"code", "settings"}
    machine = ("__pycache__", ".git", "/tests/", "/test_")
    assert not [name for name in items if any(part in name for part in machine)]
    assert {(item.uid, item.uname, item.mtime) for item in items.values()} == {(0, "", 0)}


def test_a_folder_full_of_data_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "corpus.txt").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ValueError, match=r"65 MiB, the largest file is data/corpus\.txt; at most"):
        bundle({}, tmp_path)


def test_the_key_is_where_vast_s_own_command_line_leaves_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no Vast\.ai key: set VAST_API_KEY, or write"):
        account_key(KEY_PLACES, {}, tmp_path)
    path = tmp_path / ".config" / "vastai" / "vast_api_key"
    path.parent.mkdir(parents=True)
    path.write_text("from-the-file\n", "utf-8")
    assert account_key(KEY_PLACES, {}, tmp_path).reveal() == "from-the-file"
    assert account_key(KEY_PLACES, {"VAST_API_KEY": "told"}, tmp_path).reveal() == "told"
    path.write_text("two words", "utf-8")
    with pytest.raises(ValueError, match=r"vast_api_key: the Vast\.ai key has 9 characters"):
        account_key(KEY_PLACES, {}, tmp_path)


def test_without_a_key_the_head_is_not_even_spoken_to(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ValueError, match=r"no Vast\.ai key"):
        bring_up(
            yaml_config(),
            HeadShell(address="head.example", user="me"),
            say=said.append,
            environment={},
            home=tmp_path,
        )
    assert said == []


def files(**provider: Any) -> dict[str, str]:
    return settings_files(check_config(yaml_config(**provider)), node_type="head")


def test_each_of_the_head_s_programs_takes_its_settings(tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text, "utf-8")
    daemon = load_settings(tmp_path / "daemon.json")
    overlay = load_overlay_settings(tmp_path / "overlay.json")
    assert (overlay.head, overlay.port) == ("head.example", 7722)
    assert daemon.last_k == overlay.last_k
    cluster: dict[str, Any] = json.loads((tmp_path / "cluster.json").read_text("utf-8"))
    assert cluster == {"cluster": "stellux", "node_type": "head", "open_ports": ""}


def test_the_daemon_and_the_overlay_must_count_the_same_workers() -> None:
    assert json.loads(files(overlay={"last_k": 9})["daemon.json"])["last_k"] == 9
    config = yaml_config(overlay={"last_k": 9})
    config["provider"]["vast"]["last_k"] = 8
    with pytest.raises(ValueError, match=r"provider\.vast\.last_k is \d+, provider\.overlay"):
        check_config(config)


def test_a_sweep_does_not_go_on_with_another_source() -> None:
    for state in ("active", "activating"):
        with pytest.raises(
            ValueError, match=r"a sweep runs on the head with .*cloud stop --cluster"
        ):
            check_no_other_sweep(f"welcome\nstellux-head-runs {state} code-1\n", "code-2")
        check_no_other_sweep(f"stellux-head-runs {state} code-2\n", "code-2")
    for told in ("stellux-head-runs inactive code-1\n", "stellux-head-runs  \n", ""):
        check_no_other_sweep(told, "code-2")


@pytest.mark.parametrize("folder", ["/home/me/store", "/root", "/etc/store"])
def test_a_store_where_its_server_may_not_write_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match=r"store_root is .* it must not be in /"):
        files(overlay={"store_root": folder})
    files(overlay={"store_root": "/mnt/home"})
