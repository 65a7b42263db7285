"""Sockets that change hands, with a real process on the other side."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest

from proxy.config.notation import ListenAddress
from proxy.errors import ConfigError
from proxy.ops.places import HANDOVER_VARIABLE, WEBHOOKS, ListenPlace, NewProcess, SocketStore, receive

ROOT = str(Path(__file__).resolve().parents[2])
ENVIRON = {**os.environ, "PYTHONPATH": ROOT}

NEW = """
import os, sys
from proxy.ops.places import HANDOVER_VARIABLE, receive
old = receive(os.environ)
assert HANDOVER_VARIABLE not in os.environ
[(place, bound)] = old.held
assert not os.get_inheritable(bound.sock.fileno()) and not os.get_inheritable(old.fileno())
old.say_ready()
assert old.channel.recv(1) == b"", "the old process says so by closing"
bound.sock.setblocking(True)
sock, _ = bound.sock.accept()
sock.sendall(f"{place.use} {place.address} {bound.inode is not None} {str(bound) != str(place.address)}".encode())
"""


def wait(new: NewProcess) -> bool:
    while (serves := new.serves()) is None:
        assert select.select([new], [], [], 15)[0], "the new process says nothing"
    return serves


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_connection_that_waits_is_served_by_the_new_process(tmp_path: Path, kind: str):
    path = str(tmp_path / "in.sock")
    address = ListenAddress("127.0.0.1", 0) if kind == "tcp" else ListenAddress(path=path)
    held = SocketStore({}).take([ListenPlace(WEBHOOKS, address)])
    sock = held[0][1].sock
    new = NewProcess(held, ENVIRON, [sys.executable, "-c", NEW])
    with socket.socket(sock.family) as waiting:
        waiting.settimeout(15)
        waiting.connect(sock.getsockname())
        assert wait(new)
        held[0][1].close(unlink=False)
        new.confirm()
        told = b"".join(iter(lambda: waiting.recv(100), b"")).decode()
    assert told == f"webhooks {address} {kind == 'unix'} {kind == 'tcp'}"
    os.waitpid(new.pid, 0)


def test_a_new_process_that_ends_takes_nothing_over():
    new = NewProcess([], ENVIRON, [sys.executable, "-c", "import os; os._exit(78)"])
    assert wait(new) is False
    assert new.give_up() == 78


def test_one_that_says_nothing_can_be_given_up():
    new = NewProcess([], ENVIRON, ["/bin/sleep", "60"])
    assert new.serves() is None
    assert new.give_up() == -signal.SIGKILL


def test_one_that_cannot_be_started(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        NewProcess([], ENVIRON, [str(tmp_path / "missing")])


def test_nothing_was_left():
    assert receive({}) is None


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        "{}",
        '{"channel":1,"sockets":[]}',
        '{"channel":"3","sockets":[]}',
        '{"channel":99999,"sockets":[]}',
        '{"channel":3,"sockets":[{"fd":99999,"use":"webhooks","place":":1","address":":1","inode":null}]}',
    ],
)
def test_what_nobody_has_left_is_a_mistake(text: str):
    environ = {HANDOVER_VARIABLE: text}
    with pytest.raises(ConfigError, match=HANDOVER_VARIABLE):
        receive(environ)
    assert environ == {}


def test_a_socket_that_does_not_listen_is_none():
    sock = socket.socket()
    one = {"fd": sock.detach(), "use": "webhooks", "place": ":1", "address": ":1", "inode": None}
    with pytest.raises(ConfigError):
        receive({HANDOVER_VARIABLE: json.dumps({"channel": 3, "sockets": [one]})})
