"""Connects to an SSH server with a known host key, by public key only."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Sequence
from contextlib import AsyncExitStack
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
    """An SSH server, the user, and the files with its keys. Contains no secret."""

    host: str
    port: int = 22
    user: str
    key: str | None = None
    """Private key file, or the socket of an agent; None: ~/.ssh/id_* and the agent, as with ssh."""
    known_hosts: str | None = None
    """File of known host keys; None: ~/.ssh/known_hosts."""

    @property
    def url(self) -> str:
        """The start of an sftp URL, up to the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{quote(self.user, safe='')}@{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


async def connect(address: SshAddress, *, timeout: float) -> asyncssh.SSHClientConnection:
    """Connects to the server within `timeout` seconds.

    Ignores ~/.ssh/config, so that a URL means the same on every host. Raises StoreRefusedError if
    the user has to act, StoreUnreachableError if retrying may help.
    """
    known_hosts = _known_hosts(address)
    async with AsyncExitStack() as agents:
        identity: dict[str, Any] = {}
        if address.key is not None:
            keys = await _keys(address, agents, timeout)
            identity = {"client_keys": keys, "agent_path": None}
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
            f"{address}: cannot read the host keys in {path} ({error}); fix the file, or give "
            "another with known_hosts="
        ) from error


async def _keys(
    address: SshAddress, agents: AsyncExitStack, timeout: float
) -> Sequence[asyncssh.SSHKey | asyncssh.SSHKeyPair]:
    """The key of its file, or those that an agent signs with until `agents` is closed."""
    assert address.key is not None
    path = Path(address.key).expanduser()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():  # an agent's, which is being started again
            raise StoreUnreachableError(
                f"{address}: the key {path} leads to {path.readlink()}, where no agent listens"
            ) from None
        mode = 0
    except OSError:
        mode = 0
    if not stat.S_ISSOCK(mode):
        return [_private_key(address, path)]
    try:
        async with asyncio.timeout(timeout):
            agent = await agents.enter_async_context(asyncssh.connect_agent(str(path)))
            keys = list(await agent.get_keys())
    except (OSError, ValueError) as error:
        raise StoreUnreachableError(
            f"{address}: the agent at {path} does not answer ({error}); start ssh-agent there"
        ) from error
    if not keys:
        raise StoreUnreachableError(
            f"{address}: the agent at {path} holds no key; add one with ssh-add"
        )
    return keys


def _private_key(address: SshAddress, path: Path) -> asyncssh.SSHKey:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StoreRefusedError(
                f"{address}: the key {path} is readable by others; run chmod 600 {path}"
            )
        return asyncssh.read_private_key(path)
    except StoreError:
        raise
    except asyncssh.KeyEncryptionError:
        pass
    except asyncssh.KeyImportError as error:
        if "assphrase" not in str(error):
            raise StoreRefusedError(
                f"{address}: {path} is not a readable private key ({error}); create one "
                "with ssh-keygen -t ed25519, or give another with key="
            ) from error
    except OSError as error:
        raise StoreRefusedError(
            f"{address}: cannot read the key {path} ({error.strerror}); give another with key="
        ) from error
    raise StoreRefusedError(
        f"{address}: the key {path} needs a passphrase; load it with ssh-add and omit key="
    )


def _refusal(
    address: SshAddress,
    error: Exception,
    known_hosts: asyncssh.SSHKnownHosts,
    timeout: float,
) -> StoreError:
    """Turns a failed connection attempt into a StoreError."""
    path = Path(address.known_hosts or KNOWN_HOSTS).expanduser()
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        if any(known_hosts.match(address.host, "", address.port)):
            return StoreRefusedError(
                f"{address}: the server's host key is not the one in {path}: another machine "
                "answers, or the server was reinstalled. Ask its administrator; if it was, remove "
                f"the old key with ssh-keygen -R and {_scan(address)}"
            )
        return StoreRefusedError(
            f"{address}: the server's host key is not in {path}; {_scan(address)}"
        )
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in reason:
        key = address.key or "none of the keys in ~/.ssh and the agent"
        return StoreRefusedError(
            f"{address}: the server does not accept {key} for {address.user}; add its public half "
            "to ~/.ssh/authorized_keys there, or give another with key="
        )
    if isinstance(error, (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)):
        return StoreRefusedError(
            f"{address}: no common protocol with the server ({reason}); if {path} lacks keys of "
            f"the types that it uses, {_scan(address)}"
        )
    if isinstance(error, ValueError):
        return StoreRefusedError(f"{address}: {reason}; check the keys in ~/.ssh, or give key=")
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
