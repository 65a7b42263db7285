"""An upstream that misbehaves by a script: what it sends, byte for byte, and when it resets or closes.

    upstream.play(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", RESET)
    upstream.play(EARLY, on="head")

Without a script it answers with the request's own ``X-Case``, so that a test can tell whether an answer is the one to
its question. Every request that it sees is noted with the number of its connection: whether one was reused.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Self

from tests.whole.wire import PATIENCE_S, ClosedError, Reader, split_head


@dataclass(frozen=True)
class Act:
    """Something to do with a connection, other than to send."""

    name: str


RESET = Act("reset")
CLOSE = Act("close")
SILENCE = Act("silence")  # until the other end has gone
FLOOD = Act("flood")  # what follows is sent until the other end has gone

#: Bytes to send, something to do with the connection, or something to call, such as ``event.set`` or ``event.wait``.
Step = bytes | Act | Callable[[], object]


@dataclass(frozen=True)
class Script:
    """What to do with a connection: once it stands (``connect``), has a head (``head``) or a whole request. No steps:
    whole requests are answered, and so they are behind what was done with the connection.
    """

    steps: tuple[Step, ...] = ()
    on: str = "request"


@dataclass
class Seen:
    """A request's head, as it came, and whether all of its content came too."""

    connection: int
    head: bytes
    complete: bool = False


class ScriptedUpstream:
    """Listens on ``127.0.0.1`` until the block ends."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self._standing: dict[int, socket.socket] = {}
        self._script = Script()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True, name="scripted").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def play(self, *steps: Step, on: str = "request") -> None:
        """What to do from now on, and forget what was seen."""
        with self._changed:
            self._script = Script(steps, on)
            self.seen = []

    def behave(self) -> None:
        """Answer like any upstream from now on; what was seen stays."""
        self._script = Script()

    def wait(self, condition: Callable[[ScriptedUpstream], object]) -> None:
        """Wait until the condition holds, or fail at the deadline."""
        deadline = monotonic() + PATIENCE_S
        with self._changed:
            while not condition(self):
                if not self._changed.wait(deadline - monotonic()):
                    raise AssertionError(f"waited too long; seen: {self.seen}")

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                number = self.connections
                self._standing[number] = sock
            threading.Thread(target=self._connection, args=(sock, number), daemon=True, name="scripted").start()

    def stands(self, connection: int) -> bool:
        """Whether the connection with this number is open, as far as we know."""
        return connection in self._standing

    def drop(self) -> None:
        """Close every connection; those that come are new ones."""
        with self._changed:
            for sock in self._standing.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.wait(lambda _: not self._standing)

    def _connection(self, sock: socket.socket, number: int) -> None:
        try:
            if self._script.on == "connect":
                self._do(sock, self._script.steps)
            reader = Reader(sock)
            while True:
                self._exchange(sock, reader, number)
        except (ClosedError, OSError, ValueError):
            pass
        finally:
            sock.close()
            with self._changed:
                del self._standing[number]
                self._changed.notify_all()

    def _exchange(self, sock: socket.socket, reader: Reader, number: int) -> None:
        one = Seen(number, reader.until(b"\r\n\r\n"))
        script = self._script
        with self._changed:
            self.seen.append(one)
            self._changed.notify_all()
        if script.on == "head":
            self._do(sock, script.steps)
        fields = dict(split_head(one.head)[1])
        reader.exactly(int(fields.get(b"Content-Length", b"0")))
        if b"Transfer-Encoding" in fields:
            reader.chunks()
        with self._changed:
            one.complete = True
            self._changed.notify_all()
        if script.on == "connect" or not script.steps:
            sock.sendall(fine(fields.get(b"X-Case", b"none")))
        elif script.on == "request":
            self._do(sock, script.steps)

    def _do(self, sock: socket.socket, steps: tuple[Step, ...]) -> None:
        for at, step in enumerate(steps):
            if isinstance(step, bytes):
                sock.sendall(step)
            elif not isinstance(step, Act):
                step()
            elif step is FLOOD:
                while True:
                    sock.sendall(b"".join(part for part in steps[at + 1 :] if isinstance(part, bytes)))
            elif step is SILENCE:
                while sock.recv(1 << 16):
                    pass
                raise ClosedError("the other end has gone")
            else:
                if step is RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ClosedError("as the script says")


def fine(case: bytes) -> bytes:
    """The answer to a request with this ``X-Case``."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nfine %b\n" % (len(case) + 6, case)


def in_pieces(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    """The same bytes in many writes."""
    return tuple(re.findall(b"(?s).{1,%d}" % size, data))
