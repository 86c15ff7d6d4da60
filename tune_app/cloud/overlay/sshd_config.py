"""The configuration of the head's second SSH server. The user's own one is left as it is. Pure."""

from __future__ import annotations

import re

from tune_app.cloud.overlay.settings import OverlaySettings

AUTHORIZED = "authorized"
"""Folder with a file of keys for each user."""
HOST_KEY = "host_key"


PENALTIES_SINCE = (9, 8)


def openssh_version(text: str) -> tuple[int, int] | None:
    """From what `ssh -V` says; None if it is not understood."""
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def sshd_config(
    settings: OverlaySettings,
    folder: str,
    *,
    listen: str | None = None,
    version: tuple[int, int] | None = None,
) -> str:
    """The text of it.

    Both users' passwords must be `*` rather than `!`, which counts as a locked account.

    Args:
        folder: of its host key and authorised keys; absolute, without spaces.
        listen: the address to listen at; default all.
        version: of the server; None if it is not known.

    Raises ValueError for a folder that cannot stand in it.
    """
    if not folder.startswith("/") or not folder.isprintable() or set(folder) & set(" %\"'\\#"):
        raise ValueError(
            f"the overlay's folder is {folder!r}; use an absolute path without spaces, quotes, % "
            "and #"
        )
    alive = [
        f"ClientAliveInterval {settings.alive_interval_s}",
        f"ClientAliveCountMax {settings.alive_count}",
    ]
    lines = [
        f"Port {settings.port}",
        *([f"ListenAddress {listen}"] if listen else []),
        f"HostKey {folder}/{HOST_KEY}",
        f"AuthorizedKeysFile {folder}/{AUTHORIZED}/%u",
        # The daemon writes the keys, and is neither root nor the user who logs in.
        "StrictModes no",
        "PidFile none",
        "UsePAM no",
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        f"AllowUsers {settings.link_user} {settings.store_user}",
        "LoginGraceTime 20",
        "MaxAuthTries 2",
        # Workers come back all at once after a fault of the head's.
        "MaxStartups 100:30:200",
        # Workers share public addresses: one whose key is revoked must not lock others out.
        *(["PerSourcePenalties no"] if version and version >= PENALTIES_SINCE else []),
        *alive,
        "PermitTTY no",
        "PermitUserRC no",
        "PermitUserEnvironment no",
        "PermitTunnel no",
        "X11Forwarding no",
        "AllowAgentForwarding no",
        "AllowStreamLocalForwarding no",
        "AllowTcpForwarding no",
        "GatewayPorts no",
        "PrintMotd no",
        "Subsystem sftp internal-sftp",
        "ForceCommand /bin/false",
        f"Match User {settings.link_user}",
        "    AllowTcpForwarding yes",
        # Without it a forward for 127.77.0.k binds 127.0.0.1, and says nothing.
        "    GatewayPorts clientspecified",
        # No shell, no command, no subsystem: forwards need no session.
        "    MaxSessions 0",
    ]
    if settings.store_user != settings.link_user:
        lines += [
            f"Match User {settings.store_user}",
            f"    ChrootDirectory {settings.store_root}",
            # Each key's line has its own: workers may do less than the head.
            "    ForceCommand none",
            "    DisableForwarding yes",
        ]
    return "\n".join(lines) + "\n"
