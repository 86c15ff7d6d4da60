"""A store in a bucket of S3 or of an S3-compatible server."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar
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
    Sink,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.probe import write_read_remove
from tune_app.stores.spool import Pieces, spooled

T = TypeVar("T")

_PIECE = 2**20

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


@dataclass
class _Parts:
    """An upload in parts, begun with the first."""

    bucket: str
    key: str
    upload: str = ""
    tags: list[str] = field(default_factory=list)
    """What the server calls each part."""

    @property
    def begun(self) -> bool:
        return bool(self.upload)

    def add(self, client: Any, piece: memoryview) -> None:
        """Sends the next part."""
        if not self.begun:
            answer = client.create_multipart_upload(Bucket=self.bucket, Key=self.key)
            self.upload = answer["UploadId"]
        sent = client.upload_part(
            **self._named, PartNumber=len(self.tags) + 1, Body=io.BytesIO(piece)
        )
        self.tags.append(sent["ETag"])

    def complete(self, client: Any) -> None:
        """Makes an object of the parts."""
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(self.tags, start=1)]
        client.complete_multipart_upload(**self._named, MultipartUpload={"Parts": parts})

    def abort(self, client: Any) -> None:
        """Removes the parts."""
        client.abort_multipart_upload(**self._named)

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": self.upload}


class S3Store:
    """Objects in a bucket: each appears completely or not at all.

    AWS keys are found as in every AWS client: the environment, a profile, the machine's role.

    Args:
        prefix: common prefix of all object names; may be empty.
        endpoint: URL of the server, if it is not Amazon's.
        region: of the bucket; None: from the AWS environment, else us-east-1.
        connect_timeout: seconds allowed for connecting, and for sending each part.
        stall_timeout: seconds after which a server that sends nothing counts as stalled.
        part_bytes: of a large object that are in memory and sent in one request; at least 5 MiB.
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
        part_bytes: int = 64 * 2**20,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._endpoint = endpoint
        self._region = region
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._part_bytes = part_bytes
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

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """A sink that uploads in parts; the object exists once the server has put them together.

        What fits into one part is written in one request.
        """
        key, what = self._key(naming.checked(name)), f"cannot write {name}"
        with self._lock:
            parts = _Parts(bucket=self._bucket, key=key)
            sink = Pieces(
                lambda piece: self._now(what, lambda client: parts.add(client, piece)),
                size=self._part_bytes,
            )
            try:
                yield sink
                if parts.begun:
                    sink.finish()
                    self._now(what, parts.complete)
                else:
                    content = io.BytesIO(sink.held)
                    self._now(
                        what,
                        lambda client: client.put_object(
                            Bucket=self._bucket, Key=key, Body=content
                        ),
                    )
            except BaseException:
                if parts.begun:
                    with suppress(StoreError):
                        self._now(what, parts.abort)
                raise

    def fetch(self, name: str, sink: Sink) -> None:
        """Writes an object into a sink. Raises NotStoredError."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> None:
            with self._got(client, key, name)["Body"] as body:
                while piece := body.read(_PIECE):
                    sink.write(piece)

        self._run(f"cannot read {name}", operation)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """The object in a temporary file. Raises NotStoredError."""
        with spooled(lambda sink: self.fetch(name, sink)) as file:
            yield file

    def read(self, name: str) -> bytes:
        """Reads an object. Raises NotStoredError."""
        key = self._key(naming.checked(name))

        def operation(client: Any) -> bytes:
            with self._got(client, key, name)["Body"] as body:
                content: bytes = body.read()
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
        """Aborts uploads in parts that were begun at least `older_than` seconds ago."""
        prefix = f"{folder}/" if naming.checked_folder(folder) else ""
        start = self._key(prefix)

        def operation(client: Any) -> None:
            found = client.list_multipart_uploads(Bucket=self._bucket, Prefix=start)
            for upload in found.get("Uploads", ()):
                deeper = "/" in upload["Key"].removeprefix(start)
                if not deeper and upload["Initiated"].timestamp() <= time.time() - older_than:
                    _Parts(self._bucket, upload["Key"], upload["UploadId"]).abort(client)

        self._run(f"cannot clean up {folder or 'it'}", operation)

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

    def _got(self, client: Any, key: str, name: str) -> Any:
        try:
            return client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                raise NotStoredError(
                    f"{self.url} holds no {name}; names() lists what it holds"
                ) from None
            raise

    def _run(self, what: str, operation: Callable[[Any], T]) -> T:
        with self._lock:
            return self._now(what, operation)

    def _now(self, what: str, operation: Callable[[Any], T]) -> T:
        """Runs an operation for a caller that holds the lock."""
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
