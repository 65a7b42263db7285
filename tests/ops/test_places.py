"""Sockets by place: what is held is taken, what is missing is bound, all or nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.notation import ListenAddress
from proxy.net.sockets import AddressInUseError, NoSuchSocketError
from proxy.ops.places import ADMIN, WEBHOOKS, ListenPlace, SocketStore, places_of, shown, tcp

ANY = ListenAddress("127.0.0.1", 0)


def test_every_place_of_a_configuration():
    listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--tcp", "ssh=127.0.0.1:0=127.0.0.1:22"]
    settings = load([*listen, "--upstream", "127.0.0.1:1", "--admin", "127.0.0.1:0"], {}).settings
    assert places_of(settings) == [
        ListenPlace(WEBHOOKS, ANY),
        ListenPlace(WEBHOOKS, ListenAddress("::1", 0)),
        ListenPlace("tcp ssh", ANY),
        ListenPlace(ADMIN, ANY),
    ]


def test_held_sockets_are_taken_and_missing_ones_bound():
    first = SocketStore({}).take([ListenPlace(WEBHOOKS, ANY), ListenPlace(WEBHOOKS, ANY), ListenPlace(tcp("ssh"), ANY)])
    store = SocketStore({}, first)
    second = store.take([ListenPlace(WEBHOOKS, ANY), ListenPlace(ADMIN, ANY)])
    assert second[:2] == first[:2]
    assert second[2][0] == ListenPlace(ADMIN, ANY)
    assert shown(second) == [
        ("", str(first[0][1])),
        ("", str(first[1][1])),
        ("admin", f"127.0.0.1:{second[2][1].sock.getsockname()[1]}"),
    ]
    assert shown(first)[2][0] == "ssh"
    store.close()
    assert first[2][1].sock.fileno() == -1
    assert first[0][1].sock.fileno() >= 0
    for _, bound in second:
        bound.close()


def test_where_one_cannot_be_bound_nothing_has_changed():
    held = SocketStore({}).take([ListenPlace(WEBHOOKS, ANY)])
    store = SocketStore({}, held)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AddressInUseError):
        store.take([ListenPlace(WEBHOOKS, ANY), ListenPlace(ADMIN, ListenAddress("127.0.0.1", taken.getsockname()[1]))])
    assert store.take([ListenPlace(WEBHOOKS, ANY)]) == held
    held[0][1].close()


def test_the_file_of_a_unix_socket_stays_where_it_is_shared(tmp_path: Path):
    place = ListenPlace(WEBHOOKS, ListenAddress(path=str(tmp_path / "in.sock")))
    for unlink in (False, True):
        held = SocketStore({}).take([place])
        SocketStore({}, held).close(unlink=unlink)
        assert (tmp_path / "in.sock").exists() is not unlink


def test_sockets_of_systemd_are_several_under_one_name(monkeypatch: pytest.MonkeyPatch):
    place = ListenPlace(WEBHOOKS, ListenAddress(fd_name="hookward"))
    with pytest.raises(NoSuchSocketError):
        SocketStore({}).take([place])
    one, two = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    numbers = iter([one.detach(), two.detach()])
    monkeypatch.setattr(os, "dup", lambda _fd: next(numbers))
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "hookward:hookward"}
    held = SocketStore(environ).take([place, ListenPlace(ADMIN, ANY)])
    assert [at for at, _ in held] == [place, place, ListenPlace(ADMIN, ANY)]
    for _, bound in held:
        bound.close()
