"""Real Ray on a head and a worker: started, broken, started again."""

from __future__ import annotations

import os
import signal
import stat

import pytest

from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.cloud.node.ray_nodes import RayNodes
from tune_app.cloud.node.head import DIED, STOPPED
from tune_app.cloud.node.processes import mark_of, marked, programs

pytestmark = pytest.mark.sweeps


def test_a_head_and_a_worker_start_break_and_start_again(nodes: RayNodes) -> None:
    # A token that its owner alone may read, and a head that trains nothing.
    first = nodes.start_head()
    token = nodes.home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text("utf-8")
    assert len(secret) >= 32
    assert secret not in nodes.log

    # What was rented wins over what the YAML guessed; the rest of its node type stays.
    given = '{"CPU": 64, "GPU": 1, "special": 3}'
    done = nodes.worker(STELLUX_CPUS="1", RAY_OVERRIDE_RESOURCES=given)
    assert done.returncode == 0, done.stderr
    assert "1 CPUs, as offered" in done.stderr
    told, environment = nodes.query(
        "found = {n['NodeManagerAddress']: n['Resources'] for n in ray.nodes() if n['Alive']}\n"
        "@ray.remote(num_cpus=1)\n"
        "def see():\n"
        "    import os, tune_app\n"
        "    return dict(os.environ)\n"
        "print(json.dumps([found, ray.get(see.remote())]))"
    )
    assert "CPU" not in told["127.77.0.1"]
    worker = told["127.77.0.2"]
    assert (worker["CPU"], worker["GPU"], worker["special"]) == (1, 1, 3)
    # A trial's process has it all, and the project to import.
    assert environment["RAY_health_check_failure_threshold"] == "15"
    assert environment["STELLUX_NODE"] == mark_of(nodes.cluster, 2)

    # The raylet is killed: what stays of that Ray is ended before the next one starts.
    raylet = programs(marked(mark_of(nodes.cluster, 2)))["raylet"]
    os.kill(raylet.pid, signal.SIGKILL)
    until(lambda: raylet.pid not in nodes.processes(2))
    left = nodes.processes(2)
    assert left
    again = nodes.worker(STELLUX_CPUS="1")
    assert again.returncode == 0, again.stderr
    assert not set(left) & set(nodes.processes(2))

    # The GCS is killed: the head ends, with a code that has systemd start it again.
    assert nodes.head is not None
    gcs = programs(marked(mark_of(nodes.cluster, 1)))["gcs_server"]
    os.kill(gcs.pid, signal.SIGKILL)
    assert nodes.head.wait(20) == DIED
    assert "gcs_server" in nodes.log
    assert nodes.processes(1) == []

    # The next start knows nothing of the last, though it may have left its address; it has the
    # same token, and another id. The worker comes back when it is started again.
    assert nodes.start_head() != first
    assert token.read_text("utf-8") == secret
    done = nodes.worker(STELLUX_CPUS="1")
    assert done.returncode == 0, done.stderr
    alive = nodes.query("print(json.dumps([n['Alive'] for n in ray.nodes()]))")
    assert alive == [True, True]

    nodes.head.terminate()
    assert nodes.head.wait(20) == STOPPED
    assert nodes.processes(1) == []
