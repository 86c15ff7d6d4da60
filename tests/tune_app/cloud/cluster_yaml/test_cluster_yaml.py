"""`cluster.yaml`: by Ray's schema, by this project's, and through Ray's own launcher."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.commands import _bootstrap_config, _should_create_new_head
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import hash_launch_conf, prepare_config, validate_config

from tests.tune_app.cloud.autoscaling.ray_autoscaler import HEAD, yaml_config
from tests.tune_app.cloud.daemon.daemons import ROOT
from tune_app.cloud.cluster_yaml.head_copy import head_config
from tune_app.cloud.cluster_yaml.records import HeadMachine
from tune_app.cloud.cluster_yaml.settings import check_config, read_settings
from tune_app.cloud.head.bring_up import settings_files
from tune_app.cloud.provider import StelluxNodeProvider
from tune_app.cloud.renting.settings import load_settings
from tune_app.cloud.secrets.ssh_keys import KeyPair

TEXT = (ROOT / "cluster.yaml").read_text("utf-8")


def test_it_passes_ray_s_schema_with_and_without_ray_s_defaults() -> None:
    config = yaml.safe_load(TEXT)
    validate_config(config)  # every list that Ray wants is there
    validate_config(prepare_config(config))


def test_by_default_nothing_is_rented_before_a_trial_waits_and_soon_given_back() -> None:
    config = yaml.safe_load(TEXT)
    assert {kind["min_workers"] for kind in config["available_node_types"].values()} == {0}
    assert config["idle_timeout_minutes"] <= 5


def test_the_head_has_to_be_named_first() -> None:
    with pytest.raises(ValueError, match=r"provider\.head\.address is 'YOUR-VPS'; write the name"):
        check_config(yaml.safe_load(TEXT))
    check_config(yaml_config())


def test_there_is_no_key_in_it() -> None:
    config = yaml.safe_load(TEXT)
    assert "ssh_private_key" not in config["auth"]
    assert (config["file_mounts"], config["cluster_synced_files"]) == ({}, [])
    text = TEXT.replace("HCLOUD_TOKEN", "")
    assert not re.search(r"[0-9a-f]{32}|BEGIN|token", text, re.IGNORECASE)


def test_the_head_that_is_made_is_written_as_the_example_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"^    # create: hetzner\n(?:    #.*\n)+", TEXT, re.MULTILINE)
    head = yaml.safe_load(re.sub(r"^    # ?", "", example, flags=re.MULTILINE))
    path = tmp_path / "id_ed25519.pub"
    path.write_text(KeyPair.new().public, "utf-8")
    assert head["hetzner"]["ssh_public_key"] == "~/.ssh/id_ed25519.pub"
    head["hetzner"]["ssh_public_key"] = str(path)
    config = yaml_config(head=head)
    config["auth"]["ssh_user"] = "root"
    check_config(config)


def test_the_daemon_takes_what_it_says_may_be_rented(tmp_path: Path) -> None:
    config = yaml_config()
    made = check_config(config)
    path = tmp_path / "daemon.json"
    path.write_text(settings_files(made, node_type="head")["daemon.json"], "utf-8")
    settings = load_settings(path)
    assert settings == made.rented
    assert settings.cluster == config["cluster_name"]
    assert settings.cap_dollars == 50.0
    assert settings.head_dollars_per_hour is None
    config["provider"]["head"]["dollars_per_hour"] = 0.007
    priced = check_config(config).rented
    assert priced is not None and priced.head_dollars_per_hour == 0.007
    rules = settings.node_type("gpu-worker").rules
    assert (rules.gpus, rules.max_dollars_per_hour) == (("RTX 3090", "RTX 4090"), 0.40)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for name in way:
            config = config[name]
        config[last] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("provider/head", {}), "provider.head.address is missing"),
        (change("provider/head/address", 5), "provider.head.address is 5; a text is expected"),
        (change("provider/head/port", 0), "provider.head.port is 0"),
        (
            change("provider/head/adress", "x"),
            "unknown setting 'adress' in provider.head",
        ),
        (
            change("provider/head/dollars_per_hour", "0.01"),
            "provider.head.dollars_per_hour is '0.01'; a number is expected",
        ),
        (
            change("provider/head/dollars_per_hour", -0.01),
            "provider.head.dollars_per_hour is -0.01; it must be 0 to 2: write the price of",
        ),
        (
            change("provider/head/dollars_per_hour", 4.5),
            "provider.head.dollars_per_hour is 4.5; it must be 0 to 2: write the price of one hour "
            "in dollars, a monthly one divided by 720",
        ),
        (
            change("provider/head/dollars_per_hour", float("nan")),
            "provider.head.dollars_per_hour is nan; it must be 0 to 2",
        ),
        (
            change("provider/vast/head_dollars_per_hour", 0.01),
            "provider.vast.head_dollars_per_hour is 0.01, provider.head.dollars_per_hour None; "
            "remove the first",
        ),
        (change("provider/on_head", "yes"), "provider.on_head is 'yes'; true or false is expected"),
        (
            change("provider/vats", {}),
            "unknown setting 'vats' in provider; did you mean vast? expected one of",
        ),
        (change("provider/vast", None), "provider.vast is missing"),
        (change("provider/vast/cap_dollars", -1), "the cap is -1.0 dollars"),
        (change("provider/vast/cap", 1), "unknown setting 'cap' in provider.vast; "),
        (change("provider/vast/node_types/gpu-worker/rules/gpus", ["GT 710"]), "'GT 710'"),
        (change("provider/workers", {"key": "k"}), "missing in provider.workers: known_hosts"),
        (change("max_workers", 9), "max_workers is 9, provider.vast.max_instances 4"),
        (change("available_node_types/cpu", {}), "the workers cpu, gpu-worker"),
        (change("auth/ssh_private_key", "~/.ssh/id"), "would be copied to the head"),
        (
            change("provider/vast/patience", {"loadin": 5.0}),
            "unknown setting 'loadin' in provider.vast.patience; did you mean loading? expected",
        ),
        (change("provider/vast/ending", {"save_s": -1}), "provider.vast.ending.save_s is -1.0; it"),
        (
            change("provider/vast/cluster", "other"),
            "provider.vast.cluster is 'other', cluster_name",
        ),
        (change("provider/cluster", "other"), "unknown setting 'cluster' in provider;"),
        (change("provider/market", "runpod"), "provider.market is 'runpod'; it can be vast"),
        (change("provider/market", 5), "provider.market is '5'; it can be vast"),
        (change("provider/answer_s", 61), "provider.answer_s is 61.0; it must be over 0 and at"),
        (
            change("provider/overlay", {"prot": 1}),
            "unknown setting 'prot' in provider.overlay; did",
        ),
        (
            change("provider/overlay", {"port": 6379}),
            "provider.overlay: the SSH server and the GCS",
        ),
        (change("provider/ray", {"gcs_port": 0}), "provider.ray: the GCS's port is 0"),
        (change("cluster_name", "a/b"), "the cluster's name is 'a/b'"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    config = yaml_config()
    edit(config)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_config(config)


def test_all_that_is_wrong_is_said_at_once() -> None:
    config = yaml_config()
    config["provider"]["vast"] |= {"cap_dollars": "50", "patiense": {}}
    with pytest.raises(ValueError, match=r"cap_dollars is '50'; a number .* Also: unknown .*pati"):
        check_config(config)


def test_sections_may_be_empty_and_have_their_defaults() -> None:
    config = yaml_config(overlay=None, ray=None)
    settings = check_config(config)
    assert (settings.overlay.life_hours, settings.ray.cluster) == (72.0, "stellux")
    assert (settings.section.market, settings.market.market) == ("vast", "vast")
    config["provider"]["overlay"] = {"life_hours": 10}
    assert check_config(config).overlay.life_hours == 10.0
    del config["provider"]["vast"]
    assert read_settings(config["provider"], "stellux").rented is None


def test_ray_up_says_what_to_change_in_one_line(tmp_path: Path) -> None:
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run(
        [ray, "up", ROOT / "cluster.yaml", "--yes", "--no-config-cache"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Error: provider.head.address is 'YOUR-VPS'" in done.stderr
    assert "Traceback" not in done.stderr


def test_ray_up_takes_the_head_as_it_is(tmp_path: Path) -> None:
    config = yaml_config(socket=str(tmp_path / "s"))
    config["provider"]["head"]["key"] = "~/.ssh/id_mine"
    resolved = _bootstrap_config(config, no_config_cache=True)
    provider = _get_node_provider(resolved["provider"], resolved["cluster_name"], use_cache=False)
    assert isinstance(provider, StelluxNodeProvider)
    # As `ray up` computes it.
    told = resolved["available_node_types"]["head"]["node_config"]
    new = hash_launch_conf(told, resolved["auth"])
    assert not _should_create_new_head(HEAD, new, "head", provider)

    on_head = head_config(resolved, HeadMachine(address="head.example"))
    assert "id_mine" not in json.dumps(on_head)
    assert "socket" not in on_head["provider"]
    validate_config(prepare_config(on_head))
    there = StelluxNodeProvider(on_head["provider"], on_head["cluster_name"])
    assert there.node_tags(HEAD) == provider.node_tags(HEAD)
    assert there.non_terminated_nodes({"ray-node-type": "head"}) == [HEAD]


def test_what_it_names_exists() -> None:
    for path in re.findall(r"tune_app/[\w/]+\.py", TEXT):
        assert (ROOT / path).is_file(), path
    for module in re.findall(r"python -m ([\w.]+)", TEXT):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module
