"""Doors open and close by difference."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.config.endpoints import ListenAddress
from proxy.net.sockets import AddressInUseError
from proxy.ops.doors import Doors, Wanted
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

    async def abandon(self) -> None:
        self.abandoned = True

    @property
    def open(self) -> bool:
        return self.sock.fileno() >= 0


class House:
    """Doors whose servers are counted."""

    def __init__(self) -> None:
        self.doors = Doors(SocketStore({}))
        self.made: list[Server] = []

    def wanted(self, port: int = 0, *, name: str = "", service: object = "plain", path: Path | None = None) -> Wanted:
        address = ListenAddress(path=str(path)) if path else ListenAddress("127.0.0.1", port)
        return Wanted(name, address, str(service), lambda sock: Server(sock, self.made))

    def addresses(self) -> list[str]:
        return [str(door.bound) for door in self.doors.open]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_each_address_gets_a_server_that_was_started():
    house = House()
    house.doors.change([house.wanted(), house.wanted(), house.wanted(name="ssh")])
    assert [door.wanted.name for door in house.doors.open] == ["", "", "ssh"]
    assert len(set(house.addresses())) == 3
    assert all(server.started for server in house.made)
    for door in house.doors.open:
        socket.create_connection(door.bound.sock.getsockname()).close()
    house.doors.stop()
    assert house.doors.open == []
    assert not any(server.open for server in house.made)


def test_what_stays_the_same_is_not_touched():
    house = House()
    house.doors.change([house.wanted()])
    before, address = house.doors.open[0].server, house.addresses()
    house.doors.change([house.wanted()])
    assert house.doors.open[0].server is before
    assert house.addresses() == address
    house.doors.stop()


def test_another_service_keeps_the_socket_and_who_knocks():
    house = House()
    house.doors.change([house.wanted()])
    address = house.doors.open[0].bound.sock.getsockname()
    with socket.create_connection(address) as knocking:
        house.doors.change([house.wanted(service="tls")])
        old, new = house.made
        assert not old.open
        assert new.started
        sock, peer = new.sock.accept()
        sock.close()
        assert peer == knocking.getsockname()
    house.doors.stop()


def test_what_is_wanted_no_more_is_closed_and_what_is_new_is_opened():
    house = House()
    first, second = free_port(), free_port()
    house.doors.change([house.wanted(first)])
    house.doors.change([house.wanted(second)])
    assert house.addresses() == [f"127.0.0.1:{second}"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    house.doors.stop()


def test_where_one_address_is_taken_nothing_changes():
    house = House()
    kept, fresh = free_port(), free_port()
    house.doors.change([house.wanted(kept)])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AddressInUseError):
        house.doors.change([house.wanted(fresh), house.wanted(taken.getsockname()[1])])
    assert house.addresses() == [f"127.0.0.1:{kept}"]
    assert house.made[0].open
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", fresh))
    house.doors.stop()


def test_the_file_of_a_unix_socket_goes_with_its_door(tmp_path: Path):
    house = House()
    path = tmp_path / "in.sock"
    house.doors.change([house.wanted(path=path)])
    house.doors.change([house.wanted(path=path, service="other")])
    assert path.exists()
    house.doors.stop()
    assert not path.exists()


def test_what_is_under_way_ends_with_abandon():
    house = House()
    house.doors.change([house.wanted()])
    house.doors.change([house.wanted(service="other")])
    house.doors.stop()
    asyncio.run(house.doors.abandon())
    assert [server.abandoned for server in house.made] == [True, True]


def test_the_queue_is_taken_when_we_leave_and_not_when_a_door_changes_hands():
    house = House()
    port = free_port()
    house.doors.change([house.wanted(port), house.wanted(name="ssh")])
    house.doors.change([house.wanted(port)])
    house.doors.change([house.wanted(port, service="tls")])
    assert [server.taken_open for server in house.made] == [[]] * len(house.made)
    house.doors.take_queue()
    house.doors.stop()
    assert [server.taken_open for server in house.made if server.taken_open] == [[True]]
