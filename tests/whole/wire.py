"""A client of raw bytes: what is sent is exactly what the test says, and answers are read without a library's mercy.

``Client`` is one connection; ``Answer`` is one answer, its content decoded, its bytes kept. Everything has a deadline.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

PATIENCE_S = 15.0
MIB = 1 << 20


class ClosedError(ConnectionError):
    """The other end closed or reset the connection before what was awaited had come."""


@dataclass
class Answer:
    status: int
    phrase: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    content: bytes
    head: bytes
    interim: list[int] = field(default_factory=list)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called ``name``, in any case."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    @property
    def word(self) -> str:
        """The reason word of one of hookward's own answers: the first word of the content."""
        words = self.content.split()
        return words[0].decode("ascii") if words else ""


class Reader:
    """Reads messages from a socket, as strictly as a test wants to be: CRLF, digits, sizes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.total = 0

    def more(self) -> bool:
        data = self.sock.recv(1 << 18)
        self.total += len(data)
        self.buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self.more():
                raise ClosedError(f"after {len(self.buffer)} bytes: {self.buffer[:200]!r}")
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            pieces.append(self.some(size))
            size -= len(pieces[-1])
        return b"".join(pieces)

    def some(self, size: int) -> bytes:
        """What is there, up to ``size`` bytes and at least one."""
        if not self.buffer and not self.more():
            raise ClosedError(f"{size} bytes are missing")
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def chunks(self) -> bytes:
        pieces = []
        while size := int(self.until(b"\r\n")[:-2], 16):
            pieces.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n", "hookward sends no trailer section"
        return b"".join(pieces)

    def to_end(self) -> bytes:
        while self.more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken


def split_head(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A head's start line and its fields."""
    start, *lines = head[:-4].split(b"\r\n")
    fields = [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    return start, fields


def request(
    method: str = "POST",
    target: str = "/",
    fields: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    content: bytes | None = None,
    *,
    host: str = "hooks.example.com",
    chunk_size: int = 0,
) -> bytes:
    """A request's bytes. With ``chunk_size`` the content goes chunked, else with Content-Length."""
    pairs = list(fields.items() if isinstance(fields, Mapping) else fields)
    lines = [f"{method} {target} HTTP/1.1"]
    if host:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in pairs]
    if content is not None:
        lines.append("Transfer-Encoding: chunked" if chunk_size else f"Content-Length: {len(content)}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if content is None:
        return head
    return head + (chunked(content, chunk_size) if chunk_size else content)


def chunked(content: bytes, size: int) -> bytes:
    """The content in chunks of ``size`` bytes, with the last chunk."""
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def github(secret: bytes, content: bytes, event: str = "push", delivery: str = "d-1") -> dict[str, str]:
    """The fields of a GitHub delivery, signed with the standard library alone."""
    return {
        "User-Agent": "GitHub-Hookshot/044aadd",
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, content, hashlib.sha256).hexdigest(),
    }


class Client:
    """One connection to hookward, or to anything else. Use it as a context manager."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
        server_name: str = "hooks.example.com",
        timeout_s: float = PATIENCE_S,
    ) -> None:
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout_s)
            self.sock.connect(address)
        else:
            origin = (source, 0) if source else None
            self.sock = socket.create_connection(address, timeout=timeout_s, source_address=origin)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.reader = Reader(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def ask(self, data: bytes, *, method: str = "POST") -> Answer:
        """Send a whole request, read its answer. An answer that comes before everything is sent is read too."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)
        return self.answer(method=method)

    def answer(self, *, method: str = "POST") -> Answer:
        """The next final answer; the statuses of the interim ones before it are kept in ``interim``."""
        interim: list[int] = []
        while True:
            answer = self._one(method)
            if answer.status >= 200:
                answer.interim = interim
                return answer
            interim.append(answer.status)

    def interim(self) -> Answer:
        """The next answer, which may be an interim one."""
        return self._one("POST")

    def _one(self, method: str) -> Answer:
        head = self.reader.until(b"\r\n\r\n")
        start, fields = split_head(head)
        version, code, phrase = start.split(b" ", 2)
        answer = Answer(int(code), phrase, version, fields, b"", head)
        if method == "HEAD" or answer.status in {204, 304} or answer.status < 200:
            return answer
        length = answer.get(b"Content-Length")
        if answer.get(b"Transfer-Encoding"):
            assert length is None, "both framings in one answer"
            answer.content = self.reader.chunks()
        elif length is not None:
            answer.content = self.reader.exactly(int(length))
        else:
            answer.content = self.reader.to_end()
        return answer

    def ended(self) -> bytes:
        """Wait until the other end has closed; what it still sent. A reset is an end as well."""
        try:
            return self.reader.to_end()
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return self.reader.buffer

    def was_reset(self) -> bool:
        """Wait until the other end has closed; whether it did so by a reset."""
        try:
            self.reader.to_end()
        except ConnectionResetError:
            return True
        return False


def turned_away(address: tuple[str, int], data: bytes = b"", *, source: str | None = None) -> str:
    """How a connection ends on which not a byte is answered: "reset" or "closed". A reset may come while we connect."""
    try:
        with Client(address, source=source) as client:
            client.send(data)
            assert client.reader.to_end() == b""
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    return "closed"


def once(
    address: tuple[str, int] | str, data: bytes, *, method: str = "POST", tls: ssl.SSLContext | None = None
) -> Answer:
    """One request on a connection of its own."""
    with Client(address, tls=tls) as client:
        return client.ask(data, method=method)
