"""A bucket of S3, or of what speaks like it."""

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
    "NoSuchBucket": "there is no such bucket; make it, or name another",
    "AccessDenied": "access denied; let these AWS keys list, read, write and delete there",
    "InvalidAccessKeyId": "the AWS access key is unknown there; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the AWS secret key is not the right one; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the AWS session has expired; fetch new keys",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "EntityTooLarge": "the content is larger than one upload may be; name a path or sftp store",
}


class S3Store:
    """Contents as objects of a bucket, each uploaded in one request: it appears whole or not.

    The keys come from where every AWS client looks for them: the environment, a profile, the
    machine's role.

    Args:
        prefix: what the names of all objects begin with; may be empty.
        endpoint: where the server is, if it is not Amazon's.
        region: of the bucket; None: as the AWS environment says, or us-east-1.
        connect_timeout: seconds until a connection must stand, and until a part is sent.
        stall_timeout: seconds in which the server must answer, or go on answering.
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
        """What opens it again, given AWS keys."""
        options = {"endpoint": self._endpoint, "region": self._region}
        query = "&".join(
            f"{name}={quote(value, safe=':/')}" for name, value in options.items() if value
        )
        prefix = f"/{quote(self._prefix)}" if self._prefix else ""
        return f"s3://{self._bucket}{prefix}" + (f"?{query}" if query else "")

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes a content in one request; until the server has all of it there is nothing."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> None:
            # As a file it is sent in parts, each with a time-out; as bytes all in one.
            client.put_object(Bucket=self._bucket, Key=key, Body=io.BytesIO(content))

        self._run(f"cannot write {name}", operation)

    def read(self, name: str) -> bytes:
        """The content of a name. Raises NotStoredError."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> bytes:
            try:
                with client.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
                    content: bytes = body.read()
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                    raise NotStoredError(
                        f"{self.url} holds no {name}; names() tells what it holds"
                    ) from None
                raise
            return content

        return self._run(f"cannot read {name}", operation)

    def names(self, folder: str) -> list[str]:
        """Names of the contents in a folder, sorted; its sub-folders are not looked into."""
        prefix = f"{folder}/" if naming.checked_folder(folder) else ""
        start = self._key(prefix)

        def operation(client: Any) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start, Delimiter="/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
            # A key that ends in / is what some tools leave for a folder.
            return sorted(
                prefix + key.removeprefix(start)
                for key in keys
                if not key.endswith(("/", naming.TEMPORARY))
            )

        return self._run(f"cannot list {folder or 'it'}", operation)

    def remove(self, name: str) -> None:
        """Removes a content; nothing happens where there is none."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> None:
            client.delete_object(Bucket=self._bucket, Key=key)

        self._run(f"cannot remove {name}", operation)

    def remove_leftovers(self, folder: str, *, older_than: float = naming.LEFT_FOR_GOOD) -> None:
        """Nothing: S3 keeps nothing of an upload that did not end."""
        naming.checked_folder(folder)

    def free_bytes(self) -> int | None:
        """None: a bucket has no end that it knows of."""
        return None

    def check(self) -> None:
        """Writes, reads and removes a small content."""
        write_read_remove(self)

    def close(self) -> None:
        """Lets go of connections; a later call opens them again."""
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
                # Without an endpoint of its own, AWS_REGION counts too, which botocore ignores.
                region_name=region or os.environ.get("AWS_REGION") or "us-east-1",
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=self._connect_timeout,
                    read_timeout=self._stall_timeout,
                    # Who calls decides whether to try again, and can tell the user.
                    retries={"total_max_attempts": 1},
                    s3={"addressing_style": "path" if self._endpoint else "auto"},
                    # Many servers that speak like S3 do not know the newer checksums.
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
                    f"{failed}: no room is left ({code}); make room there, or name another store"
                )
            if code in _PASSING or status >= 500 or status == 429:
                return StoreUnreachableError(
                    f"{failed}: the server is busy or broken ({code}, HTTP {status}); try later"
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
                f"{failed}: no trust in the server ({reason}); check endpoint= and its certificate"
            )
        if isinstance(error, (HTTPClientError, LostError, IncompleteReadError, OSError)):
            return StoreUnreachableError(
                f"{failed}: {reason}; check the endpoint, that the server runs and the network"
            )
        return StoreRefusedError(
            f"{failed}: {reason}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
