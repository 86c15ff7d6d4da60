"""Opens a store from its URL."""

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
    """Opens the store at a URL or a path; does not connect yet.

    Raises ValueError with an example if the URL is invalid; the message repeats no password.

    Args:
        url: a path, `file:///path`, `sftp://user@host:port/path?key=FILE&known_hosts=FILE` or
            `s3://bucket/prefix?endpoint=URL&region=NAME`. An SFTP path that starts with /~/ is
            relative to the user's home folder on the server; with `&files=read-only` all files are
            made so, for a server where some keys may only add files. The key's file may be the
            socket of an agent that holds it.
        connect_timeout: seconds allowed for connecting.
        stall_timeout: seconds after which a server that acknowledges nothing counts as stalled.
    """
    if not url.strip():
        raise ValueError(f"the store URL is empty; write a path, or {_examples()}")
    if "://" not in url:
        return PathStore(Path(url).expanduser())
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"invalid store URL ({error}); examples: {_examples()}") from None
    if parts.password is not None:
        raise ValueError(
            f"the URL of the store at {parts.hostname} contains a password, which others would "
            "see; sftp takes a key (?key=~/.ssh/id_ed25519), s3 takes AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY or a profile from the environment"
        )
    if parts.fragment:
        raise ValueError(f"the URL of a {parts.scheme} store contains a #; write it as %23")
    if parts.scheme == "file":
        return _path_store(parts)
    if parts.scheme == "sftp":
        return _sftp_store(parts, port, connect_timeout, stall_timeout)
    if parts.scheme == "s3":
        return _s3_store(parts, port, connect_timeout, stall_timeout)
    raise ValueError(f"unknown kind of store {parts.scheme}://; write a path, or {_examples()}")


def is_folder(url: str) -> bool:
    """Whether a store is a folder on the machine that opens it."""
    return "://" not in url or url.startswith("file:")


def below(url: str, name: str) -> str:
    """The URL of a folder inside a store, as a store of its own."""
    if "://" not in url:
        return str(Path(url).expanduser() / name)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def from_folder(url: str, folder: Path) -> str:
    """The path or URL of an object, relative to a folder if it is inside it: it stays right when
    the folder is moved."""
    if "://" in url or not Path(url).is_relative_to(folder.absolute()):
        return url
    return Path(url).relative_to(folder.absolute()).as_posix()


def store_and_name(url: str) -> tuple[str, str]:
    """The URL of the store that holds an object `FOLDER/NAME`, and that name: the inverse of
    `below`. Raises ValueError if the URL has no folder above the object."""
    if "://" not in url:
        path = Path(url).expanduser().absolute()
        return str(path.parent.parent), f"{path.parent.name}/{path.name}"
    parts = urlsplit(url)
    above, _, name = parts.path.rpartition("/")
    store, _, folder = above.rpartition("/")
    if not folder or not name:
        raise ValueError(f"{_shown(parts)} is not the URL of an object in a folder of a store")
    return urlunsplit(parts._replace(path=store)), f"{unquote(folder)}/{unquote(name)}"


def _path_store(parts: SplitResult) -> PathStore:
    _options(parts, (), PATH_EXAMPLE)
    if parts.netloc not in ("", "localhost") or len(parts.path) < 2:
        raise ValueError(f"{_shown(parts)} names no folder; example: {PATH_EXAMPLE}")
    return PathStore(Path(unquote(parts.path)))


def _this_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise ValueError(
            f"this user has no name; give one in the URL, as in {SFTP_EXAMPLE}"
        ) from error


def _sftp_store(
    parts: SplitResult, port: int | None, connect_timeout: float, stall_timeout: float
) -> Store:
    # Each kind of store needs a library that the others do not.
    from tune_app.stores.sftp import SftpStore  # noqa: PLC0415
    from tune_app.stores.ssh import SshAddress  # noqa: PLC0415

    options = _options(parts, ("key", "known_hosts", "files"), SFTP_EXAMPLE)
    files = options.pop("files", None)
    if files not in (None, "read-only"):
        raise ValueError(
            f"the option files of an sftp store can only be read-only, as in {SFTP_EXAMPLE}"
            "&files=read-only; without it the server decides"
        )
    for name, value in options.items():
        if not value.startswith(("/", "~/")):
            raise ValueError(
                f"{name}={value} depends on the working directory; start it with / or ~/, as in "
                f"{SFTP_EXAMPLE}"
            )
    path = unquote(parts.path)
    if not parts.hostname or path in ("", "/"):
        raise ValueError(f"{_shown(parts)} lacks a host or a folder; example: {SFTP_EXAMPLE}")
    address = SshAddress(
        host=parts.hostname,
        port=22 if port is None else port,
        user=unquote(parts.username or "") or _this_user(),
        key=options.get("key"),
        known_hosts=options.get("known_hosts"),
    )
    return SftpStore(
        address,
        path.removeprefix("/~/").rstrip("/"),
        read_only_files=files is not None,
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
            f"{_shown(parts)} must have only a bucket before the path; give an endpoint with "
            f"?endpoint=, keys in the environment; example: {S3_EXAMPLE}"
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
    """The options after the question mark. Errors do not repeat values, which may be secrets."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in pairs:
        if name not in known or not value:
            raise ValueError(
                f"unknown option {name} of a {parts.scheme} store; its options are "
                f"{' and '.join(known) or 'none'}, as in {example}"
                if value
                else f"the option {name} of the {parts.scheme} store is empty; see {example}"
            )
    if len(pairs) != len(dict(pairs)):
        raise ValueError(f"an option of the {parts.scheme} store is given twice; see {example}")
    return dict(pairs)


def _endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(
            "the endpoint of an s3 store must be http or https, a host and a port, and nothing "
            "else; example: endpoint=http://127.0.0.1:9000"
        )
    return endpoint.rstrip("/")


def _is_bucket(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) is not None


def _shown(parts: SplitResult) -> str:
    """The URL without the user part, where people put their keys for s3."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _examples() -> str:
    return f"{PATH_EXAMPLE}, {SFTP_EXAMPLE}, {S3_EXAMPLE}"
