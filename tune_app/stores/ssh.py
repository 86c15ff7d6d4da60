"""A connection to an SSH server whose host key is known, opened with a key and nothing else."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncssh

from tune_app.stores.base import StoreError, StoreRefusedError, StoreUnreachableError

KNOWN_HOSTS = "~/.ssh/known_hosts"

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr")
_KEEPALIVE_SECONDS = 15


@dataclass(frozen=True, kw_only=True)
class SshAddress:
    """Whom to connect to, as whom, and what proves it. It holds no secret."""

    host: str
    port: int = 22
    user: str
    key: str | None = None
    """File of the private key; None: ~/.ssh/id_* and the agent, as ssh does."""
    known_hosts: str | None = None
    """File of the keys of hosts; None: ~/.ssh/known_hosts."""

    @property
    def url(self) -> str:
        """As the beginning of a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{quote(self.user, safe='')}@{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


async def connect(address: SshAddress, *, timeout: float) -> asyncssh.SSHClientConnection:
    """A connection to the server, within `timeout` seconds.

    Only the address counts, not ~/.ssh/config: the same URL means the same on every host. Raises
    StoreRefusedError where a person has to act, StoreUnreachableError where time may help.
    """
    known_hosts = _known_hosts(address)
    identity: dict[str, Any] = {}
    if address.key is not None:
        identity = {"client_keys": [_private_key(address)], "agent_path": None}
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                address.host,
                address.port,
                username=address.user,
                known_hosts=known_hosts,
                x509_trusted_certs=None,
                config=None,
                preferred_auth="publickey",
                encryption_algs=_CIPHERS,
                compression_algs=["none"],
                connect_timeout=timeout,
                login_timeout=timeout,
                keepalive_interval=_KEEPALIVE_SECONDS,
                **identity,
            ),
            timeout,
        )
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _refusal(address, error, known_hosts, timeout) from error


def _known_hosts(address: SshAddress) -> asyncssh.SSHKnownHosts:
    path = Path(address.known_hosts or KNOWN_HOSTS).expanduser()
    try:
        return asyncssh.read_known_hosts(str(path))
    except FileNotFoundError:
        raise StoreRefusedError(
            f"{address}: there is no {path} with the server's host key; {_scan(address)}"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreRefusedError(
            f"{address}: cannot read the host keys in {path} ({error}); repair the file, or name "
            "another as known_hosts="
        ) from error


def _private_key(address: SshAddress) -> asyncssh.SSHKey:
    assert address.key is not None
    path = Path(address.key).expanduser()
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StoreRefusedError(
                f"{address}: the key {path} can be read by others; run chmod 600 {path}"
            )
        return asyncssh.read_private_key(path)
    except StoreError:
        raise
    except asyncssh.KeyEncryptionError:
        pass
    except asyncssh.KeyImportError as error:
        if "assphrase" not in str(error):
            raise StoreRefusedError(
                f"{address}: {path} holds no private key that can be read ({error}); make one "
                "with ssh-keygen -t ed25519, or name another as key="
            ) from error
    except OSError as error:
        raise StoreRefusedError(
            f"{address}: cannot read the key {path} ({error.strerror}); name another as key="
        ) from error
    raise StoreRefusedError(
        f"{address}: the key {path} needs a passphrase; give it to ssh-add and leave key= out"
    )


def _refusal(
    address: SshAddress,
    error: Exception,
    known_hosts: asyncssh.SSHKnownHosts,
    timeout: float,
) -> StoreError:
    """What an attempt to connect came to, as an error of a store."""
    path = Path(address.known_hosts or KNOWN_HOSTS).expanduser()
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        if any(known_hosts.match(address.host, "", address.port)):
            return StoreRefusedError(
                f"{address}: the server's host key is not the one in {path}: another machine "
                "answers, or it was set up anew. Ask who runs it; if it was, remove the old key "
                f"with ssh-keygen -R and {_scan(address)}"
            )
        return StoreRefusedError(
            f"{address}: the server's host key is not in {path}; {_scan(address)}"
        )
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in reason:
        key = address.key or "none of the keys in ~/.ssh and the agent"
        return StoreRefusedError(
            f"{address}: the server does not accept {key} for {address.user}; add its public half "
            "to ~/.ssh/authorized_keys there, or name another as key="
        )
    if isinstance(error, (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)):
        return StoreRefusedError(
            f"{address}: no way to speak to the server ({reason}); if {path} holds keys of other "
            f"kinds than it has, {_scan(address)}"
        )
    if isinstance(error, ValueError):
        return StoreRefusedError(f"{address}: {reason}; check the keys in ~/.ssh, or name key=")
    if isinstance(error, TimeoutError):
        reason = f"no answer within {timeout:g} s"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return StoreUnreachableError(
        f"{address}: cannot connect ({reason}); check the host, the port and that sshd runs there"
    )


def _scan(address: SshAddress) -> str:
    port = f" -p {address.port}" if address.port != 22 else ""
    return (
        f"run ssh-keyscan{port} {address.host}, compare it with ssh-keygen -lf of "
        f"/etc/ssh/ssh_host_*_key.pub there, and add it to a file named as known_hosts="
    )
