"""Whether a head's port for workers is tried, and what is said where it is shut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tune_app.stores.servers import free_port
from tune_app.cloud.head.reachable import check_reachable
from tune_app.cloud.head.shell import HeadUnreachableError


@contextmanager
def greeting(said: bytes, *, port: int = 0) -> Iterator[int]:
    """A server that greets and hangs up."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(said)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def test_a_head_that_greets_as_ssh_does_is_reached() -> None:
    with greeting(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        check_reachable("127.0.0.1", port, within_s=0)


def test_a_port_that_is_shut_is_told_with_the_remedy() -> None:
    port = free_port()
    with pytest.raises(HeadUnreachableError, match=rf"Allow TCP port {port} in .*overlay\.port"):
        check_reachable("127.0.0.1", port, within_s=0)


def test_something_else_at_the_port_is_no_head() -> None:
    with (
        greeting(b"HTTP/1.1 400\r\n") as port,
        pytest.raises(HeadUnreachableError, match="answered by b'HTTP/1"),
    ):
        check_reachable("127.0.0.1", port, within_s=0)


def test_a_server_that_is_still_starting_is_waited_for() -> None:
    port = free_port()
    failed: list[BaseException] = []

    def check() -> None:
        try:
            check_reachable("127.0.0.1", port, within_s=10)
        except BaseException as error:
            failed.append(error)

    checking = threading.Thread(target=check)
    checking.start()
    with greeting(b"SSH-2.0-x\r\n", port=port):
        checking.join(10)
    assert (failed, checking.is_alive()) == ([], False)
