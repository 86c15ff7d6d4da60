"""What keeps a cluster from coming up is told with its remedy, and nothing stays rented."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.lab import why_not
from tests.cluster.stage import Stage, stage
from tests.tune_app.cloud.vast.fake_vast import Fault

pytestmark = pytest.mark.cluster

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def at() -> Iterator[Stage]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with stage() as made:
        yield made
        assert made.instances.failed == []
    assert made.lab.leftovers() == []


def up(at: Stage, edit: Edit = lambda _: None, **shell: Any) -> str:
    """What a `ray up` that fails says."""
    config = copy.deepcopy(at.config)
    edit(config)
    at.write_config(config)
    done = at.at_laptop("ray", "up", "-y", "/root/cluster.yaml", check=False, **shell)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert at.vast.instances == {}
    return done.stdout + done.stderr


def set_to(value: Any, *way: str) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        section = config["provider"]
        for name in way[:-1]:
            section = section[name]
        section[way[-1]] = value

    return edit


def test_without_a_key_nothing_is_begun(at: Stage) -> None:
    assert "no Vast.ai key: set VAST_API_KEY, or write it into" in up(at, key=None)
    assert not at.head.path("/opt/stellux/code").exists()


def test_a_head_that_is_not_there_is_named(at: Stage) -> None:
    said = up(at, set_to("198.51.100.77", "head", "address"))
    assert "the head 198.51.100.77 cannot be reached" in said
    assert "try: ssh -p 22 admin@198.51.100.77" in said


def test_a_head_whose_key_is_not_known_is_not_spoken_to(at: Stage) -> None:
    known = at.laptop.path("/root/.ssh/known_hosts")
    text = known.read_text("utf-8")
    known.write_text("", "utf-8")
    try:
        assert "its host key is not known here; log in once by hand" in up(at)
    finally:
        known.write_text(text, "utf-8")


def test_a_wrong_key_is_refused_and_not_kept(at: Stage) -> None:
    said = up(at, key="another-key")
    assert "the key" in said
    assert "https://cloud.vast.ai/manage-keys/" in said
    assert "another-key" not in said
    assert not at.head.path("/etc/stellux/vast_key").exists()


def test_no_offer_under_the_cap_says_which_cap_to_move(at: Stage) -> None:
    rules = ("vast", "node_types", "gpu-worker", "rules", "max_dollars_per_hour")
    said = up(at, set_to(0.05, *rules))
    assert "no offer of 19 meets the caps" in said
    assert "raise max_dollars_per_hour to 0.20" in said


def test_a_head_whose_disk_is_full_is_told_so(at: Stage) -> None:
    at.head.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", "/opt/stellux"])
    try:
        said = up(at)
    finally:
        at.head.run(["umount", "/opt/stellux"])
    assert "No space left on device" in said
    assert "free space on the disk of the head 198.51.100.10, or use a larger one" in said


def test_an_image_that_never_loads_is_given_back_and_its_machine_avoided(at: Stage) -> None:
    config = copy.deepcopy(at.config)
    config["provider"]["vast"]["patience"]["loading"] = 10.0
    at.write_config(config)
    at.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
    at.vast.fail("create", Fault.NEVER_LOADS)
    at.head.path("/home/stellux/ask.py").write_text(
        "import ray\nray.init(address='auto')\nf = ray.remote(num_cpus=1)(lambda: 1)\n"
        "print('answer', ray.get(f.remote()))\n",
        "utf-8",
    )
    asked = at.at_head("python ask.py")
    assert "answer 1" in asked
    first, second = sorted(at.vast.instances)
    assert at.vast.instances[first].destroyed is not None
    assert at.vast.instances[second].destroyed is None
    said = at.at_laptop(
        "python", "-m", "tune_app.cloud", "status", "--cluster", "/root/cluster.yaml"
    ).stdout
    assert "avoided      machine 1001: " in said
    assert "loading" in said
    at.at_laptop("ray", "down", "-y", "/root/cluster.yaml")
    assert at.vast.alive() == []


def test_ray_down_of_a_released_head_says_so_and_ends(at: Stage) -> None:
    began = time.monotonic()
    at.at_laptop("ray", "down", "-y", "/root/cluster.yaml")
    assert time.monotonic() - began < 60
