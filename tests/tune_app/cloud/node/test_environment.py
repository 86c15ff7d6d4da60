"""The environment's script, with uv itself and packages that are made here: no index is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[4]
NODE = Path("tune_app/cloud/node")
UV = Path(sys.executable).parent / "uv"
UV_VERSION = "0.13.9"
STAMP = "stellux-environment"

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not UV.exists(), reason="no uv; pip install -r requirements-dev.txt"),
]


def wheel(folder: Path, name: str, version: str, module: str) -> str:
    """Make a wheel of one module; its line in a lock."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for member, text in members.items():
        digest = hashlib.sha256(text.encode()).digest()
        code = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        record += f"{member},sha256={code},{len(text.encode())}\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), f"{record}{info}/RECORD,,\n")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Machine:
    """A folder that plays a machine: the source, the root, and programs that come first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.code = folder / "code"
        self.wheels = folder / "wheels"
        self.programs = folder / "programs"
        for made in (self.code / NODE, self.wheels, self.programs, self.root / "bin"):
            made.mkdir(parents=True)
        self.script = self.code / NODE / "environment.sh"
        shutil.copy(PROJECT / NODE / "environment.sh", self.script)
        self.ray("2.60.0")
        self.python(platform.python_version())
        (self.root / "bin" / "uv").symlink_to(UV)

    @property
    def env(self) -> Path:
        return self.root / "env"

    def ray(self, version: str, lines: str = "") -> None:
        """Have a lock with this Ray."""
        ours = wheel(self.wheels, "ray", version, f"__version__ = {version!r}\n")
        other = wheel(self.wheels, "another", "1.0", "ANSWER = 42\n")
        (self.code / "requirements.lock").write_text(ours + other + lines)

    def python(self, version: str) -> None:
        (self.code / NODE / "python-version").write_text(f"{version}\n")

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def slow_uv(self, seconds: float) -> None:
        """A uv that takes this much longer to install."""
        (self.root / "bin" / "uv").unlink()
        path = self.root / "bin" / "uv"
        path.write_text(f'#!/bin/sh\n[ "$1" != pip ] || sleep {seconds}\nexec {UV} "$@"\n')
        path.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        path = f"{self.programs}:{Path(sys._base_executable).parent}:{os.environ['PATH']}"  # type: ignore[attr-defined]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("UV_")}
        return subprocess.Popen(
            ["sh", str(self.script), "--root", str(self.root), "--no-packages"],
            env=kept
            | {
                "PATH": path,
                "UV_NO_INDEX": "1",
                "UV_OFFLINE": "1",
                "UV_FIND_LINKS": str(self.wheels),
                "UV_PYTHON_DOWNLOADS": "never",
                "STELLUX_UV_WHEEL": "file:///nowhere",
            }
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *, succeeds: bool = True, **environment: str) -> str:
        with self.start(**environment) as process:
            said, _ = process.communicate(timeout=60)
        assert (process.returncode == 0) == succeeds, said
        return said

    def target(self) -> str:
        return str(self.env.readlink())

    def environments(self) -> set[str]:
        return {path.name for path in self.root.glob("env-*")}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    yield Machine(tmp_path)


def pins(path: Path) -> dict[str, str]:
    """The versions that a file of requirements pins, by the packages' normal names."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^ ;\n]+)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_lock_has_what_the_requirements_pin_with_hashes_and_names_no_host() -> None:
    lock = PROJECT / "requirements.lock"
    locked = pins(lock)
    asked = pins(PROJECT / "requirements.txt")
    assert {name: locked.get(name) for name in asked} == asked
    assert {"grpcio", "nvidia-cublas", "triton"} <= set(locked), "what the pinned ones need"
    entries = lock.read_text().replace("\\\n", " ").splitlines()
    for entry in (entry for entry in entries if not entry.startswith("#")):
        assert re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==\S+( +--hash=sha256:[0-9a-f]{64})+", entry)
    assert len(locked) == sum(not entry.startswith("#") for entry in entries)
    assert "://" not in lock.read_text()


def test_tests_and_machines_use_the_same_uv_and_an_exact_python() -> None:
    script = (PROJECT / NODE / "environment.sh").read_text()
    assert pins(PROJECT / "requirements-dev.txt")["uv"] == UV_VERSION
    assert f"UV_VERSION={UV_VERSION}\n" in script
    python = (PROJECT / NODE / "python-version").read_text()
    assert re.fullmatch(r"3\.\d+\.\d+\n", python)


def test_builds_what_the_lock_pins_and_accounts_for_it(machine: Machine) -> None:
    said = machine.run(STELLUX_DOLLARS_PER_GB="0.02", STELLUX_DOLLARS_PER_HOUR="0.3")

    answer = subprocess.check_output(
        [machine.env / "bin/python", "-c", "import another, ray; print(ray.__version__)"], text=True
    )
    assert answer == "2.60.0\n"
    assert f"Python {platform.python_version()}, Ray 2.60.0" in said
    took = json.loads((machine.root / "setup.json").read_text())
    assert 0 < took["seconds"] < 60
    assert took["gigabytes"] >= 0
    price = took["gigabytes"] * 0.02 + took["seconds"] / 3600 * 0.3
    assert took["dollars"] == pytest.approx(price, abs=1e-4)
    assert not (machine.root / "uv-cache").exists()


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.run()
    before = {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")}
    (machine.root / "bin" / "uv").unlink()

    assert "is current" in machine.run()

    del before[machine.root / "bin"], before[machine.root / "bin" / "uv"]
    assert {path: path.lstat().st_mtime_ns for path in before} == before


def test_another_lock_makes_another_environment_and_one_before_it_stays(machine: Machine) -> None:
    links = []
    for version in ("2.60.0", "2.60.1", "2.60.2"):
        machine.ray(version)
        machine.run()
        links.append(machine.target())

    assert len(set(links)) == 3
    assert machine.environments() == set(links[1:])

    machine.ray("2.60.1")
    assert "built before" in machine.run()
    assert machine.target() == links[1]


def test_a_killed_set_up_starts_clean_and_leaves_the_old_environment(machine: Machine) -> None:
    machine.run()
    old = machine.target()
    machine.ray("2.60.1")
    machine.slow_uv(1.5)

    with machine.start() as process:
        while len(machine.environments()) < 2:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    (cut_off,) = machine.environments() - {old}
    (machine.root / cut_off / "left-behind").touch()
    assert machine.target() == old

    machine.run()
    assert machine.target() == cut_off
    assert not (machine.env / "left-behind").exists()


def test_what_a_killed_script_left_running_is_waited_for(machine: Machine) -> None:
    machine.slow_uv(1.5)
    with machine.start() as process:
        while not machine.environments():
            time.sleep(0.01)
        time.sleep(0.3)
        process.kill()
        said = machine.run()
    assert "waiting for another set-up" in said
    assert (machine.env / STAMP).exists()


def test_of_two_at_once_one_waits_and_builds_nothing(machine: Machine) -> None:
    machine.slow_uv(1)
    with machine.start() as one, machine.start() as other:
        words = [process.communicate(timeout=60)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sorted("is ready" in said for said in words) == [False, True]
    assert sum("waiting" in said and "current" in said for said in words) == 1


def test_a_package_of_another_hash_is_refused(machine: Machine) -> None:
    wheel(machine.wheels, "another", "1.0", "ANSWER = 43\n")
    said = machine.run(succeeds=False)
    assert "cannot install requirements.lock" in said
    assert "Hash mismatch for `another==1.0`" in said
    assert not machine.env.exists()


def test_too_small_a_disk_is_told_before_anything_is_fetched(machine: Machine) -> None:
    machine.program("df", "echo head; echo /dev/x 9 1 3000000 1% /")
    said = machine.run(succeeds=False)
    assert "has 3 GB free and the environment needs 8 GB" in said
    assert not machine.environments()


def test_a_python_that_cannot_be_had_is_told(machine: Machine) -> None:
    machine.python("3.99.1")
    said = machine.run(succeeds=False)
    assert "cannot install Python 3.99.1" in said
    assert not machine.env.exists()


def test_an_environment_of_another_python_is_not_taken(machine: Machine) -> None:
    (machine.root / "bin" / "uv").unlink()
    path = machine.root / "bin" / "uv"
    path.write_text(
        f"""#!/bin/sh
case $1 in
  --version) echo uv {UV_VERSION} ;;
  venv) shift; for folder; do :; done; {UV} venv -q --no-project "$folder" ;;
  *) exec {UV} "$@" ;;
esac
"""
    )
    path.chmod(0o755)
    machine.python("3.99.1")
    said = machine.run(succeeds=False)
    assert f"Python and Ray {platform.python_version()} 2.60.0" in said
    assert "3.99.1 2.60.0 exactly" in said
    assert not machine.env.exists()


def given(machine: Machine, ray: str) -> None:
    """An image's own environment."""
    machine.ray(ray)
    machine.run()
    (machine.env / STAMP).write_text("given\n")
    machine.env.resolve().rename(machine.root / "image")
    machine.env.unlink()
    machine.env.symlink_to("image")


def test_an_environment_that_was_given_is_taken_if_it_fits(machine: Machine) -> None:
    given(machine, "2.60.0")
    (machine.code / "requirements.lock").write_text("ray==2.60.0\nanother==2.0\n")
    assert "was given" in machine.run()
    assert machine.target() == "image"


def test_an_environment_that_was_given_with_another_ray_is_refused(machine: Machine) -> None:
    given(machine, "2.60.1")
    (machine.code / "requirements.lock").write_text("ray==2.60.0\n")
    said = machine.run(succeeds=False)
    assert "2.60.1, but Ray needs the head's" in said
    assert "2.60.0 exactly" in said


def test_a_folder_that_nobody_marked_is_left_alone(machine: Machine) -> None:
    machine.env.mkdir()
    (machine.env / "mine").touch()
    assert "neither a link nor marked" in machine.run(succeeds=False)
    assert (machine.env / "mine").exists()


def test_a_wheel_of_uv_with_another_hash_is_not_run(machine: Machine, tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("unzip") is None:
        pytest.skip("no curl or no unzip; apt-get install curl unzip")
    (machine.root / "bin" / "uv").unlink()
    false = tmp_path / "uv.whl"
    false.write_bytes(b"not uv")
    said = machine.run(succeeds=False, STELLUX_UV_WHEEL=false.as_uri())
    assert f"has the sha256 {hashlib.sha256(b'not uv').hexdigest()}" in said
    assert not any((machine.root / "bin").iterdir())


def test_without_uv_and_without_its_wheel_the_remedy_is_told(machine: Machine) -> None:
    if shutil.which("curl") is None or shutil.which("unzip") is None:
        pytest.skip("no curl or no unzip; apt-get install curl unzip")
    (machine.root / "bin" / "uv").unlink()
    said = machine.run(succeeds=False)
    assert f"put uv {UV_VERSION} at {machine.root}/bin/uv" in said
