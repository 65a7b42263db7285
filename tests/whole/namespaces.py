"""Two hosts on one wire: network namespaces with a veth pair between them, for tests that need real addresses.

Needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2; elsewhere the test is skipped with the reason.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # linux/sched.h


class Wire:
    """The two ends, "near" and "far". ``inside`` does something as if on that host."""

    def __init__(self) -> None:
        self.names = {end: f"hw-{end}-{os.getpid()}" for end in ("near", "far")}

    def build(self, near: list[str], far: list[str]) -> None:
        """Make both ends with these addresses (in CIDR form)."""
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        one, two = self.names.values()
        ip("-n", one, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", two)
        for name, addresses in ((one, near), (two, far)):
            for address in addresses:
                # An address that is still being checked for duplicates (RFC 4862) cannot be used yet.
                ip("-n", name, "addr", "add", address, "dev", "wire", *(["nodad"] if ":" in address else []))
            ip("-n", name, "link", "set", "wire", "up")

    def remove(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def inside(self, end: str, act: Callable[[], T]) -> T:
        """What ``act`` gives in that namespace. Sockets and processes that it makes stay there."""
        results: list[T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                enter(self.names[end])
                results.append(act())
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread of the test
                failures.append(error)

        # A thread of its own: the namespace is the thread's, and ends with it.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]


def enter(name: str) -> None:
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True, text=True)


@contextmanager
def wired(near: list[str], far: list[str]) -> Iterator[Wire]:
    """The two hosts; the test is skipped where they cannot be made."""
    if shutil.which("ip") is None:
        pytest.skip("no network namespaces here: there is no iproute2")
    wire = Wire()
    try:
        try:
            wire.build(near, far)
            wire.inside("far", lambda: None)
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        yield wire
    finally:
        wire.remove()
