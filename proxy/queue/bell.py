"""How processes that share a store tell its courier that something has changed: by an empty datagram.

One that is lost costs a second: then the courier looks by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NAME = "courier.sock"


class Bell:
    """The bell of the folder at ``path``."""

    def __init__(self, path: Path) -> None:
        # A path through the open folder is short enough for a unix socket, and leads nowhere else.
        self._folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._path = Path(f"/proc/self/fd/{self._folder}/{NAME}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Tell the courier, where there is one."""
        with suppress(OSError):
            self._socket.sendto(b"", str(self._path))

    def answer(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """As the courier: ``rung`` is called whenever another rings. Without the socket it goes on more slowly."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
            loop.add_reader(self._socket, self._heard, rung)
            self._loop = loop

    def close(self) -> None:
        """Give everything back."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            with suppress(OSError):
                self._path.unlink()
        self._socket.close()
        os.close(self._folder)

    def _heard(self, rung: Callable[[], None]) -> None:
        with suppress(OSError):
            while True:
                self._socket.recv(1)
        rung()
