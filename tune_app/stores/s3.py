"""A store in a bucket of S3 or of an S3-compatible server."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.exceptions import ConnectionError as LostError

from tune_app.stores import naming
from tune_app.stores.base import (
    NotStoredError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.probe import write_read_remove

T = TypeVar("T")

_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_PASSING = frozenset({"SlowDown", "RequestTimeout", "Throttling", "OperationAborted"})
_REMEDIES = {
    "NoSuchBucket": "there is no such bucket; create it, or use another",
    "AccessDenied": "access denied; let these AWS keys list, read, write and delete there",
    "InvalidAccessKeyId": "the AWS access key is unknown there; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the AWS secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the AWS session has expired; get new keys",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "EntityTooLarge": "the object is too large for one upload; use a path or an sftp store",
}


class S3Store:
    """Objects in a bucket, each uploaded in one request: it appears completely or not at all.

    AWS keys are found as in every AWS client: the environment, a profile, the machine's role.

    Args:
        prefix: common prefix of all object names; may be empty.
        endpoint: URL of the server, if it is not Amazon's.
        region: of the bucket; None: from the AWS environment, else us-east-1.
        connect_timeout: seconds allowed for connecting, and for sending each part.
        stall_timeout: seconds after which a server that sends nothing counts as stalled.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        connect_timeout: float = 15.0,
        stall_timeout: float = 30.0,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._endpoint = endpoint
        self._region = region
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._lock = threading.Lock()
        self._connected: Any = None

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    @property
    def url(self) -> str:
        """URL that reopens the store, given AWS keys."""
        options = {"endpoint": self._endpoint, "region": self._region}
        query = "&".join(
            f"{name}={quote(value, safe=':/')}" for name, value in options.items() if value
        )
        prefix = f"/{quote(self._prefix)}" if self._prefix else ""
        return f"s3://{self._bucket}{prefix}" + (f"?{query}" if query else "")

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes an object in one request; it exists only once the server has all of it."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> None:
            # A file object is sent in parts, each with its own timeout; bytes in one.
            client.put_object(Bucket=self._bucket, Key=key, Body=io.BytesIO(content))

        self._run(f"cannot write {name}", operation)

    def read(self, name: str) -> bytes:
        """Reads an object. Raises NotStoredError."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> bytes:
            try:
                with client.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
                    content: bytes = body.read()
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                    raise NotStoredError(
                        f"{self.url} holds no {name}; names() lists what it holds"
                    ) from None
                raise
            return content

        return self._run(f"cannot read {name}", operation)

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder, sorted, without its sub-folders."""
        prefix = f"{folder}/" if naming.checked_folder(folder) else ""
        start = self._key(prefix)

        def operation(client: Any) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start, Delimiter="/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
            # Some tools create keys that end in / as folders.
            return sorted(
                prefix + key.removeprefix(start)
                for key in keys
                if not key.endswith(("/", naming.TEMPORARY))
            )

        return self._run(f"cannot list {folder or 'it'}", operation)

    def remove(self, name: str) -> None:
        """Removes an object; does nothing if it does not exist."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> None:
            client.delete_object(Bucket=self._bucket, Key=key)

        self._run(f"cannot remove {name}", operation)

    def remove_leftovers(self, folder: str, *, older_than: float = naming.LEFT_FOR_GOOD) -> None:
        """Does nothing: S3 keeps nothing of an incomplete upload."""
        naming.checked_folder(folder)

    def free_bytes(self) -> int | None:
        """None: a bucket reports no limit."""
        return None

    def check(self) -> None:
        """Writes, reads and removes a small object."""
        write_read_remove(self)

    def close(self) -> None:
        """Closes connections; a later call reopens them."""
        with self._lock:
            self._disconnect()

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _run(self, what: str, operation: Callable[[Any], T]) -> T:
        with self._lock:
            try:
                return operation(self._client())
            except (BotoCoreError, ClientError, OSError) as error:
                if isinstance(error, StoreError):
                    raise
                self._disconnect()
                raise self._explained(what, error) from error

    def _client(self) -> Any:
        if self._connected is None:
            session = botocore.session.get_session()
            region = self._region or session.get_config_variable("region")
            self._connected = session.create_client(
                "s3",
                # Also AWS_REGION, which botocore ignores.
                region_name=region or os.environ.get("AWS_REGION") or "us-east-1",
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=self._connect_timeout,
                    read_timeout=self._stall_timeout,
                    # The caller decides whether to retry, and can tell the user.
                    retries={"total_max_attempts": 1},
                    s3={"addressing_style": "path" if self._endpoint else "auto"},
                    # Many S3-compatible servers do not support the newer checksums.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        return self._connected

    def _disconnect(self) -> None:
        if self._connected is not None:
            self._connected.close()
        self._connected = None

    def _explained(self, what: str, error: Exception) -> StoreError:
        failed = f"{self.url}: {what}"
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", "no code"))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in _FULL or status == 507:
                return StoreFullError(
                    f"{failed}: no space is left ({code}); make room there, or use another store"
                )
            if code in _PASSING or status >= 500 or status == 429:
                return StoreUnreachableError(
                    f"{failed}: the server is busy or broken ({code}, HTTP {status}); retry later"
                )
            remedy = _REMEDIES.get(
                code,
                f"the server says {code} (HTTP {status}); check the bucket, endpoint=, region= and "
                "the AWS keys",
            )
            return StoreRefusedError(f"{failed}: {remedy}")
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, SSLError):
            return StoreRefusedError(
                f"{failed}: TLS failed ({reason}); check endpoint= and the server's certificate"
            )
        if isinstance(error, (HTTPClientError, LostError, IncompleteReadError, OSError)):
            return StoreUnreachableError(
                f"{failed}: {reason}; check the endpoint, that the server runs and the network"
            )
        return StoreRefusedError(
            f"{failed}: {reason}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
