"""Links through a real SSH server: what they carry, what is refused, how broken ones end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.overlay.loopback_overlay import Head, Worker, asked, echo, until
from tune_app.cloud.overlay.addresses import Ports, address
from tune_app.cloud.overlay.links import LinksUnknownError, answering, end_link
from tune_app.cloud.overlay.setup import updater_config
from tune_app.cloud.overlay.verdicts import LinkState
from tune_app.cloud.overlay.watch import LinkWatch
from tune_app.cloud.overlay.worker_script import worker_script
from tune_app.cloud.secrets.ssh_keys import KeyPair, key_file

pytestmark = pytest.mark.services


def as_head(
    worker: Worker, key: Path, known: Path, command: str
) -> subprocess.CompletedProcess[str]:
    """A command on a worker, by the configuration that the head's programs are given."""
    settings = worker.settings
    config = worker.folder / "as_head"
    config.write_text(updater_config(settings, known, key=key, user=settings.link_user), "utf-8")
    where = address(worker.k, settings.network)
    return subprocess.run(
        ["ssh", "-F", config, "-o", "BatchMode=yes", where, command],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
    )


def test_bytes_go_both_ways_and_the_head_comes_in(head: Head, folder: Path) -> None:
    k, there = 2, Ports(2)
    with Worker(head, k, folder) as worker:
        said = worker.start(then='echo "then: ${STELLUX_LINK_KEY-gone} $STELLUX_K"; pwd; umask\n')
        assert said.startswith("then: gone 2\n"), "no key is left in the environment"
        assert str(folder) not in said, "the node's own script starts where it would"
        assert (folder / "k").read_text("ascii") == "2\n", "for programs that the head starts"
        gcs = head.settings.gcs_port
        with echo(address(1, head.settings.network), gcs):
            assert asked(address(1, worker.settings.worker_network), gcs, b"up") == b"heard up\n"
        for port in (there.node_manager, there.object_manager, there.workers[-1]):
            with echo(address(k, worker.settings.worker_network), port):
                got = asked(address(k, head.settings.network), port, b"down")
                assert got == b"heard down\n"
        for name in ("link_key", "store_key", "host_key", "config"):
            assert (folder / name).stat().st_mode & 0o777 == 0o600
        key, known = head.setup.files.updater_key, head.setup.files.known_workers
        done = as_head(worker, key, known, "echo set up")
        assert (done.returncode, done.stdout) == (0, "set up\n"), done.stderr
        other = folder / "another"
        own = f"[{address(k, head.settings.network)}]:{there.sshd}"
        other.write_text(f"{own} {KeyPair.new().public}\n", "utf-8")
        done = as_head(worker, key, other, "true")
        assert done.returncode == 255
        assert "Host key verification failed" in done.stderr
        key_file(folder / "stranger")
        done = as_head(worker, folder / "stranger", known, "true")
        assert done.returncode == 255
        assert "Permission denied" in done.stderr


def test_workers_reach_each_other_through_the_head_only_if_they_are_to(
    head: Head, folder: Path
) -> None:
    apart, port = head.settings, Ports(4).object_manager
    with Worker(head, 3, folder / "c") as alone:
        alone.start()
        done = alone.ssh("-W", f"{apart.network}.4:{port}", "head")
        assert "administratively prohibited" in done.stderr
    with Worker(head, 3, folder / "a") as one, Worker(head, 4, folder / "b") as other:
        for worker in (one, other):
            worker.settings = replace(worker.settings, between_workers=True)
            worker.start(open_files=100)  # and 7 others have 18 ports each
        with echo(address(4, other.settings.worker_network), port):
            assert asked(address(4, one.settings.worker_network), port, b"hi") == b"heard hi\n"


def test_a_worker_may_do_nothing_else(head: Head, folder: Path) -> None:
    with Worker(head, 5, folder) as worker:
        worker.prepare()
        worker.start()
        network = head.settings.network
        for command in (["head", "id"], ["-T", "head"], ["-s", "head", "sftp"]):
            done = worker.ssh(*command)
            assert done.returncode != 0, command
            assert done.stdout == ""
            assert "open failed" in done.stderr
        worker.client().suspend()  # its own ports are free in what follows
        end_link(head.settings, 5)
        for listen in (
            f"{network}.6:{Ports(6).node_manager}",
            f"{network}.1:{Ports(5).node_manager}",
            f"{network}.5:{Ports(5).runtime_env_agent}",
            f"0.0.0.0:{Ports(5).node_manager}",
            f"127.0.0.1:{Ports(5).node_manager}",
        ):
            done = worker.ssh("-N", "-R", f"{listen}:127.0.0.1:9", "head")
            assert done.returncode == 255, listen
            assert "remote port forwarding failed" in done.stderr, listen
        for target in (
            f"127.0.0.1:{head.port}",
            f"{network}.1:{head.port}",
            f"{network}.1:{Ports(6).bell}",
            f"{network}.6:{Ports(6).sshd}",
            f"{network}.6:22",
            "192.0.2.1:80",
        ):
            done = worker.ssh("-W", target, "head")
            assert done.returncode == 255, target
            assert "administratively prohibited" in done.stderr, target


def test_a_revoked_key_is_refused_and_its_open_link_is_ended(head: Head, folder: Path) -> None:
    with Worker(head, 6, folder) as worker:
        worker.start()
        head.setup.revoke(6)
        head.setup.revoke(6)
        until(lambda: not head.is_open(6), lambda: worker.log)
        done = worker.ssh("-W", f"{head.settings.network}.1:{Ports(6).bell}", "head")
        assert done.returncode == 255
        assert "Permission denied" in done.stderr
        old = (folder / "link_key").read_text("ascii")
        # The number is given to another worker: the first one's key still opens nothing.
        worker.prepare()
        assert "Permission denied" in worker.ssh("-N", "head").stderr
        assert worker.start_as is not None
        assert worker.start_as.env["STELLUX_LINK_KEY"] not in old.replace("\n", "")


def test_a_killed_link_comes_back(head: Head, folder: Path) -> None:
    with Worker(head, 7, folder) as worker:
        worker.start()
        (before,) = head.sessions(7)
        worker.client().kill()
        until(lambda: head.sessions(7) - {before}, lambda: worker.log)
        assert before not in head.sessions(7)
        worker.start()
        assert len(head.sessions(7)) == 1, "run once more, it leaves what runs alone"


def test_a_stale_session_is_ended_when_its_worker_dials_again(head: Head, folder: Path) -> None:
    with Worker(head, 8, folder / "a") as first, Worker(head, 8, folder / "b", again=1) as second:
        first.start()
        (stale,) = head.sessions(8)
        loop = int((folder / "a" / "link.pid").read_text("ascii"))
        client = first.client()
        os.kill(loop, signal.SIGSTOP)
        client.suspend()  # the session does not notice: nobody closes the connection
        second.start_as = first.start_as
        script = worker_script(
            second.settings,
            8,
            head_public=KeyPair.parse(head.setup.files.host_key.read_text()).public,
            updater_public=KeyPair.parse(head.setup.files.updater_key.read_text()).public,
        )
        second.start(script=script, wait=False)
        until(lambda: head.sessions(8) - {stale}, lambda: second.log)
        assert stale not in head.sessions(8)
        assert head.is_open(8)


def test_a_stopped_link_is_a_stall_and_a_closed_one_a_loss(head: Head, folder: Path) -> None:
    with Worker(head, 9, folder) as worker:
        worker.start()
        watch = LinkWatch.of(head.settings, lambda: [9], answer_s=0.5)
        assert watch.step()[9].state is LinkState.OPEN
        client = worker.client()
        client.suspend()
        verdict = watch.step()[9]
        assert verdict.state is LinkState.STALLED, verdict.reason
        assert watch.link_up(9) is True
        assert answering(head.settings, [9], timeout_s=0.2) == frozenset()
        client.resume()
        assert watch.step()[9].state is LinkState.OPEN
        worker.stop()
        until(lambda: not head.is_open(9), lambda: worker.log)
        assert watch.step()[9].state is LinkState.CLOSED
        assert watch.link_up(9) is False


def test_a_head_with_another_host_key_is_not_dialled(head: Head, folder: Path) -> None:
    with Worker(head, 2, folder) as worker:
        worker.prepare()
        public = KeyPair.new().public
        script = worker_script(worker.settings, 2, head_public=public, updater_public=public)
        worker.start(script=script, wait=False)
        until(lambda: "Host key verification failed" in worker.log, lambda: worker.log)
        time.sleep(0.3)
        assert not head.is_open(2)


def test_what_is_no_link_is_not_ended(head: Head) -> None:
    with echo(address(4, head.settings.network), Ports(4).node_manager):
        with pytest.raises(LinksUnknownError, match="end it by hand"):
            end_link(head.settings, 4)
        assert asked(address(4, head.settings.network), Ports(4).node_manager, b"x") == b"heard x\n"
