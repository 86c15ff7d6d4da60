"""Sets up users, folders, keys and services on the head.

python -m tune_app.cloud.head.install SETTINGS --login USER

Run on the head as root, by the user's machine. Run again, it changes only what is different.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cyclopts import App

from tune_app.cloud import head_paths
from tune_app.cloud.cluster_yaml.records import HeadRole
from tune_app.cloud.head.firewall import firewall_rules
from tune_app.cloud.head.firewall_trial import begin_trial
from tune_app.cloud.head.other_clusters import refuse_other_clusters
from tune_app.cloud.head.packages import install_packages
from tune_app.cloud.head.ray_home import fill_home, forget_token, login_keys, shell_lines
from tune_app.cloud.head.services import systemctl
from tune_app.cloud.head.units import (
    ENABLED,
    FIREWALL,
    KEEPER,
    SSHD,
    STORE_AGENT,
    UNITS,
    UPDATER_AGENT,
    head_environment,
    sudoers,
    unit_text,
)
from tune_app.cloud.node.settings import load_head_settings
from tune_app.cloud.overlay.access import Account as SystemAccount
from tune_app.cloud.overlay.access import grant_access
from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.setup import installed_openssh
from tune_app.cloud.overlay.sshd_config import sshd_config
from tune_app.cloud.overlay.worker_script import store_url
from tune_app.cloud.renting.settings import load_settings
from tune_app.cloud.settings_reader import load_json
from tune_app.cloud.whole_files import write_file
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.head.install"
UNIT_FOLDER = Path("/etc/systemd/system")
SUDOERS = Path("/etc/sudoers.d/stellux")
AT_ONCE = (FIREWALL, SSHD, KEEPER, STORE_AGENT, UPDATER_AGENT)
"""Started here; the daemon waits for its key, and Ray for what `ray up` brings next."""

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(settings: Path, *, login: str, ssh_port: int = 22) -> int:
    """Set up everything that needs root, and start what workers will dial.

    Parameters
    ----------
    settings
        Folder of the settings' files, as the user's machine sent them.
    login
        The user who logged in; the same SSH keys may log in as Ray's user.
    ssh_port
        Of the machine's own SSH server, which stays open in public.
    """
    # Mistakes in them are reported before anything changes.
    told = load_settings(settings / "daemon.json")
    load_head_settings(settings / "head.json")
    overlay = load_overlay_settings(settings / "overlay.json")
    role = load_json(HeadRole, settings / "cluster.json")
    refuse_other_clusters(head_paths.CLOUD_STATE, told.cluster, owner=head_paths.CLOUD_USER)
    install_packages()
    make_users(overlay)
    _folders()
    for path in (head_paths.DAEMON_SETTINGS, head_paths.OVERLAY_SETTINGS, head_paths.HEAD_SETTINGS):
        write_file(path, (settings / path.name).read_text("utf-8"), mode=0o644)
    write_file(
        head_paths.HEAD_ENVIRONMENT,
        head_environment(role.cluster, role.node_type),
        mode=0o644,
    )
    grant_access(
        overlay,
        head_paths.OVERLAY_FOLDER,
        owner=head_paths.CLOUD_USER,
        user=head_paths.RAY_USER,
        store_agent=head_paths.STORE_AGENT,
        updater_agent=head_paths.UPDATER_AGENT,
    )
    # By root into root's folder: this file decides as which users workers log in.
    configuration = sshd_config(
        overlay, str(head_paths.OVERLAY_FOLDER), version=installed_openssh()
    )
    write_file(head_paths.SSHD_CONFIG, configuration, mode=0o644)
    owner = SystemAccount.of(head_paths.RAY_USER)
    if not head_paths.ACCOUNT_KEY.exists():
        # Nothing is rented: a worker that lives has the token, and would be cut off by another.
        forget_token(owner)
    fill_home(
        owner,
        keys=login_keys(login),
        lines=shell_lines(store_url(overlay, head_paths.STORE)),
    )
    rules = firewall_rules({22, ssh_port, overlay.port}, role.open_ports)
    begin_trial(rules)
    write_file(head_paths.FIREWALL, rules, mode=0o644)
    _services()
    return 0


@dataclass(frozen=True, kw_only=True)
class Account:
    """A Unix user of the cluster's."""

    name: str
    home: Path
    shell: str = "/usr/sbin/nologin"


def accounts(overlay: OverlaySettings) -> tuple[Account, ...]:
    """The users that are needed. Only Ray's user has a shell."""
    return (
        Account(name=head_paths.RAY_USER, home=head_paths.RAY_HOME, shell="/bin/bash"),
        Account(name=head_paths.CLOUD_USER, home=head_paths.CLOUD_STATE),
        Account(name=overlay.link_user, home=Path("/nonexistent")),
        Account(name=overlay.store_user, home=Path("/nonexistent")),
    )


def make_users(overlay: OverlaySettings) -> None:
    """Users and their groups. Raises OSError if the system refuses."""
    for account in accounts(overlay):
        try:
            pwd.getpwnam(account.name)
        except KeyError:
            words = ["useradd", "--system", "--user-group", "--shell", account.shell]
            words += ["--home-dir", str(account.home), "--no-create-home", account.name]
            _run(words)
        # No password matches: with the "!" of a new account OpenSSH treats it as locked.
        _run(["usermod", "--password", "*", account.name])


def _folders() -> None:
    for path, owner, mode in (
        (head_paths.CONFIGURATION, "root", 0o755),
        (head_paths.STATE, "root", 0o755),
        (head_paths.CLOUD_STATE, head_paths.CLOUD_USER, 0o700),
        (head_paths.RAY_HOME, head_paths.RAY_USER, 0o700),
    ):
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, owner, "root" if owner == "root" else owner)
        path.chmod(mode)


def _services() -> None:
    for name in UNITS:
        write_file(UNIT_FOLDER / name, unit_text(name), mode=0o644)
    SUDOERS.parent.mkdir(exist_ok=True)
    write_file(SUDOERS, sudoers(), mode=0o440)
    systemctl("daemon-reload")
    systemctl("enable", *ENABLED)
    for name in AT_ONCE:
        # A restart of the firewall would leave none for a moment.
        systemctl("reload-or-restart" if name == FIREWALL else "restart", name)


def _run(words: list[str]) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
