"""Listeners open and close by difference."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.config.notation import ListenAddress
from proxy.net.sockets import AddressInUseError
from proxy.ops.listeners import Listeners, ListenerSpec
from proxy.ops.places import SocketStore


class Server:
    def __init__(self, sock: socket.socket, made: list[Server]) -> None:
        self.sock = sock
        self.started = self.abandoned = False
        self.taken_open: list[bool] = []
        made.append(self)

    def start(self) -> None:
        self.started = True

    def take_queue(self) -> None:
        self.taken_open.append(self.open)

    def stop(self) -> None:
        self.sock.close()

    @property
    def is_shielded(self) -> bool:
        return False

    def shield(self, *, on: bool) -> None:
        """There is nothing to hold back."""

    async def abandon(self) -> None:
        self.abandoned = True

    @property
    def open(self) -> bool:
        return self.sock.fileno() >= 0


class Staged:
    """Listeners whose servers are counted."""

    def __init__(self) -> None:
        self.listeners = Listeners(SocketStore({}))
        self.made: list[Server] = []

    def spec(
        self, port: int = 0, *, name: str = "", service: object = "plain", path: Path | None = None
    ) -> ListenerSpec:
        address = ListenAddress(path=str(path)) if path else ListenAddress("127.0.0.1", port)

        def make(sock):
            return Server(sock, self.made)

        return ListenerSpec(name, address, service, make)

    def addresses(self) -> list[str]:
        return [str(listener.bound) for listener in self.listeners.open]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_each_address_gets_a_server_that_was_started():
    staged = Staged()
    staged.listeners.change([staged.spec(), staged.spec(), staged.spec(name="ssh")])
    assert [listener.spec.name for listener in staged.listeners.open] == ["", "", "ssh"]
    assert len(set(staged.addresses())) == 3
    assert all(server.started for server in staged.made)
    for listener in staged.listeners.open:
        socket.create_connection(listener.bound.sock.getsockname()).close()
    staged.listeners.stop()
    assert staged.listeners.open == []
    assert not any(server.open for server in staged.made)


def test_what_stays_the_same_is_not_touched():
    staged = Staged()
    staged.listeners.change([staged.spec()])
    before, address = staged.listeners.open[0].server, staged.addresses()
    staged.listeners.change([staged.spec()])
    assert staged.listeners.open[0].server is before
    assert staged.addresses() == address
    staged.listeners.stop()


def test_another_service_keeps_the_socket_and_what_waits_there():
    staged = Staged()
    staged.listeners.change([staged.spec()])
    address = staged.listeners.open[0].bound.sock.getsockname()
    with socket.create_connection(address) as waiting:
        staged.listeners.change([staged.spec(service="tls")])
        old, new = staged.made
        assert not old.open
        assert new.started
        sock, peer = new.sock.accept()
        sock.close()
        assert peer == waiting.getsockname()
    staged.listeners.stop()


def test_what_is_wanted_no_more_is_closed_and_what_is_new_is_opened():
    staged = Staged()
    first, second = free_port(), free_port()
    staged.listeners.change([staged.spec(first)])
    staged.listeners.change([staged.spec(second)])
    assert staged.addresses() == [f"127.0.0.1:{second}"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    staged.listeners.stop()


def test_where_one_address_is_taken_nothing_changes():
    staged = Staged()
    kept, fresh = free_port(), free_port()
    staged.listeners.change([staged.spec(kept)])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AddressInUseError):
        staged.listeners.change([staged.spec(fresh), staged.spec(taken.getsockname()[1])])
    assert staged.addresses() == [f"127.0.0.1:{kept}"]
    assert staged.made[0].open
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", fresh))
    staged.listeners.stop()


def test_the_file_of_a_unix_socket_goes_with_its_listener(tmp_path: Path):
    staged = Staged()
    path = tmp_path / "in.sock"
    staged.listeners.change([staged.spec(path=path)])
    staged.listeners.change([staged.spec(path=path, service="other")])
    assert path.exists()
    staged.listeners.stop()
    assert not path.exists()


def test_what_is_under_way_ends_with_abandon():
    staged = Staged()
    staged.listeners.change([staged.spec()])
    staged.listeners.change([staged.spec(service="other")])
    staged.listeners.stop()
    asyncio.run(staged.listeners.abandon())
    assert [server.abandoned for server in staged.made] == [True, True]


def test_the_queue_is_taken_when_we_leave_and_not_when_a_listener_changes():
    staged = Staged()
    port = free_port()
    staged.listeners.change([staged.spec(port), staged.spec(name="ssh")])
    staged.listeners.change([staged.spec(port)])
    staged.listeners.change([staged.spec(port, service="tls")])
    assert [server.taken_open for server in staged.made] == [[]] * len(staged.made)
    staged.listeners.take_queue()
    staged.listeners.stop()
    assert [server.taken_open for server in staged.made if server.taken_open] == [[True]]
