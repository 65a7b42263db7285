"""A link between two hosts that is impaired on purpose, in user space: what netem does, where a kernel has none.

Each host is a network namespace with a TUN device; packets pass between them through this process, which drops, delays,
reorders, slows and rewrites them. All of it can be changed while it runs. "near" has a public address; "far" has a
private one behind a NAT, which forgets its mappings when it is told to. Needs root and /dev/net/tun.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import struct
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import inet_aton
from typing import Any, Self, TypeVar

from tests.whole.namespaces import enter, ip

T = TypeVar("T")

TUN = Path("/dev/net/tun")
NEAR, FAR, PUBLIC = "10.99.0.1", "192.168.7.2", "10.99.0.100"

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

MAX_PACKET = 65536
#: What a router keeps of one direction; beyond it the newest is lost.
MOST_QUEUED = 1 << 20
#: A packet that is overtaken comes so much later.
OVERTAKEN_S = 0.05

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_PORTS = struct.Struct("!HH")
_NUMBERS = struct.Struct("!II")


def lacking() -> str:
    """Why no such link can be made here; "" where one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not TUN.exists():
        return f"there is no {TUN}"
    return ""


# -- packets (RFC 791, RFC 9293)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" if len(data) % 2 else data
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def adjusted(check: int, old: bytes, new: bytes) -> int:
    """The checksum after ``old`` has become ``new`` (RFC 1624, equation 3)."""
    words = len(old) // 2
    total: int = (~check & 0xFFFF) + sum(~word & 0xFFFF for word in struct.unpack(f"!{words}H", old))
    total += sum(struct.unpack(f"!{words}H", new))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Packet:
    """An IPv4 packet with TCP in it, to be read and rewritten in place."""

    __slots__ = ("data", "tcp")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.tcp = (data[0] & 0x0F) * 4

    @classmethod
    def read(cls, data: bytes) -> Packet | None:
        """None where it is anything else, or a fragment."""
        if len(data) < 40 or data[0] >> 4 != 4 or data[9] != 6 or (data[6] & 0x3F) | data[7]:
            return None
        return cls(bytearray(data))

    @property
    def flags(self) -> int:
        return self.data[self.tcp + 13]

    @property
    def numbers(self) -> tuple[int, int]:
        """Sequence number and acknowledgement number."""
        sequence, acknowledged = _NUMBERS.unpack_from(self.data, self.tcp + 4)
        return sequence, acknowledged

    @property
    def source(self) -> tuple[bytes, int]:
        return bytes(self.data[12:16]), _PORTS.unpack_from(self.data, self.tcp)[0]

    @property
    def target(self) -> tuple[bytes, int]:
        return bytes(self.data[16:20]), _PORTS.unpack_from(self.data, self.tcp)[1]

    def rewrite(self, *, source: tuple[bytes, int] | None = None, target: tuple[bytes, int] | None = None) -> None:
        """Give it another address and port, and the checksums that it then has."""
        for end, at in ((source, 0), (target, 1)):
            if end is not None:
                address, port = end[0], end[1].to_bytes(2)
                self._replace(12 + 4 * at, address, 10, self.tcp + 16)
                self._replace(self.tcp + 2 * at, port, self.tcp + 16)

    def _replace(self, at: int, new: bytes, *checks: int) -> None:
        old = bytes(self.data[at : at + len(new)])
        self.data[at : at + len(new)] = new
        for place in checks:
            before = int.from_bytes(self.data[place : place + 2])
            self.data[place : place + 2] = adjusted(before, old, new).to_bytes(2)


def reset_packet(source: tuple[bytes, int], target: tuple[bytes, int], sequence: int) -> bytes:
    """A RST, as one in the middle forges it."""
    tcp = struct.pack("!HHIIBBHHH", source[1], target[1], sequence, 0, 5 << 4, RST, 0, 0, 0)
    pseudo = source[0] + target[0] + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + checksum(pseudo + tcp).to_bytes(2) + tcp[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source[0], target[0])
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + tcp


class Nat:
    """One public address for what is behind it. What has no mapping goes nowhere, but for what begins a connection."""

    def __init__(self, public: str = PUBLIC) -> None:
        self.public = inet_aton(public)
        self._next = 20_000
        self._outward: dict[tuple[bytes, int], int] = {}
        self._inward: dict[int, tuple[bytes, int]] = {}

    def outward(self, packet: Packet) -> bool:
        """Rewrite one from behind; False where it is to be dropped."""
        port = self._outward.get(packet.source)
        if port is None:
            if packet.flags & (SYN | ACK) != SYN:
                return False
            port = self._outward[packet.source] = self._next
            self._inward[port] = packet.source
            self._next = 20_000 + (self._next + 1 - 20_000) % 40_000
        packet.rewrite(source=(self.public, port))
        return True

    def inward(self, packet: Packet) -> bool:
        """Rewrite one from outside; False where it is to be dropped."""
        address, port = packet.target
        behind = self._inward.get(port) if address == self.public else None
        if behind is None:
            return False
        packet.rewrite(target=behind)
        return True

    def rebind(self, public: str | None = None) -> None:
        """Forget every mapping; from now on under that address. The ports are others."""
        self._outward.clear()
        self._inward.clear()
        if public is not None:
            self.public = inet_aton(public)


class Flows:
    """Which connections there are, as seen from outside of the NAT, and what each end waits for next."""

    def __init__(self) -> None:
        self._awaited: dict[tuple[tuple[bytes, int], tuple[bytes, int]], int] = {}  # by who sends, and to where

    def see(self, packet: Packet) -> None:
        """One passes."""
        way = packet.source, packet.target
        back = packet.target, packet.source
        if packet.flags & RST:
            self._awaited.pop(way, None)
            self._awaited.pop(back, None)
        elif packet.flags & ACK:
            # What the sender of this acknowledges is what it waits for from the other end.
            self._awaited[back] = packet.numbers[1]

    def resets(self) -> list[bytes]:
        """A RST for both ends of each; then they are forgotten."""
        found = [reset_packet(*way, sequence) for way, sequence in self._awaited.items()]
        self._awaited.clear()
        return found


# -- the link


@dataclass
class Conditions:
    """Of one direction."""

    drops: bool = False
    loss: float = 0.0  # the share of packets that are lost
    delay_s: float = 0.0
    reordered: float = 0.0  # the share of packets that are overtaken
    rate: float = 0.0  # bytes per second; 0: without bound


class Direction:
    """Packets on their way to one device."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, generator: random.Random) -> None:
        self.now = Conditions()
        self.carried = self.dropped = 0
        self._loop = loop
        self._fd = fd
        self._generator = generator
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, data: bytes) -> None:
        """Deliver it as the conditions are."""
        now, chance = self.now, self._generator.random
        if now.drops or (now.loss and chance() < now.loss) or self._queued + len(data) > MOST_QUEUED:
            self.dropped += 1
        elif now.reordered and chance() < now.reordered:
            self._loop.call_later(now.delay_s + OVERTAKEN_S, self._write, data)
        elif now.delay_s or now.rate or self._waiting:
            # In their order, whatever the conditions were when they came.
            self._free_at = max(self._free_at, self._loop.time()) + (len(data) / now.rate if now.rate else 0.0)
            self._waiting.append((self._free_at + now.delay_s, data))
            self._queued += len(data)
            if self._timer is None:
                self._timer = self._loop.call_at(self._waiting[0][0], self._due)
        else:
            self._write(data)

    def _due(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            _, data = self._waiting.popleft()
            self._queued -= len(data)
            self._write(data)
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._due)

    def _write(self, data: bytes) -> None:
        if self.now.drops:  # what was on its way as well
            self.dropped += 1
            return
        self.carried += 1
        with suppress(OSError):  # the device is full, or down: a packet is lost
            os.write(self._fd, data)


class Host:
    """A loop in a thread of its own, in a network namespace: what is opened there stays there."""

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace
        self.loop = asyncio.SelectorEventLoop()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.result()

    def _serve(self) -> None:
        try:
            if self.namespace is not None:
                enter(self.namespace)
        except OSError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        self.loop.run_forever()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def call(self, act: Callable[[], T]) -> T:
        """What a function gives there."""

        async def once() -> T:
            return act()

        return self.run(once())

    def close(self) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


def open_tun(name: str) -> int:
    fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except BaseException:
        os.close(fd)
        raise
    return fd


class ImpairedLink:
    """Two hosts and what is between them. ``to_near`` and ``to_far`` are the directions, by where they lead.

    ``word`` tells links of one process apart. ``etc`` of a host are files that its programs have in /etc.
    """

    def __init__(self, word: str = "", *, seed: int = 1) -> None:
        self.near_name, self.far_name = (f"hw-{end}-{os.getpid()}{word}" for end in ("near", "far"))
        self.nat = Nat()
        self.flows = Flows()
        self._seed = seed
        self._fds: list[int] = []
        self._hosts: list[Host] = []

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        for name in (self.near_name, self.far_name):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        self.near, self.far, self._middle = Host(self.near_name), Host(self.far_name), Host()
        self._hosts = [self.near, self.far, self._middle]
        near, far = (host.call(lambda: open_tun("wire")) for host in (self.near, self.far))
        self._fds = [near, far]
        for name, address in ((self.near_name, f"{NEAR}/16"), (self.far_name, f"{FAR}/24")):
            ip("-n", name, "addr", "add", address, "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
        ip("-n", self.far_name, "route", "add", "default", "dev", "wire")
        loop = self._middle.loop
        self.to_near = Direction(loop, near, random.Random(self._seed))
        self.to_far = Direction(loop, far, random.Random(self._seed + 1))
        self._middle.call(lambda: loop.add_reader(far, self._from, far, self._outward))
        self._middle.call(lambda: loop.add_reader(near, self._from, near, self._inward))

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            self._middle.call(lambda fd=fd: self._middle.loop.remove_reader(fd))
        for host in self._hosts:
            host.close()
        for fd in self._fds:
            os.close(fd)
        self._fds, self._hosts = [], []
        for name in (self.near_name, self.far_name):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _from(self, fd: int, pass_on: Callable[[Packet], None]) -> None:
        for _ in range(32):  # then the other device has its turn
            try:
                data = os.read(fd, MAX_PACKET)
            except OSError:
                return
            packet = Packet.read(data)
            if packet is not None:
                pass_on(packet)

    def _outward(self, packet: Packet) -> None:
        if self.nat.outward(packet):
            self.flows.see(packet)
            self.to_near.carry(bytes(packet.data))

    def _inward(self, packet: Packet) -> None:
        self.flows.see(packet)
        if self.nat.inward(packet):
            self.to_far.carry(bytes(packet.data))

    # -- what can be done to it

    def set(self, *directions: Direction, **conditions: Any) -> None:
        """These are the conditions of those directions (of both, where none is named); the others are as at first."""
        for direction in directions or (self.to_near, self.to_far):
            direction.now = Conditions(**conditions)

    def rebind(self, public: str | None = None) -> None:
        """Let the NAT forget what it knew."""
        self._middle.call(lambda: self.nat.rebind(public))

    def reset(self) -> None:
        """Reset every connection, at both ends."""

        def forge() -> None:
            for data in self.flows.resets():
                packet = Packet(bytearray(data))
                if packet.source[0] == self.nat.public:
                    self.to_near.carry(data)
                elif self.nat.inward(packet):
                    self.to_far.carry(bytes(packet.data))

        self._middle.call(forge)

    def move(self, end: str, old: str, new: str) -> None:
        """Give a host another address in the place of the one it has ("address/bits")."""
        name = self.near_name if end == "near" else self.far_name
        # The first of a network takes the others with it: so it goes before they come.
        ip("-n", name, "addr", "del", old, "dev", "wire")
        ip("-n", name, "addr", "add", new, "dev", "wire")
        if end == "far":  # it went with the address
            ip("-n", name, "route", "replace", "default", "dev", "wire")
