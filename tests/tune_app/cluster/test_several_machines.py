"""A sweep on machines that share nothing but a store: each has a file system view of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.cluster import LocalCluster
from tests.patience import PATIENCE_S
from tests.tune_app.real_sweeps import INJECTION, Sweeps, facts
from tests.tune_app.stores.servers import SSHD, Sshd
from tune_app.journal.records import FailureClass

pytestmark = pytest.mark.sweeps

RULES = ("--scheduler", "none", "--kill-rule", "off", "--checkpoint-every", "1")

SPACE = """
AXES = {"glu_expansion": [2.0, 2.66, 3.0]}
FIXED = {
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 10_240, "batch_size": 4, "evaluations": 5, "evaluation_bytes": 4_096,
    "learning_rate": 1e-2, "corpus": %r,
}
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.3}
"""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What the driver's machine has that no other sees, and how the others are started."""

    sweeps: Sweeps
    hidden: Path
    """Of the driver: results, corpus, cache."""
    caches: Path
    """A folder a worker, `NUMBER`, seen by all for the tests' sake."""

    def around(self, number: int) -> Sequence[str]:
        """A mount namespace without the driver's folder, a host name and a cache of its own."""
        script = (
            f"mount -t tmpfs -o size=1m none '{self.hidden}' && hostname worker-{number} && "
            f"export STELLUX_CACHE='{self.caches}/{number}' && exec \"$@\""
        )
        return ("unshare", "--mount", "--uts", "sh", "-c", script, "sh")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path) -> Machines:
    tried = subprocess.run(
        ["unshare", "--mount", "--uts", "sh", "-c", "mount -t tmpfs none /mnt && hostname x"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip("no namespaces can be made here: that takes root")
    folder = tmp_path_factory.mktemp("machines")
    hidden = folder / "driver"
    corpus = hidden / "corpus"
    corpus.mkdir(parents=True)
    for path in small_corpus.iterdir():
        (corpus / path.name).write_bytes(path.read_bytes())
    sweeps = Sweeps(hidden, corpus, hidden / "cache")
    sweeps.space.write_text(SPACE % str(corpus))
    return Machines(sweeps=sweeps, hidden=hidden, caches=folder / "caches")


@pytest.fixture(scope="module")
def local(machines: Machines) -> None:
    code, output = machines.sweeps.run("local", *RULES)
    assert code == 0, output


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    if SSHD is None:
        pytest.skip("no sshd; apt-get install openssh-server")
    with Sshd(tmp_path / "sshd") as server:
        yield server


def to_join(cluster: LocalCluster) -> dict[str, str]:
    """What the environment of a driver needs, beside the address."""
    return {name: cluster.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}


def observed(journal: object) -> list[object]:
    records = facts(journal)["observations"]  # type: ignore[arg-type]
    return sorted(records, key=lambda record: (record["cell"], record["tokens"]))


def test_workers_that_come_late_get_their_tokens_by_the_store_alone(
    machines: Machines, local: None, server: Sshd
) -> None:
    sweeps = machines.sweeps
    with LocalCluster(workers=0, environment={}, around=machines.around) as cluster:
        process = sweeps.start(
            *("far", *RULES, "--address", cluster.address, "--cells-at-once", "2"),
            environment={"STELLUX_CHECKPOINTS": server.url(), **to_join(cluster)},
        )
        time.sleep(30)
        assert process.poll() is None, process.communicate()[0]
        cluster.add_node()
        cluster.add_node()
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "have been waiting for a machine" in output
    assert "`ray status` shows" in output
    assert "of tokens to sftp://" in output
    assert "Traceback" not in output
    with sweeps.journal("far") as journal, sweeps.journal("local") as reference:
        assert observed(journal) == observed(reference)
        assert not journal.failures()
        hosts = {a.host.partition("/")[0] for c in journal.cells() for a in journal.attempts(c.key)}
        assert hosts <= {"worker-2", "worker-3"}
    for host in hosts:
        cache = machines.caches / host.removeprefix("worker-")
        assert len(list(cache.glob("byte_level_bpe-512-*/manifest.json"))) == 1
    kept = sorted(path.name for path in server.store.iterdir())
    assert [name.partition("-")[0] for name in kept] == ["far", "tokens"]
    assert not list(server.store.rglob("*.tmp"))


BROKEN = "raise ModuleNotFoundError(\"No module named 'flash'\")"


def test_a_machine_that_lacks_a_package_is_named_and_costs_no_cell(
    machines: Machines, local: None, server: Sshd
) -> None:
    """Also: what only the driver's machine sees is refused before anything starts."""
    sweeps = machines.sweeps
    broken = machines.caches / "broken"
    broken.mkdir(parents=True)
    (broken / "sitecustomize.py").write_text(INJECTION % BROKEN)

    def around(number: int) -> Sequence[str]:
        path = ("env", f"PYTHONPATH={broken}") if number == 3 else ()
        return (*machines.around(number), *path)

    with LocalCluster(workers=2, environment={}, around=around) as cluster:
        rules = (*RULES, "--address", cluster.address)
        code, output = sweeps.run("refused", *rules, environment=to_join(cluster))
        assert code != 0
        text = " ".join(output.replace("│", " ").split())
        assert "which worker-2, worker-3 in the cluster cannot see; use a store" in text
        assert "Traceback" not in output
        code, output = sweeps.run(
            *("broken", *rules, "--cells-at-once", "2", "--checkpoints", server.url()),
            environment=to_join(cluster),
        )
    assert code == 0, output
    with sweeps.journal("broken") as journal, sweeps.journal("local") as reference:
        assert observed(journal) == observed(reference)
        failures = journal.failures()
        assert failures
        assert {failure.kind for failure in failures} == {FailureClass.HOST}
        hosts = {failure.host.partition("/")[0] for failure in failures}
        assert hosts == {"worker-3"}, failures
        assert not any(failure.ended for failure in failures)
        named = len({failure.cell for failure in failures}) > 1
    assert ("cells failed before their first step" in output) == named
