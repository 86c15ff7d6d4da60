"""What a running cluster shows: to the Internet, to who has no token, and to what Ray runs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.lab import why_not
from tests.cluster.machine import REPOSITORY, Machine
from tests.cluster.port_scan import PYTHON, scanned
from tests.cluster.stage import KEY, Stage, stage
from tests.patience import PATIENCE_S
from tests.tune_app.cloud.daemon import raids
from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.ray_arguments import DASHBOARD_PORT

pytestmark = pytest.mark.cluster

LOGIN_PORT, LINKS_PORT, GCS_PORT = 22, 7722, 6379
RAY_S = {GCS_PORT, Ports(HEAD).node_manager, Ports(HEAD).object_manager}
"""What Ray's head listens at on all addresses."""

CONNECT = """\
import ray
ray.init(address="127.77.0.1:6379", _node_ip_address="127.77.0.1", log_to_driver=False)
print("a driver", len(ray.nodes()))
"""

# What the task may open of all files below these folders, by what is in them.
LOOK = """\
import json, os, sys

def look(folders, key, checkout):
    found = {"host": os.uname().nodename, "user": os.getuid(), "seen": 0}
    found |= {"private keys": [], "the account's key": [], "databases": []}
    for folder in folders:
        for place, below, names in os.walk(folder):
            if place == checkout:
                below.clear()
                continue
            for path in [os.path.join(place, name) for name in names]:
                try:
                    if not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
                        continue
                    text = open(path, "rb").read()
                except OSError:
                    continue
                found["seen"] += 1
                if b"PRIVATE KEY-----" in text[:200]:
                    found["private keys"].append(path)
                if key.encode() in text:
                    found["the account's key"].append(path)
                if text.startswith(b"SQLite format 3"):
                    found["databases"].append(path)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            try:
                text = open(f"/proc/{pid}/{name}", "rb").read()
            except OSError:
                continue
            if key.encode() in text or b"PRIVATE KEY-----" in text:
                found["the account's key"].append(f"/proc/{pid}/{name}")
    return found

def given():
    # Spelled backwards, or it would be found here.
    return sys.argv[3:], sys.argv[1][::-1], sys.argv[2]
"""
ON_HEAD = """
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address="auto", log_to_driver=False)
(head,) = [one["NodeID"] for one in ray.nodes() if one["NodeManagerAddress"] == "127.77.0.1"]

def on_head(function, *arguments):
    task = ray.remote(num_cpus=0, scheduling_strategy=On(head, soft=False))(function)
    print(json.dumps(ray.get(task.remote(*arguments))))
"""
PINNED = LOOK + ON_HEAD + "on_head(look, *given())\n"
HERE = LOOK + "print(json.dumps(look(*given())))\n"
LEAVE = """\
import json, os

def leave(names):
    left = {}
    for name in names:
        path = os.path.expanduser(f"~/{name}")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a") as file:
                file.write("# left here")
            left[name] = "written"
        except OSError as error:
            left[name] = os.strerror(error.errno)
    return left
"""
READ_BY_LOGINS = (
    *(
        ".bash_profile",
        ".bashrc",
        ".profile",
        ".ssh/authorized_keys",
        ".ssh/rc",
        ".pam_environment",
    ),
    *(
        ".local/lib/python3.11/site-packages/a.pth",
        ".local/bin/ls",
        ".config/systemd/user/a.service",
    ),
    *(".stellux/sweep.json", ".cache/a", "runs/a", "ray_bootstrap_config.yaml", "a.py"),
)
RAID_S = 12.0
RAIDING = (
    f"{inspect.getsource(raids)}\nimport json\n{ON_HEAD}"
    f"on_head(raid, '/run/stellux/cloud.sock', 'gpu-worker', {RAID_S})\n"
)
FOLDERS = ("/etc", "/home", "/root", "/run", "/srv", "/tmp", "/var/lib/stellux", "/var/log")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cluster without workers, and a user of the head who is nobody special: ada."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with stage() as made:
        made.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
        made.head.run(["useradd", "--create-home", "ada"])
        try:
            yield made
        finally:
            made.save_logs(tmp_path_factory.mktemp("logs"))
        made.at_laptop("ray", "down", "-y", "/root/cluster.yaml")
        assert made.instances.failed == []
    assert made.lab.leftovers() == []


@pytest.fixture(scope="module")
def stranger(at: Stage) -> Machine:
    """Somebody on the Internet."""
    return at.lab.add("stranger", "198.51.100.66")


@pytest.fixture(scope="module")
def worker(at: Stage) -> Iterator[Machine]:
    """One on which Ray runs, and which stays: its only CPU is taken."""
    holding = at.hold_workers(1)
    yield at.ray_workers()[0]
    holding.kill()


def asked(machine: Machine, user: str, url: str, *words: str) -> int:
    """The status of an HTTP answer."""
    curl = ["curl", "--silent", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"]
    return int(machine.run([*curl, *words, url], user=user, check=False).stdout)


def test_the_internet_sees_the_heads_ssh_servers_alone(at: Stage, stranger: Machine) -> None:
    for seen in (at.head.place.public, at.head.place.public6):
        assert scanned(stranger, seen) == [LOGIN_PORT, LINKS_PORT], seen


def test_where_the_firewall_is_lost_the_token_stands(at: Stage, stranger: Machine) -> None:
    at.head.run(["nft", "flush", "ruleset"])
    try:
        for seen in (at.head.place.public, at.head.place.public6):
            # The scan sees what the firewall hid, in either family.
            assert set(scanned(stranger, seen)) > {LOGIN_PORT, LINKS_PORT, *RAY_S}, seen
        refused = driver(stranger, "root", f"{at.head.address}:{GCS_PORT}")
        assert "a driver" not in refused
    finally:
        at.head.run(["nft", "-f", "/etc/stellux/firewall.nft"])
    assert scanned(stranger, at.head.place.public6) == [LOGIN_PORT, LINKS_PORT]


def driver(machine: Machine, user: str, gcs: str, **variables: str) -> str:
    """What a program says that wants to be a driver of the cluster."""
    text = CONNECT.replace("127.77.0.1:6379", gcs)
    done = machine.run(
        ["timeout", "60", PYTHON, "-c", text], user=user, env=variables, check=False, timeout=90
    )
    return done.stdout + done.stderr


def test_a_driver_without_the_token_is_refused(at: Stage) -> None:
    gcs = f"{address(HEAD)}:{GCS_PORT}"
    token = at.head.path("/home/stellux/.ray/auth_token").read_text("utf-8").strip()
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    for user, given in (("ada", {}), ("ada", wrong), ("stellux", wrong)):
        said = driver(at.head, user, gcs, **given)
        assert "a driver" not in said
        assert "uthenticat" in said, said
        assert token not in said
    # Ray's own user has it in a file.
    assert "a driver" in driver(at.head, "stellux", gcs, RAY_AUTH_MODE="token")


def test_jobs_and_the_dashboard_without_the_token_are_refused(at: Stage) -> None:
    dashboard = f"http://127.0.0.1:{DASHBOARD_PORT}"
    agent = f"http://{address(HEAD)}:{Ports(HEAD).agent_http}/api/job_agent/jobs/"
    token = at.head.path("/home/stellux/.ray/auth_token").read_text("utf-8").strip()
    job = ["-H", "Content-Type: application/json", "-d", '{"entrypoint": "touch /tmp/a-job-ran"}']
    requests: list[tuple[str, list[str]]] = [
        (f"{dashboard}/api/jobs/", []),
        (f"{dashboard}/api/jobs/", job),
        (agent, job),
        (f"{dashboard}/api/cluster_status", []),
        (f"{dashboard}/nodes?view=summary", []),
        (f"{dashboard}/logical/actors", []),
    ]
    for url, words in requests:
        assert asked(at.head, "ada", url, *words) in (401, 403), (url, words)
        wrong = ["-H", f"Authorization: Bearer {'0' * 64}"]
        assert asked(at.head, "ada", url, *words, *wrong) in (401, 403), (url, words)
    assert not at.head.path("/tmp/a-job-ran").exists()
    right = ["-H", f"Authorization: Bearer {token}"]
    for url, words in requests:
        if not words:
            assert asked(at.head, "ada", url, *right) == 200, url


def printed(at: Stage, program: str, user: str) -> dict[str, Any]:
    """What a program on the head prints in its last line."""
    path = at.head.path("/opt/program.py")
    path.write_text(program, "utf-8")
    line = f"python /opt/program.py {KEY[::-1]} {REPOSITORY} {' '.join(FOLDERS)}"
    words = ["bash", "-lc", line if user == "stellux" else line.replace("python", PYTHON, 1)]
    text = at.head.run(words, user=user, timeout=PATIENCE_S).stdout
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def test_a_task_pinned_to_the_head_reads_no_key_and_no_ledger(at: Stage) -> None:
    # As root the same look finds everything, so it looks where it is.
    all_of_it = printed(at, HERE, "root")
    assert "/etc/stellux/vast_key" in all_of_it["the account's key"]
    assert any("/var/lib/stellux/cloud" in path for path in all_of_it["databases"])
    assert len(all_of_it["private keys"]) > 4

    found = printed(at, PINNED, "stellux")
    assert found["host"] == "head"
    assert found["user"] != 0
    assert found["seen"] > 50
    assert found["the account's key"] == []
    assert [path for path in found["databases"] if not path.startswith("/home/stellux/")] == []
    assert found["private keys"] == []


def test_a_task_pinned_to_the_head_leaves_nothing_for_a_login(at: Stage) -> None:
    tried = [*READ_BY_LOGINS, ".ray/a"]
    left = printed(at, f"{LEAVE}{ON_HEAD}on_head(leave, {tried!r})\n", "stellux")
    assert left.pop(".ray/a") == "written"
    assert left == dict.fromkeys(READ_BY_LOGINS, "Read-only file system")
    assert not at.head.path("/home/stellux/.bash_profile").exists()
    # It is the unit that is in its way: a login of the same user may.
    assert printed(at, f"{LEAVE}print(json.dumps(leave(['a'])))\n", "stellux") == {"a": "written"}


def test_the_internet_sees_nothing_of_a_worker(stranger: Machine, worker: Machine) -> None:
    for seen in (worker.place.public, worker.place.public6):
        assert scanned(stranger, seen) == [], seen


@pytest.mark.parametrize(
    ("limits", "most", "refusal"),
    [
        ({"cap_dollars": 50, "max_instances": 2}, 2, "the limit is 2; raise max_instances"),
        # By the lab's prices two fit under it, each with its half an hour and its drain.
        ({"cap_dollars": 0.65, "max_instances": 6}, 2, "raise the cap"),
    ],
    ids=["instances", "dollars"],
)
def test_a_task_pinned_to_the_head_rents_no_more_than_the_cluster_may(
    at: Stage, worker: Machine, limits: dict[str, float], most: int, refusal: str
) -> None:
    # As fast as it can: not even the pace of the API's calls is in its way.
    at.config["provider"]["vast"] |= {**limits, "seconds_between": {}}
    at.write_config()
    at.at_laptop("ray", "up", "--no-restart", "-y", "/root/cluster.yaml")
    before = set(at.vast.instances)
    raid = printed(at, RAIDING, "stellux")
    assert raid["asked"] > 100
    assert raid["rented"], raid["answers"]
    assert set(raid["rented"]) <= set(at.vast.instances) - before
    assert any(refusal in answer for answer in raid["answers"]), raid["answers"]
    assert at.vast.most_at_once() <= most
    assert at.vast.billed() <= at.status().spent <= limits["cap_dollars"]
    assert all(one.is_bid and one.price < 0.4 for one in at.vast.instances.values())
    assert not any(KEY in answer for answer in raid["answers"])
    log = at.head.path("/var/log/units/stellux-cloud.service.log").read_text("utf-8")
    assert "listening at" in log
    assert "a bug" not in log
    for contract in raid["rented"]:
        at.asked(op="destroy", contract=contract, reason="raided")
    at.wait_for(lambda: list(at.instances.machines.values()) == [worker])
