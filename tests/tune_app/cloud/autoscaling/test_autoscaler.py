"""Ray's autoscaler v2, its own code, over the provider and a real daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig, InstanceReconcileConfig
from ray.core.generated.autoscaler_pb2 import NodeStatus

from tests.tune_app.cloud.autoscaling.ray_autoscaler import HEAD, RayCluster, Ticker, ray_cluster
from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.cloud.vast.fake_vast import Fault


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path) as made:
        made.store.node("head", HEAD)
        yield made


def with_worker(cluster: RayCluster) -> Ticker:
    """An autoscaler whose one worker has joined."""
    ray = cluster.autoscaler()
    cluster.store.waiting = 1
    ray.until(lambda: len(cluster.alive()) == 1)
    cluster.store.waiting = 0
    cluster.store.node("worker", cluster.alive()[0])
    ray.until(lambda: ray.states()["gpu-worker RAY_RUNNING"] == 1)
    assert ray.states()["head RAY_RUNNING"] == 1
    return ray


def test_demand_brings_a_worker_and_only_one(cluster: RayCluster) -> None:
    cluster.fake.load_s = 1.0
    ray = with_worker(cluster)
    assert [count for _, count in ray.launched] == [1]
    assert ray.terminated == []
    assert cluster.fake.calls["create"] == 1


def test_a_worker_without_work_is_given_back_after_the_idle_time_out(cluster: RayCluster) -> None:
    ray = with_worker(cluster)
    (worker,) = cluster.alive()
    idle_s = 60 * cluster.config["idle_timeout_minutes"]
    cluster.store.node("worker", worker, idle_s=idle_s - 1)
    assert ray.tick()
    assert cluster.store.drained == []
    cluster.store.node("worker", worker, idle_s=idle_s + 1)
    ray.until(lambda: cluster.alive() == [])
    assert cluster.store.drained == ["worker"]


def test_a_a_dead_raylet_of_the_head_does_not_end_the_head(cluster: RayCluster) -> None:
    ray = with_worker(cluster)
    cluster.store.node("head", HEAD, status=NodeStatus.DEAD)
    assert ray.tick()
    assert ray.terminated == [[HEAD]]  # in the same tick
    errors = ray.adapter.poll_errors()
    assert ["the head head.example is kept" in str(item.__cause__) for item in errors] == [True]
    assert HEAD in ray.provider.non_terminated_nodes({})
    assert cluster.daemon.client.status().closed == ""
    assert len(cluster.alive()) == 1

    # Its raylet is back, under another name, and workers come again.
    del cluster.store.nodes["head"]
    cluster.store.node("head-2", HEAD)
    cluster.store.waiting = 1
    ray.until(lambda: len(cluster.alive()) == 2)


def test_b_a_worker_whose_raylet_is_seen_dead_once_is_ended_and_replaced(
    cluster: RayCluster,
) -> None:
    ray = with_worker(cluster)
    (lost,) = cluster.alive()
    cluster.store.node("worker", lost, status=NodeStatus.DEAD)
    cluster.store.waiting = 1
    assert ray.tick()
    assert ray.terminated == [[lost]]
    cluster.store.node("worker", lost)  # too late
    ray.until(lambda: len(cluster.alive()) == 1 and cluster.alive() != [lost])
    assert cluster.daemon.client.status().ended == {"terminated by Ray": 1}


def test_c_after_a_reboot_a_control_store_that_remembers_ends_live_workers(
    cluster: RayCluster,
) -> None:
    with_worker(cluster)
    # Persisted: the nodes of before the reboot, dead, beside the new head.
    cluster.store.node("head", HEAD, status=NodeStatus.DEAD)
    cluster.store.node("worker", cluster.alive()[0], status=NodeStatus.DEAD)
    cluster.store.node("head-2", HEAD)
    ray = cluster.autoscaler()
    ray.until(lambda: cluster.alive() == [])


def test_c_after_a_reboot_a_fresh_control_store_adopts_live_workers(cluster: RayCluster) -> None:
    with_worker(cluster)
    (worker,) = cluster.alive()
    cluster.store.nodes.clear()
    cluster.store.node("head-2", HEAD)
    cluster.store.waiting = 1
    ray = cluster.autoscaler()
    for _ in range(5):
        assert ray.tick()
    assert ray.states() == {"head RAY_RUNNING": 1, "gpu-worker ALLOCATED": 1}
    cluster.store.node("worker-2", worker)
    cluster.store.waiting = 0
    ray.until(lambda: ray.states()["gpu-worker RAY_RUNNING"] == 1)
    assert (ray.launched, ray.terminated) == ([], [])
    assert cluster.alive() == [worker]


def test_d_a_head_that_does_not_carry_its_id_brings_no_workers(cluster: RayCluster) -> None:
    cluster.store.node("head", "")
    cluster.store.waiting = 1
    ray = cluster.autoscaler()
    for _ in range(5):
        assert ray.tick()
    assert (ray.states(), ray.launched) == ({"head ALLOCATED": 1}, [])
    cluster.store.node("head", HEAD)
    ray.until(lambda: len(cluster.alive()) == 1)
    assert ray.states()["head RAY_RUNNING"] == 1


def test_d_a_head_that_the_provider_does_not_list_is_stopped_by_ray(cluster: RayCluster) -> None:
    cluster.store.node("head", "another-head")
    ray = cluster.autoscaler()
    assert ray.tick()
    assert cluster.store.drained == ["head"]

    cluster.store.drained.clear()
    cluster.store.node("head", HEAD)
    ray = cluster.autoscaler()
    for _ in range(3):
        assert ray.tick()
    assert (ray.states(), cluster.store.drained) == ({"head RAY_RUNNING": 1}, [])


def test_e_a_launch_repeated_under_its_id_while_unanswered_rents_one_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = InstanceReconcileConfig(request_status_timeout_s=0.3)  # type: ignore[arg-type]
    monkeypatch.setattr(AutoscalingConfig, "get_instance_reconcile_config", lambda _: impatient)
    patience = {"http": 0.5, "look": 0.5, "create": 2.0, "settle": 120.0}
    with ray_cluster(tmp_path, patience=patience) as cluster:
        cluster.store.node("head", HEAD)
        cluster.store.waiting = 1
        cluster.fake.late_s = 3_600.0
        cluster.fake.fail("create", Fault.APPEARS_LATE)
        ray = cluster.autoscaler()
        ray.until(lambda: len(ray.launched) == 4)
        assert len(set(ray.launched)) == 1
        assert ray.adapter.poll_errors() == []  # an error would bring a launch of another id

        for instance in cluster.fake.alive():
            instance.listed_from = 0.0
        until(lambda: len(cluster.daemon.client.nodes()) == 1)
        ray.until(lambda: ray.states()["gpu-worker ALLOCATED"] == 1)
        assert len(ray.launched) == 4
        assert len(cluster.alive()) == cluster.fake.calls["create"] == 1


def test_f_a_failed_launch_is_retried_at_every_tick_and_the_daemon_backs_off(
    tmp_path: Path,
) -> None:
    with ray_cluster(tmp_path, patience={"backoff": 600.0, "backoff_most": 600.0}) as cluster:
        cluster.fake.fail("create", *[Fault.UNAVAILABLE] * 3)
        cluster.store.node("head", HEAD)
        cluster.store.waiting = 1
        ray = cluster.autoscaler()
        ray.until(lambda: len(ray.launched) >= 6)
        assert len(set(ray.launched)) >= 6  # each under an id of its own
        assert cluster.fake.calls["create"] == 3  # one launch, which tried three offers

        cluster.daemon.kill()
        text = cluster.daemon.settings.read_text("utf-8")
        cluster.daemon.settings.write_text(text.replace("600.0", "0.01"), "utf-8")
        cluster.daemon.start()
        ray.until(lambda: len(cluster.alive()) == 1)
        assert cluster.fake.calls["create"] == 4


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.REFUSED_500])
def test_while_the_list_fails_the_autoscaler_does_nothing(tmp_path: Path, fault: Fault) -> None:
    # The daemon looks so seldom that each of the autoscaler's lists is asked for anew.
    with ray_cluster(tmp_path, patience={"poll": 600.0}) as cluster:
        cluster.store.node("head", HEAD)
        ray = with_worker(cluster)
        launched = list(ray.launched)
        cluster.store.waiting = 2
        time.sleep(0.1)
        cluster.fake.fail("list", *[fault] * 40)
        assert not any(ray.tick() for _ in range(3))
        assert (ray.launched, ray.terminated) == (launched, [])
        assert len(cluster.alive()) == 1


def test_while_the_daemon_is_away_the_autoscaler_does_nothing(cluster: RayCluster) -> None:
    ray = with_worker(cluster)
    launched = list(ray.launched)
    cluster.store.waiting = 2
    cluster.daemon.kill()
    assert not any(ray.tick() for _ in range(3))
    assert (ray.launched, ray.terminated) == (launched, [])
    cluster.daemon.start()
    ray.until(lambda: len(cluster.alive()) == 3)
    assert ray.terminated == []


def test_what_the_daemon_gave_up_is_replaced(cluster: RayCluster) -> None:
    ray = with_worker(cluster)
    (lost,) = cluster.alive()
    cluster.store.waiting = 1
    cluster.fake.outbid(int(lost))
    del cluster.store.nodes["worker"]
    ray.until(lambda: len(cluster.alive()) == 1 and cluster.alive() != [lost])


def test_a_launch_that_ray_splits_rents_each_worker_once(cluster: RayCluster) -> None:
    ray = cluster.autoscaler()
    assert ray.tick()
    ray.adapter.launch({"gpu-worker": 7}, "one-id")  # in batches of five and two
    until(lambda: len(cluster.alive()) == 7)
    ray.adapter.launch({"gpu-worker": 1}, "one-id")
    until(lambda: not ray.adapter._errors_queue.empty())
    (error,) = ray.adapter.poll_errors()
    assert "has its worker already" in str(error.__cause__)
    assert cluster.fake.calls["create"] == 7
