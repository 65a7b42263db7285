"""An upstream that remembers: every request it got, byte by byte, whole or broken off, and on which connection.

Threads and blocking sockets, so that it shares no code and no habit with what it watches. It can be told to answer
late, early, not at all, malformed, or to reset; see :class:`Manner`.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Self

from tests.whole.wire import PATIENCE_S, ClosedError, Reader, split_head

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nX-App: yes\r\n\r\nok\n"


@dataclass
class Received:
    """One request as the upstream saw it. ``complete`` turns true with its last byte and never otherwise."""

    connection: int
    head: bytes = b""
    method: bytes = b""
    target: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytes = b""
    length: int = 0
    complete: bool = False
    broken_off: bool = False
    reset: bool = False  # broken off by a reset, not by an end

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called ``name``, in any case."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def get_all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Manner:
    """How the upstream behaves; may be changed between requests."""

    answer: bytes | Callable[[Received], bytes] = OK
    when: str = "end"  # "end" of the request, its "head", or "never"
    close: bool = False  # close the connection after the answer
    gate: threading.Event | None = None  # wait for it before answering
    reset_after: int | None = None  # reset once this many bytes of content have come
    bytes_per_s: float | None = None  # read the content no faster
    keep_content: bool = True  # False: count only (large loads)


class RecordingUpstream:
    """Listens on ``127.0.0.1`` or a unix socket until :meth:`close`. Use it as a context manager."""

    def __init__(self, path: Path | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.manner = Manner()
        self.seen: list[Received] = []
        self.connections = 0
        self.open = 0
        self.bytes = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._socks: dict[int, socket.socket] = {}  # by the number of the connection
        self._peers: set[object] = set()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
            self.address = self._listener.getsockname()
            self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.address[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(512)
            self.url = f"unix:{path}"
        threading.Thread(target=self._accept, daemon=True, name="recorder").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stopped.set()
        for sock in [self._listener, *self._socks.values()]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def stop_listening(self) -> None:
        """Refuse new connections from now on; the open ones live."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def complete(self) -> list[Received]:
        with self._changed:
            return [one for one in self.seen if one.complete]

    @property
    def incomplete(self) -> list[Received]:
        with self._changed:
            return [one for one in self.seen if not one.complete]

    def wait(self, condition: Callable[[RecordingUpstream], object], what: str = "the upstream") -> None:
        """Wait until the condition holds, or fail at the deadline."""
        deadline = monotonic() + PATIENCE_S
        with self._changed:
            while not condition(self):
                if not self._changed.wait(deadline - monotonic()):
                    raise AssertionError(f"waited too long for {what}; seen: {self.seen!r:.2000}")

    def wait_complete(self, count: int = 1) -> list[Received]:
        """Wait for ``count`` complete requests; all that are complete then."""
        self.wait(lambda me: sum(one.complete for one in me.seen) >= count, f"{count} complete requests")
        return self.complete

    def forget(self) -> None:
        with self._changed:
            self.seen.clear()
            self.bytes = 0

    def renew(self) -> None:
        """End every connection and forget all, so that the next test finds it as new."""
        self._accept_all()
        with self._changed:
            for sock in self._socks.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.wait(lambda me: me.open == 0, "the end of its connections")
        self.manner = Manner()
        self.connections = 0
        self._peers.clear()
        self.forget()

    def _accept_all(self) -> None:
        """Wait until those that wait to be accepted are: they come in order, and one of our own is the last."""
        if self._listener.family == socket.AF_UNIX or self._listener.fileno() < 0:
            return
        with socket.create_connection(self.address) as last:
            self.wait(lambda me: last.getsockname() in me._peers, "its own connection")

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self.open += 1
                number = self.connections
                self._socks[number] = sock
                self._peers.add(peer)
                self._changed.notify_all()
            threading.Thread(target=self._connection, args=(sock, number), daemon=True, name="recorder").start()

    def _connection(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                sock = self._socks[number] = self._tls.wrap_socket(sock, server_side=True)
            reader = Reader(sock)
            while self._exchange(sock, reader, number):
                pass
        except (ClosedError, OSError, ValueError, AssertionError):
            pass
        finally:
            sock.close()
            with self._changed:
                self.open -= 1
                self._socks.pop(number, None)
                self._changed.notify_all()

    def _exchange(self, sock: socket.socket, reader: Reader, number: int) -> bool:
        if not reader.buffer and not reader.more():
            return False
        one = Received(number)
        with self._changed:
            self.seen.append(one)
            self._changed.notify_all()
        try:
            one.head = reader.until(b"\r\n\r\n")
            start, one.fields = split_head(one.head)
            one.method, one.target, _ = start.split(b" ")
            manner = self.manner
            self._note()
            if manner.when == "head":
                self._answer(sock, one, manner)
            self._content(sock, reader, one, manner)
        except BaseException as error:
            one.broken_off = True
            one.reset = isinstance(error, ConnectionResetError)
            self._note()
            raise
        one.complete = True
        self._note()
        return self._answer(sock, one, manner) if manner.when == "end" else not manner.close and manner.when != "head"

    def _content(self, sock: socket.socket, reader: Reader, one: Received, manner: Manner) -> None:
        length = one.get(b"Content-Length")
        if one.get(b"Transfer-Encoding"):
            assert length is None, "both framings in one request"
            while size := int(reader.until(b"\r\n")[:-2], 16):
                self._read(sock, reader, one, manner, size)
                assert reader.exactly(2) == b"\r\n"
            assert reader.exactly(2) == b"\r\n"
        elif length is not None:
            self._read(sock, reader, one, manner, int(length))

    def _read(self, sock: socket.socket, reader: Reader, one: Received, manner: Manner, size: int) -> None:
        pieces: list[bytes] = []
        while size:
            if manner.reset_after is not None and one.length >= manner.reset_after:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ClosedError("told to reset")
            piece = reader.some(min(size, 1 << 16))
            size -= len(piece)
            pieces.append(piece)
            with self._changed:
                one.length += len(piece)
                self.bytes += len(piece)
                self._changed.notify_all()
            if manner.bytes_per_s:
                self._stopped.wait(len(piece) / manner.bytes_per_s)
        if manner.keep_content:
            one.content += b"".join(pieces)

    def _answer(self, sock: socket.socket, one: Received, manner: Manner) -> bool:
        """Whether the connection stays: as it is told before the answer, behind which a test may tell another thing."""
        if manner.gate is not None:
            manner.gate.wait(PATIENCE_S)
        answer = manner.answer(one) if callable(manner.answer) else manner.answer
        if one.method == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        stays = not manner.close
        sock.sendall(answer)
        return stays
