"""The open sockets of a worker and who serves them; a reload opens and closes by difference.

A door that stays as it was is not touched, so a reload loses no connection attempt. One whose service changes (TLS on
or off, another upstream of plain TCP) keeps its socket and gets a new listener. New sockets are bound before anything
else changes: where that fails, nothing has. This module never knows what a policy says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from proxy.config.endpoints import ListenAddress
from proxy.net.sockets import BoundSocket
from proxy.ops.places import WEBHOOKS, Place, SocketStore, tcp
from proxy.values import frozen, mutable


class Server(Protocol):
    """Accepts on one socket: ``net.listener.Listener`` or ``net.tcp_forward.TcpForward``."""

    def start(self) -> None:
        """Begin to accept."""

    def take_queue(self) -> None:
        """Accept who has connected already and waits in the kernel's queue."""

    def stop(self) -> None:
        """Accept no more and close the socket; connections live on."""

    async def abandon(self) -> None:
        """End what is under way."""

    def shield(self, *, on: bool) -> None:
        """Let the kernel drop whom we would refuse, as of now, or nobody."""

    @property
    def is_shielded(self) -> bool:
        """Whether the kernel does."""
        ...


@frozen
class Wanted:
    """One address that is to be served. ``name`` is "" for webhooks, else that of the plain TCP forward.

    ``service`` says how it is served: where it is equal before and after a reload, the door is left alone.
    """

    name: str
    address: ListenAddress
    service: Hashable
    make: Callable[[socket.socket], Server]

    @property
    def place(self) -> Place:
        """What makes it the same door after a reload."""
        return Place(tcp(self.name) if self.name else WEBHOOKS, self.address)


@mutable
class Door:
    """One bound socket and its server."""

    wanted: Wanted
    bound: BoundSocket
    server: Server


class Doors:
    """All doors of one worker. ``unlink`` says whether the files of unix sockets are ours to remove."""

    def __init__(self, store: SocketStore, *, unlink: bool = True) -> None:
        """``store`` is where sockets come from."""
        self._store = store
        self.unlink = unlink
        self.open: list[Door] = []
        self._leaving: list[Server] = []

    def change(self, wanted: Sequence[Wanted]) -> None:
        """Serve exactly ``wanted`` from now on. Raises ListenError, and then nothing has changed."""
        before = {door.wanted.place for door in self.open}
        bound = self._store.take([one.place for one in wanted if one.place not in before])
        now = {one.place: one for one in wanted}
        kept: list[Door] = []
        for door in self.open:
            one = now.get(door.wanted.place)
            if one is None:
                self._close(door)
            else:
                kept.append(self._rehang(door, one))
        self.open = kept + [self._hang(now[place], sock) for place, sock in bound]

    @staticmethod
    def _hang(wanted: Wanted, bound: BoundSocket) -> Door:
        server = wanted.make(bound.sock)
        server.start()
        return Door(wanted, bound, server)

    def _rehang(self, door: Door, wanted: Wanted) -> Door:
        if door.wanted.service == wanted.service:
            return Door(wanted, door.bound, door.server)
        # The copy shares the kernel's queue: who is knocking right now is served by the new listener.
        copy = dataclasses.replace(door.bound, sock=door.bound.sock.dup())
        copy.sock.setblocking(False)
        self._retire(door.server)
        return self._hang(wanted, copy)

    def _close(self, door: Door) -> None:
        self._retire(door.server)
        door.bound.close(unlink=self.unlink)

    def _retire(self, server: Server) -> None:
        server.stop()
        self._leaving.append(server)

    def take_queue(self) -> None:
        """Accept who has connected already, everywhere: to ``stop`` resets them where nobody else holds the socket."""
        for door in self.open:
            door.server.take_queue()

    def stop(self) -> None:
        """Accept nothing more, anywhere."""
        for door in self.open:
            self._close(door)
        self.open.clear()

    async def abandon(self) -> None:
        """End handshakes and pipes that are still under way."""
        await asyncio.gather(*(server.abandon() for server in self._leaving), return_exceptions=True)
        self._leaving.clear()
