"""A store from its URL."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from tune_app.stores.base import Store
from tune_app.stores.path import PathStore

PATH_EXAMPLE = "file:///srv/store"
SFTP_EXAMPLE = "sftp://user@host:22/srv/store?key=~/.ssh/id_ed25519"
S3_EXAMPLE = "s3://bucket/prefix?region=us-east-1"


def open_store(url: str, *, connect_timeout: float = 15.0, stall_timeout: float = 30.0) -> Store:
    """The store that a URL or a path names; nothing is connected to yet.

    Raises ValueError where it names none, with an example of one that does; it repeats no password.

    Args:
        url: a path, `file:///path`, `sftp://user@host:port/path?key=FILE&known_hosts=FILE` or
            `s3://bucket/prefix?endpoint=URL&region=NAME`. An SFTP path that begins with /~/ is
            relative to the user's home folder there.
        connect_timeout: seconds until a connection must stand.
        stall_timeout: seconds in which a server must acknowledge something.
    """
    if not url.strip():
        raise ValueError(f"the URL of a store is empty; write a path, or {_examples()}")
    if "://" not in url:
        return PathStore(Path(url).expanduser())
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(
            f"the URL of a store is none ({error}); write, say, {_examples()}"
        ) from None
    if parts.password is not None:
        raise ValueError(
            f"the URL of the store at {parts.hostname} has a password in it, which others would "
            "see; sftp takes a key (?key=~/.ssh/id_ed25519), s3 takes AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY or a profile from the environment"
        )
    if parts.fragment:
        raise ValueError(f"the URL of a {parts.scheme} store has a # in it; write it as %23")
    if parts.scheme == "file":
        return _path_store(parts)
    if parts.scheme == "sftp":
        return _sftp_store(parts, port, connect_timeout, stall_timeout)
    if parts.scheme == "s3":
        return _s3_store(parts, port, connect_timeout, stall_timeout)
    raise ValueError(f"{parts.scheme}:// names no kind of store; write a path, or {_examples()}")


def is_folder(url: str) -> bool:
    """Whether a store is a folder of the machine that opens it."""
    return "://" not in url or url.startswith("file:")


def below(url: str, name: str) -> str:
    """The URL of a store in a folder of another one."""
    if "://" not in url:
        return str(Path(url).expanduser() / name)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def _path_store(parts: SplitResult) -> PathStore:
    _options(parts, (), PATH_EXAMPLE)
    if parts.netloc not in ("", "localhost") or len(parts.path) < 2:
        raise ValueError(f"{_shown(parts)} names no folder; write, say, {PATH_EXAMPLE}")
    return PathStore(Path(unquote(parts.path)))


def _sftp_store(
    parts: SplitResult, port: int | None, connect_timeout: float, stall_timeout: float
) -> Store:
    # Each kind of store needs a library that the others do without.
    from tune_app.stores.sftp import SftpStore  # noqa: PLC0415
    from tune_app.stores.ssh import SshAddress  # noqa: PLC0415

    options = _options(parts, ("key", "known_hosts"), SFTP_EXAMPLE)
    for name, value in options.items():
        if not value.startswith(("/", "~/")):
            raise ValueError(
                f"{name}={value} depends on where a process works; write it from / or ~/, as in "
                f"{SFTP_EXAMPLE}"
            )
    path = unquote(parts.path)
    if not parts.hostname or path in ("", "/"):
        raise ValueError(f"{_shown(parts)} names no host or no folder; write, say, {SFTP_EXAMPLE}")
    address = SshAddress(
        host=parts.hostname,
        port=22 if port is None else port,
        user=unquote(parts.username or "") or getpass.getuser(),
        key=options.get("key"),
        known_hosts=options.get("known_hosts"),
    )
    return SftpStore(
        address,
        path.removeprefix("/~/").rstrip("/"),
        connect_timeout=connect_timeout,
        stall_timeout=stall_timeout,
    )


def _s3_store(
    parts: SplitResult, port: int | None, connect_timeout: float, stall_timeout: float
) -> Store:
    from tune_app.stores.s3 import S3Store  # noqa: PLC0415

    options = _options(parts, ("endpoint", "region"), S3_EXAMPLE)
    if parts.username is not None or port is not None or not _is_bucket(parts.netloc):
        raise ValueError(
            f"{_shown(parts)} names no bucket alone; an endpoint stands behind "
            f"?endpoint=, keys in the environment; write, say, {S3_EXAMPLE}"
        )
    return S3Store(
        parts.netloc,
        unquote(parts.path).strip("/"),
        endpoint=_endpoint(options["endpoint"]) if "endpoint" in options else None,
        region=options.get("region"),
        connect_timeout=connect_timeout,
        stall_timeout=stall_timeout,
    )


def _options(parts: SplitResult, known: tuple[str, ...], example: str) -> dict[str, str]:
    """What stands behind the question mark; its values are not repeated, they may be secrets."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in pairs:
        if name not in known or not value:
            raise ValueError(
                f"a {parts.scheme} store has no option {name}; it may have "
                f"{' and '.join(known) or 'none'}, as in {example}"
                if value
                else f"the option {name} of the {parts.scheme} store is empty; see {example}"
            )
    if len(pairs) != len(dict(pairs)):
        raise ValueError(f"an option of the {parts.scheme} store is there twice; see {example}")
    return dict(pairs)


def _endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(
            "the endpoint of an s3 store is http or https, a host and a port, with nothing else "
            "in it; write, say, endpoint=http://127.0.0.1:9000"
        )
    return endpoint.rstrip("/")


def _is_bucket(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) is not None


def _shown(parts: SplitResult) -> str:
    """Without who stands before the host: with s3 that is where people put their keys."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _examples() -> str:
    return f"{PATH_EXAMPLE}, {SFTP_EXAMPLE}, {S3_EXAMPLE}"
