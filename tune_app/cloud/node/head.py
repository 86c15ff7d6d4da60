"""Ray on the head, in the foreground.

python -m tune_app.cloud.node.head SETTINGS

Nothing of Ray's outlives a start: with the state of an earlier one, the autoscaler would take the
workers that live for dead nodes' and end them; without, it adopts them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from cyclopts import App

from tune_app.cloud.node.link_faults import LinkFault, judged_fault
from tune_app.cloud.node.processes import alive, end_marked, mark_of, marked, programs
from tune_app.cloud.node.sessions import remove_old_sessions
from tune_app.cloud.node.settings import HeadSettings, load_head_settings
from tune_app.cloud.node.starting import RayStartError, ray_environment, start_ray, wait_for
from tune_app.cloud.node.token import ensure_token
from tune_app.cloud.overlay.addresses import HEAD, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.links import links
from tune_app.cloud.overlay.ray_arguments import head_arguments
from tune_app.cloud.overlay.settings import load_overlay_settings
from tune_app.cloud.overlay.setup import OverlayFiles
from tune_app.cloud.overlay.verdicts import LinkVerdict
from tune_app.cloud.overlay.watch import LinkWatch
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.node.head"

STOPPED = 0
DIED = 1
"""Ray did not start, or did not stay."""
LINKS_CAME_BACK = 3
"""All links were gone by a fault of the head's: it is to be started again, as if it had died."""

logger = logging.getLogger(MODULE)  # run as a command, __name__ is another

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(settings: Path) -> int:
    """Run Ray's head until SIGTERM.

    Exit code 0: stopped. 1: Ray did not start, or one of its programs died. 2: something is to
    be set right first. 3: all links were gone together, and are coming back.

    Parameters
    ----------
    settings
        A JSON file: see tune_app/cloud/node/settings.py.
    """
    logging.getLogger("tune_app").setLevel(logging.INFO)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return HeadRay(load_head_settings(settings), os.environ).run(ended)


def check_environment(settings: HeadSettings, environment: Mapping[str, str]) -> None:
    """Raises ValueError if Ray's autoscaler would not know the head for its own."""
    if not settings.autoscaling_config:
        return
    wanted = ("RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME", "RAY_enable_autoscaler_v2")
    missing = [name for name in wanted if not environment.get(name)]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} are not in the environment, and the autoscaler would not know "
            "the head: start it by its unit, systemctl start stellux-head, as `ray up` installs it"
        )
    if environment["RAY_enable_autoscaler_v2"] != "1":
        raise ValueError(
            f"RAY_enable_autoscaler_v2 is {environment['RAY_enable_autoscaler_v2']!r}; it must be "
            "1: the first autoscaler ends for good when the list of nodes fails six times"
        )
    config = Path(settings.autoscaling_config).expanduser()
    if not config.is_file():
        raise ValueError(f"missing {config}, the cluster's YAML: run `ray up` again")


class HeadRay:
    """One life of the head's Ray.

    Args:
        environment: of this process.

    Raises ValueError for what `check_environment` refuses.
    """

    def __init__(self, settings: HeadSettings, environment: Mapping[str, str]) -> None:
        check_environment(settings, environment)
        self._settings = settings
        self._mark = mark_of(settings.cluster, HEAD)
        self._started = Path(settings.started).expanduser()
        self._environment = ray_environment(environment, mark=self._mark)
        self._programs: dict[str, psutil.Process] = {}

    def run(self, ended: threading.Event) -> int:
        """Starts Ray, and looks at it until it or `ended` ends. Returns the exit code.

        Nothing of Ray is left in the end. Raises OSError if something does not let go.
        """
        settings = self._settings
        # Left there, it would tell a sweep that this Ray runs, also after a reboot.
        self._started.unlink(missing_ok=True)
        ensure_token(Path.home(), self._environment)
        end_marked(self._mark, grace_s=settings.stop_s)
        watch = self._watch()
        try:
            self._start(ended)
            return self._look(ended, watch)
        except RayStartError as error:
            logger.error("%s", error)
            return STOPPED if ended.is_set() else DIED
        finally:
            end_marked(self._mark, grace_s=settings.stop_s)

    def arguments(self) -> tuple[str, ...]:
        """Of `ray start`."""
        settings = self._settings
        words = head_arguments(
            gcs_port=settings.gcs_port, object_store_bytes=settings.object_store_bytes
        )
        if settings.autoscaling_config:
            config = Path(settings.autoscaling_config).expanduser()
            words += (f"--autoscaling-config={config}",)
        if settings.temp_dir:
            words += (f"--temp-dir={settings.temp_dir}",)
        return words

    @property
    def _folder(self) -> Path:
        """Of Ray's sessions."""
        usual = f"{self._environment.get('RAY_TMPDIR', '/tmp')}/ray"
        return Path(self._settings.temp_dir or usual)

    def _start(self, ended: threading.Event) -> None:
        settings = self._settings
        began = time.monotonic()
        remove_old_sessions(self._folder)
        self._forget_address()
        start_ray(self.arguments(), self._environment, timeout_s=settings.start_s, ended=ended)
        if not wait_for(address(HEAD), settings.gcs_port, timeout_s=settings.start_s):
            raise RayStartError(
                f"Ray has started, and nothing answers at {address(HEAD)}:{settings.gcs_port}"
            )
        self._programs = programs(marked(self._mark))
        missing = {"gcs_server", "raylet", "monitor"} - set(self._programs)
        if missing:
            raise RayStartError(
                f"Ray has started, and {', '.join(sorted(missing))} does not run: see its logs"
            )
        self._started.parent.mkdir(parents=True, exist_ok=True)
        write_file(self._started, f"{uuid.uuid4().hex}\n", mode=0o644)
        logger.info(
            "Ray runs at %s:%d after %.1f s",
            address(HEAD),
            settings.gcs_port,
            time.monotonic() - began,
        )

    def _forget_address(self) -> None:
        """Removes what an earlier Ray of this head says of itself.

        Ray refuses to start where that names its own address, and any process of the machine names
        it in its command line, a client of the old one for instance.
        """
        path = self._folder / "ray_current_cluster"
        own = f"{address(HEAD)}:{self._settings.gcs_port}"
        with suppress(FileNotFoundError):
            if path.read_text("utf-8").strip() == own:
                path.unlink()

    def _look(self, ended: threading.Event, watch: LinkWatch | None) -> int:
        fault = LinkFault()
        next_links = 0.0
        while not ended.wait(self._settings.look_s):
            for name, process in self._programs.items():
                if not alive(process):
                    logger.error("Ray's %s, process %d, has died", name, process.pid)
                    return DIED
            if watch is not None and time.monotonic() >= next_links:
                next_links = time.monotonic() + self._settings.links_s
                fault, reason = judged_fault(fault, self._verdicts(watch))
                if reason is not None:
                    logger.warning("restarting Ray: %s", reason)
                    return LINKS_CAME_BACK
        logger.info("told to end")
        return STOPPED

    def _watch(self) -> LinkWatch | None:
        settings = self._settings
        if not settings.overlay:
            return None
        overlay = load_overlay_settings(Path(settings.overlay))
        files = OverlayFiles(Path(settings.overlay_folder))
        allowed = AuthorizedKeys(files.authorized(overlay.link_user))
        return LinkWatch(
            look=lambda: links(overlay),
            # Only whether they are open counts here: silent links are the daemon's matter.
            ask=lambda open_now: open_now,
            workers=allowed.workers,
        )

    @staticmethod
    def _verdicts(watch: LinkWatch) -> dict[int, LinkVerdict]:
        # What cannot be seen now has not changed.
        return watch.step() or watch.verdicts()


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
