"""sd_notify(3) as the manager hears it, on a path and in the abstract namespace."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from proxy.ops.journal import Notifier


def manager(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.settimeout(5)
    return sock


def test_what_is_said(tmp_path: Path):
    with manager(str(tmp_path / "n")) as sock:
        notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "n")})
        notifier.ready("configuration 1\nREADY=0")
        notifier.reloading()
        notifier.stopping("draining")
        notifier.alive()
        notifier.main_pid(77)
        notifier.close()
        notifier.alive()
        heard = [sock.recv(1000).decode() for _ in range(5)]
    assert heard[0] == "READY=1\nSTATUS=configuration 1 READY=0"
    begun, _, usec = heard[1].partition("\nMONOTONIC_USEC=")
    assert begun == "RELOADING=1"
    assert 0 <= time.monotonic() - int(usec) / 1e6 < 60
    assert heard[2:] == ["STOPPING=1\nSTATUS=draining", "WATCHDOG=1", "MAINPID=77"]


def test_who_waits_for_a_reload_hears_of_it_and_of_nothing_else(tmp_path: Path):
    with manager(str(tmp_path / "n")) as systemd, manager(str(tmp_path / "r")) as waiting:
        notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "n"), "HOOKWARD_RELOAD_SOCKET": str(tmp_path / "r")})
        notifier.alive()
        notifier.reloading()
        notifier.ready("two", refused=True)
        notifier.reloading()
        notifier.ready("three")
        notifier.close()
        heard = [waiting.recv(1000).decode().splitlines() for _ in range(4)]
        told = [systemd.recv(1000).decode().splitlines() for _ in range(5)]
    assert [lines[0] for lines in heard] == ["RELOADING=1", "READY=1"] * 2
    assert heard[1] == ["READY=1", "STATUS=two; the last reload was refused", "X_HOOKWARD_RELOAD=refused"]
    assert heard[3] == ["READY=1", "STATUS=three"]
    assert told[1:] == [heard[0], heard[1][:2], heard[2], heard[3]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
def test_abstract_names():
    name = f"hookward-test-{os.getpid()}"
    with manager(f"\0{name}") as sock:
        notifier = Notifier(f"@{name}")
        notifier.alive()
        assert sock.recv(100) == b"WATCHDOG=1"
        notifier.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1", "relative"])
def test_nobody_to_speak_to(address: str, monkeypatch: pytest.MonkeyPatch):
    sockets: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *kind: sockets.append(kind))
    Notifier(address).ready("x")
    assert sockets == []


def test_a_manager_that_is_gone_or_does_not_read_stops_nobody(tmp_path: Path):
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready("x")
    notifier.close()
    with manager(str(tmp_path / "n")) as sock:
        notifier = Notifier(str(tmp_path / "n"))
        for _ in range(2000):
            began = time.monotonic()
            notifier.alive()
            if time.monotonic() - began > 0.1:  # its queue is full
                break
        else:
            pytest.fail("its queue is never full")
        assert sock.recv(100) == b"WATCHDOG=1"
        notifier.alive()
        assert sock.recv(100) == b"WATCHDOG=1", "it is spoken to again"
        notifier.close()


@pytest.mark.parametrize(
    ("environ", "new", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, False, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, False, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, False, 0.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, True, 15.0),
        ({"WATCHDOG_USEC": "soon"}, False, 0.0),
        ({}, False, 0.0),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], new: bool, seconds: float):
    assert Notifier.of(environ, new=new).watchdog_s == seconds
