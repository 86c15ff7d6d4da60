"""The host key of a server that does not exist yet: known before the first connection to it.

The laptop makes the key and sends its private half in `user_data`, over HTTPS. Hetzner keeps
`user_data`, and the server's metadata service (169.254.169.254) gives it to every process on the
server, root's or not, for as long as the server exists; cloud-init cannot take it back. So this
first key proves who the server is only until a program that is not root's runs there, and serves
for one thing: `HostKeys.rotate` comes in by it, has the server make a key whose private half never
leaves it, and then forgets the first one. Run it before anything else is installed. cloud-init
writes host keys once per instance, so a reboot keeps the second key; a rebuild does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tune_app.cloud.secrets.ssh_keys import KeyPair, checked_public, key_file
from tune_app.cloud.whole_files import write_file

MAKE = """\
set -eu
cd "${STELLUX_SSH_FOLDER:-/etc/ssh}"
umask 077
if [ ! -f stellux_next_key ]; then
    rm -f stellux_making_key stellux_making_key.pub
    ssh-keygen -q -t ed25519 -N '' -C '' -f stellux_making_key < /dev/null
    mv -f stellux_making_key stellux_next_key
    sync stellux_next_key .
fi
ssh-keygen -y -f stellux_next_key < /dev/null
"""
"""Has the server make its next host key, and prints the public half. May be run again."""

INSTALL = """\
set -eu
cd "${STELLUX_SSH_FOLDER:-/etc/ssh}"
if [ -f stellux_next_key ]; then
    ssh-keygen -y -f stellux_next_key < /dev/null > stellux_next_key.pub
    chmod 0644 stellux_next_key.pub
    mv -f stellux_next_key.pub ssh_host_ed25519_key.pub
    mv -f stellux_next_key ssh_host_ed25519_key
    rm -f stellux_making_key.pub
    sync ssh_host_ed25519_key .
fi
systemctl try-restart ssh.service
"""
"""Puts that key in the first one's place. Connections that are open stay so."""


class HostKeyUnknownError(OSError):
    """This machine does not know by which key to recognise the server."""


def user_data(user_public: str, host: KeyPair) -> str:
    """cloud-init's configuration: root's key, the host key, and no log-in by password.

    It holds the private host key: see the module's docstring.
    """
    # Every JSON text is YAML too, and quotes whatever has to be quoted.
    values = {
        "disable_root": False,
        "ssh_pwauth": False,
        "users": [{"name": "root", "ssh_authorized_keys": [user_public]}],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host.file_text, "ed25519_public": host.public},
    }
    return "#cloud-config\n" + json.dumps(values, indent=1) + "\n"


def fingerprint(public: str) -> str:
    """Of a public key, short enough for a label (63 characters of few kinds): 40 hex digits."""
    return hashlib.sha256(public.encode("ascii")).hexdigest()[:40]


class HostKeys:
    """What this machine knows of the host keys of one cluster's head, in a folder (0700).

    Methods raise OSError if a file cannot be read or written, ValueError if it is none.
    """

    def __init__(self, folder: Path) -> None:
        self._first = folder / "first_host_key"
        self._later = folder / "host_keys"

    def first(self) -> KeyPair:
        """The key for a server to be made; the same until `forget` or `rotate`.

        It is kept before the server is ordered, so that one whose order was never answered is
        recognised all the same.
        """
        return key_file(self._first)

    def any(self) -> bool:
        """Whether this machine knows, or had made, the key of some server."""
        return self._first.is_file() or self._later.is_file()

    def known_hosts(self, server_id: int, address: str, first: str) -> str:
        """The lines by which a server is recognised.

        Args:
            first: the fingerprint of the key that the server was made with.

        Raises HostKeyUnknownError if this machine never had its key.
        """
        keys = self._later_keys(server_id)
        if self._first.is_file():
            made = key_file(self._first).public
            if fingerprint(made) == first:
                keys.append(made)
        if not keys:
            raise HostKeyUnknownError(
                f"server {server_id} at {address} was made from another machine, or "
                f"{self._first.parent} was lost: nothing here says what its host key is; copy that "
                "folder from the machine that made it, or delete the server and make another"
            )
        return "".join(f"{address} {key}\n" for key in keys)

    def rotate(
        self, server_id: int, address: str, first: str, run: Callable[[str, str], str]
    ) -> str:
        """Replaces the first key by one that the server makes; returns the new known_hosts line.

        One that is replaced already is left alone. Safe to repeat after an interruption.

        Args:
            run: runs a shell script as root on the server, recognised by known_hosts lines, and
                returns what it prints; raises OSError if that fails.
        """
        known = self.known_hosts(server_id, address, first)
        settled = self._later_keys(server_id)
        if len(settled) == 1 and not self._first.is_file():
            return known
        public = checked_public(" ".join(run(MAKE, known).split()[:2]))
        self._write(server_id, [*(key for key in settled if key != public), public])
        run(INSTALL, self.known_hosts(server_id, address, first))
        line = f"{address} {public}\n"
        run("true\n", line)
        self._write(server_id, [public])
        self._first.unlink(missing_ok=True)
        return line

    def forget(self) -> None:
        """For when the server is gone."""
        self._first.unlink(missing_ok=True)
        self._later.unlink(missing_ok=True)

    def _later_keys(self, server_id: int) -> list[str]:
        try:
            lines = self._later.read_text("ascii").splitlines()
        except FileNotFoundError:
            return []
        pairs = [line.split(" ", 1) for line in lines if " " in line]
        return [checked_public(key) for number, key in pairs if number == str(server_id)]

    def _write(self, server_id: int, keys: list[str]) -> None:
        text = "".join(f"{server_id} {key}\n" for key in keys)
        write_file(self._later, text, mode=0o600)
