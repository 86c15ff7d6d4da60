"""The switch that ends an instance which nobody watches: the real script, on a clock of its own.

It runs with the market's own part against the API on loopback. `sleep` and `ssh` are played: the
first moves the clock, the second answers as the head's keeper would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.vast.fake_vast import FakeVast, own_key
from tune_app.cloud.overlay.dead_mans_switch import SILENT_S, switch, without_comments
from tune_app.cloud.overlay.heartbeat import Heartbeat
from tune_app.cloud.overlay.worker_script import filled
from tune_app.cloud.vast.ending import ending

BEGAN = 1_000
MINUTES_15 = 900
SLEEP = """\
#!/bin/sh
read -r now _ <{folder}/uptime
now=$((${{now%.*}} + $1))
echo "$now.25 9" >{folder}/uptime
if [ -e {folder}/gone ] || [ $now -ge {until} ]; then kill -9 $PPID; fi
"""
SSH = """\
#!/bin/sh
read -r now _ <{folder}/uptime
[ "${{now%.*}}" -gt {silent_from} ] || echo {age}
"""


@dataclass
class Container:
    """A worker's container, whose clock stands at `BEGAN` as it starts."""

    folder: Path
    vast: FakeVast
    contract: int = 0
    tools: tuple[str, ...] = ("curl", "wget", "python3")
    """Of those that an image may lack."""

    def __post_init__(self) -> None:
        bin_ = self.folder / "bin"
        bin_.mkdir()
        for name in ("timeout", "sh", "cat", *self.tools):
            found = sys.executable if name == "python3" else shutil.which(name)
            if found is None:
                pytest.skip(f"no {name} on this machine")
            (bin_ / name).symlink_to(found)

    @property
    def now(self) -> int:
        return int(float((self.folder / "uptime").read_text("ascii").split()[0]))

    def run(
        self, *, silent_from: int, age: str = "0", until: int = 5_000, step: int = 200, **env: str
    ) -> int:
        """Runs the switch until the container has ended; the time on its clock then.

        Args:
            silent_from: when the head answers for the last time.
            age: the seconds since the daemon's sign of life, as the head tells them.
            until: when the host itself ends.
            step: seconds between two looks; users' workers have 30.
        """
        (self.folder / "uptime").write_text(f"{BEGAN}.25 9\n", "ascii")
        for name, text in (("sleep", SLEEP), ("ssh", SSH)):
            path = self.folder / "bin" / name
            path.write_text(
                text.format(folder=self.folder, silent_from=silent_from, age=age, until=until)
            )
            path.chmod(0o755)
        text = filled(
            switch(ending(self.vast.url)),
            {
                "FOLDER": str(self.folder),
                "NETWORK": "127.77.0",
                "HEAD": "1",
                "PULSE": "20108",
                "SILENT": str(SILENT_S),
                "LIFE": "259200",
                "SHUT": f"echo shut >>{self.folder}/shut",
            },
        )
        text = text.replace("/proc/uptime", f"{self.folder}/uptime")
        text = text.replace("/tmp/switch.log", f"{self.folder}/log")
        # Where it would go on by itself, the test waits for it.
        subprocess.run(
            ["sh", "-c", f"{text}wait"],
            check=False,
            timeout=30,
            env={
                "PATH": str(self.folder / "bin"),
                "CONTAINER_ID": str(self.contract),
                "CONTAINER_API_KEY": own_key(self.contract),
                "STELLUX_STEP_S": str(step),
                **env,
            },
        )
        return self.now


@pytest.fixture
def vast() -> Any:
    with FakeVast() as fake:
        yield fake


def made(vast: FakeVast, folder: Path, **more: Any) -> Container:
    """A container of an instance that the market has; its processes end with the instance."""
    _, answer = vast.answer(
        "PUT",
        "/api/v0/asks/1/",
        {},
        {"price": 0.3, "disk": 40, "label": "stellux/mine/gpu/2/r.1"},
        vast.key,
    )
    vast.tick()
    vast._stopped = lambda _: (folder / "gone").touch()
    return Container(folder, vast, contract=answer["new_contract"], **more)


def asked(vast: FakeVast) -> list[str]:
    """What the instance asked of the market."""
    return [
        f"{endpoint} {body.get('state', '')}".strip()
        for endpoint, body in vast.bodies
        if endpoint in {"destroy", "label"}
    ]


def test_a_lost_head_ends_the_instance_within_fifteen_minutes(
    vast: FakeVast, tmp_path: Path
) -> None:
    container = made(vast, tmp_path)
    ended = container.run(silent_from=1_100, step=30)
    assert vast.alive() == []
    assert asked(vast) == ["destroy"]
    assert MINUTES_15 - 130 <= ended - 1_100 <= MINUTES_15
    assert not (tmp_path / "shut").exists()


@pytest.mark.parametrize("tool", ["wget", "python3"])
def test_an_image_may_lack_curl(vast: FakeVast, tmp_path: Path, tool: str) -> None:
    container = made(vast, tmp_path, tools=(tool,))
    container.run(silent_from=BEGAN)
    assert (asked(vast), vast.alive()) == (["destroy"], [])


def test_where_the_key_may_only_stop_the_instance_stops(vast: FakeVast, tmp_path: Path) -> None:
    vast.own_key_may = {"stop"}
    container = made(vast, tmp_path)
    ended = container.run(silent_from=BEGAN)
    assert asked(vast) == ["destroy", "label stopped"]
    (left,) = vast.alive()  # its storage bills until somebody destroys it
    assert left.stopped
    assert ended - BEGAN <= SILENT_S + 400


def test_where_the_market_fails_nothing_runs_on_and_it_is_asked_again(
    vast: FakeVast, tmp_path: Path
) -> None:
    container = made(vast, tmp_path)
    for _ in range(4):
        vast.say("destroy", 500, b"<html>")
        vast.say("label", 500, b"<html>")
    container.run(silent_from=BEGAN)
    assert asked(vast) == ["destroy", "label stopped"] * 4 + ["destroy"]
    assert (tmp_path / "shut").read_text().split() == ["shut"] * 4
    assert vast.alive() == []


def test_a_heartbeat_keeps_it_and_an_old_one_does_not(vast: FakeVast, tmp_path: Path) -> None:
    container = made(vast, tmp_path)
    assert container.run(silent_from=10_000, age="20", until=2_500) >= 2_500
    assert asked(vast) == []
    # The head answers, but its daemon has not been at work for long.
    ended = container.run(silent_from=10_000, age="900", until=4_000)
    assert (asked(vast), vast.alive()) == (["destroy"], [])
    assert ended - BEGAN <= SILENT_S + 200


def test_an_answer_that_is_none_counts_as_silence(vast: FakeVast, tmp_path: Path) -> None:
    container = made(vast, tmp_path)
    container.run(silent_from=10_000, age="'-5 $(id)'", until=4_000)
    assert vast.alive() == []


def test_what_is_past_its_time_ends_whatever_the_head_says(vast: FakeVast, tmp_path: Path) -> None:
    container = made(vast, tmp_path)
    ended = container.run(silent_from=10_000, STELLUX_LIFE_S="1200")
    assert (asked(vast), vast.alive()) == (["destroy"], [])
    assert 1_200 <= ended - BEGAN <= 1_400


def test_another_key_than_its_own_ends_no_instance(vast: FakeVast, tmp_path: Path) -> None:
    container = made(vast, tmp_path)
    container.run(silent_from=BEGAN, until=2_500, CONTAINER_API_KEY=own_key(77))
    assert len(vast.alive()) == 1
    assert (tmp_path / "shut").exists()


def test_where_there_is_no_instance_nothing_is_begun(tmp_path: Path) -> None:
    text = filled(switch(), {"SHUT": f"touch {tmp_path}/shut", "FOLDER": str(tmp_path)})
    environment = {name: value for name, value in os.environ.items() if "CONTAINER" not in name}
    done = subprocess.run(
        ["sh", "-c", f"{text}wait"],
        env=environment | {"STELLUX_SILENT_S": "0"},
        check=True,
        timeout=5,
    )
    assert done.returncode == 0
    assert not (tmp_path / "shut").exists()


def test_comments_and_indentation_cost_no_room() -> None:
    assert without_comments("# a\n  if x; then\n\n    y # z\n  fi\n") == "if x; then\ny # z\nfi"
    assert "# " not in switch(ending("https://console.vast.ai"))
    with pytest.raises(ValueError, match="expected https://HOST"):
        ending("https://host/'; id; '")


def test_a_heartbeat_counts_from_the_machines_start(tmp_path: Path) -> None:
    now = [100.0]
    sign = Heartbeat(path=tmp_path / "heartbeat", clock=lambda: now[0])
    assert sign.age_s() is None
    sign.beat()
    now[0] += 42.4
    assert sign.age_s() == 42
    now[0] = 5.0  # started again: what is there is of another life
    assert sign.age_s() is None
    (tmp_path / "heartbeat").write_text("")
    assert sign.age_s() is None
