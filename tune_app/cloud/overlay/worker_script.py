"""The shell script with which a worker opens its way to the head, and keeps it open. Pure.

Before all else it starts the dead man's switch. All but the switch is packed, since a market takes
a few thousand characters: `unpacked` shows it.

It needs a POSIX shell, OpenSSH, coreutils, gzip and flock. Its private keys come in the
environment, each in two variables, and are taken out of it before anything else of the worker's
starts.
"""

from __future__ import annotations

import base64
import gzip
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import quote

from tune_app.cloud.market.instance_request import MAXIMUM_START
from tune_app.cloud.overlay.addresses import BLOCK, FIRST_PORT, HEAD, Ports, address
from tune_app.cloud.overlay.dead_mans_switch import NO_ENDING, SHUT_DOWN, SILENT_S, switch
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.secrets.ssh_keys import checked_public

LINK_KEY = "STELLUX_LINK_KEY"
STORE_KEY = "STELLUX_STORE_KEY"
HOST_KEY = "STELLUX_HOST_KEY"
REST = "_2"
"""Ends the name of the variable with a key's second half: a whole one would be too long."""

_SECRETS = " ".join(f"{name} {name}{REST}" for name in (LINK_KEY, STORE_KEY, HOST_KEY))

_KEYS = f"""\
umask 077
mkdir -p @FOLDER && cd @FOLDER || exit 1
exec 9>lock
flock -n 9 || exit 0
echo @K >k
key() {{
  {{ echo '-----BEGIN OPENSSH PRIVATE KEY-----'; echo "$2" | fold -w 70
    echo '-----END OPENSSH PRIVATE KEY-----'; }} >"$1.new" && mv "$1.new" "$1"
}}
key link_key "${LINK_KEY}${LINK_KEY}{REST}"
key store_key "${STORE_KEY}${STORE_KEY}{REST}"
key host_key "${HOST_KEY}${HOST_KEY}{REST}"
unset {_SECRETS}
"""

_FORWARDS = """\
{ cat config.head
for p in @OWN; do echo "RemoteForward @NETWORK.@K:$p @HERE.@K:$p"; done
l() { echo "LocalForward @HERE.$1:$2 @NETWORK.$1:$2"; }
for p in @HEADS; do l @HEAD $p; done
"""

# A forward is an open file: with 60 other workers they are over 1,024, a usual limit.
_BETWEEN = """\
ulimit -n $(ulimit -Hn)
for j in $(seq @FIRST @LAST); do
  [ $j = @K ] || for p in @PEERS; do l $j $((@BASE + @BLOCK * j + p)); done
done
"""

_SERVER = """\
S=$(command -v sshd || echo /usr/sbin/sshd)
if [ -x "$S" ]; then
  [ -d /run/sshd ] || mkdir -p /run/sshd
  "$S" -f "$PWD/sshd_config" -E "$PWD/sshd.log" 9>&-
else echo 'no sshd here: the head cannot set this worker up' >sshd.log; fi
"""

# The bell has the head end what is left of the last link, whose ports would still be taken.
_LOOP = """\
(trap '' HUP
while :; do
  [ "$(wc -c <link.log)" -lt 99999 ] || : >link.log
  date
  if [ "$(timeout 60 ssh -F config -W @NETWORK.@HEAD:@BELL head 9>&-)" = ok ]; then
    ssh -F config -N head 9>&-
  fi
  sleep @PAUSE 9>&-
done) </dev/null >>link.log 2>&1 &
echo $! >link.pid
"""


def client_config(settings: OverlaySettings) -> str:
    """How a worker's OpenSSH reaches the head, but for the forwards."""
    return "\n".join(
        [
            "Host head",
            f"HostName {settings.head}",
            f"Port {settings.port}",
            f"User {settings.link_user}",
            "IdentityFile link_key",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            "PreferredAuthentications publickey",
            "BatchMode yes",
            "UserKnownHostsFile known_hosts",
            "GlobalKnownHostsFile /dev/null",
            "HostKeyAlgorithms ssh-ed25519",
            "StrictHostKeyChecking yes",
            "UpdateHostKeys no",
            "ExitOnForwardFailure yes",
            "ConnectTimeout 15",
            f"ServerAliveInterval {settings.alive_interval_s}",
            f"ServerAliveCountMax {settings.alive_count}",
            "",
        ]
    )


def worker_sshd_config(settings: OverlaySettings, k: int) -> str:
    """The worker's own SSH server, which only its link leads to."""
    folder = settings.worker_folder
    return "\n".join(
        [
            f"ListenAddress {address(k, settings.worker_network)}:{Ports(k).sshd}",
            f"HostKey {folder}/host_key",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            "StrictModes no",
            f"PidFile {folder}/sshd.pid",
            "UsePAM no",
            "AuthenticationMethods publickey",
            "PermitRootLogin prohibit-password",
            "AllowTcpForwarding no",
            "Subsystem sftp internal-sftp",
            "",
        ]
    )


def known_hosts_line(settings: OverlaySettings, head_public: str) -> str:
    """What a worker knows the head by."""
    return f"[{settings.head}]:{settings.port} {checked_public(head_public)}\n"


def in_halves(name: str, key: str) -> dict[str, str]:
    """The variables that bring a worker a private key."""
    middle = (len(key) + 1) // 2
    return {name: key[:middle], f"{name}{REST}": key[middle:]}


def worker_script(
    settings: OverlaySettings,
    k: int,
    *,
    head_public: str,
    updater_public: str,
    then: str = "",
    ending: str = NO_ENDING,
) -> str:
    """The script, at most as long as a market takes it.

    Args:
        head_public: the host key of the head's second SSH server; no other is accepted.
        updater_public: of the key with which the head comes in over the link.
        then: what the worker runs after it, in the same shell.
        ending: how an instance of the market's ends itself: see `dead_mans_switch`.

    Raises ValueError for a number that no worker has, and for a script that is too long.
    """
    settings.check_worker(k)
    ports, head = Ports(k), Ports(HEAD)
    values = {
        "FOLDER": settings.worker_folder,
        "OWN": _spaced(ports.for_head),
        "HEADS": _spaced((settings.gcs_port, *head.for_peers)),
        "PEERS": _spaced(port - head.node_manager for port in head.for_peers),
        "NETWORK": settings.network,
        "HERE": settings.worker_network,
        "HEAD": str(HEAD),
        "FIRST": str(settings.workers.start),
        "LAST": str(settings.last_k),
        "BASE": str(FIRST_PORT),
        "BLOCK": str(BLOCK),
        "BELL": str(ports.bell),
        "PULSE": str(head.pulse),
        "SILENT": str(SILENT_S),
        "LIFE": str(round(settings.life_hours * 3600)),
        "SHUT": SHUT_DOWN,
        "PAUSE": str(settings.pause_s),
        "K": str(k),
    }
    files = {
        "known_hosts": known_hosts_line(settings, head_public),
        "authorized_keys": f"restrict,pty {checked_public(updater_public)}\n",
        "config.head": client_config(settings),
        "sshd_config": worker_sshd_config(settings, k),
    }
    first = filled(switch(ending), values)
    body = filled(_KEYS, values)
    body += "".join(f"printf %s {shlex.quote(text)} >{name}\n" for name, text in files.items())
    forwards = _FORWARDS + (_BETWEEN if settings.between_workers else "") + "} >config\n"
    body += filled(forwards + _SERVER + ": >>link.log\n" + _LOOP, values)
    # In a shell of its own: what comes after it starts where it would.
    script = f"#!/bin/sh\n{first}{_packed(body)}\nunset {_SECRETS}\n{then}"
    if len(script) > MAXIMUM_START:
        raise ValueError(
            f"the start script has {len(script):,} characters, {len(then):,} of them the node "
            f"type's own; {MAXIMUM_START:,} are allowed: let it fetch the rest"
        )
    return script


def store_url(settings: OverlaySettings, path: str) -> str:
    """The store of checkpoints as every worker names it, and the head, where the same files lie.

    Its files are read-only: a worker's key may open files to write, and all are one user's.

    Args:
        path: as the store's user sees it; absolute.
    """
    assert path.startswith("/")
    host = f"[{settings.head}]" if ":" in settings.head else settings.head
    folder = home_relative(settings.worker_folder)
    return (
        f"sftp://{settings.store_user}@{host}:{settings.port}{quote(path)}"
        f"?key={folder}/store_key&known_hosts={folder}/known_hosts&files=read-only"
    )


def home_relative(folder: str) -> str:
    """A folder on a worker, whose user is root, as it is named in any user's own home."""
    path = PurePosixPath(folder)
    return f"~/{path.relative_to('/root')}" if path.is_relative_to("/root") else folder


def _spaced(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


_BEFORE, _BEHIND = '(eval "$(echo ', ' | base64 -d | gzip -dc)")'


def _packed(text: str) -> str:
    # Without a time: the same script is the same text.
    packed = base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")
    return f"{_BEFORE}{packed}{_BEHIND}"


def unpacked(script: str) -> str:
    """A worker's start script as its shell runs it, for whoever wants to read it."""
    first, _, rest = script.partition(_BEFORE)
    packed, _, last = rest.partition(_BEHIND)
    text = gzip.decompress(base64.b64decode(packed)).decode("utf-8")
    return f"{first}({text}){last}"


def filled(text: str, values: dict[str, str]) -> str:
    """A text with values for its names, each of which begins with @."""
    # The longest name first: one may begin another.
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(f"@{name}", values[name])
    return text
