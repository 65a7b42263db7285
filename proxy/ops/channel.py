"""The messages between the supervisor and a worker: a line of JSON each, over a pair of sockets.

The supervisor's end never waits: what a worker does not take at once is kept until it does. A worker may have been
taken over by a client, so nothing that one says may do more than end it: what is kept, and what is read in one
turn, is bounded, and whatever is not a message of the form is a ChannelError. A worker that talks nonsense, or takes
nothing, is to be ended, never to be waited for.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from proxy.core.metrics import Snapshot, read_snapshot

#: The longest messages are of metrics: of what every process has, and of each route and upstream.
MAX_LINE_BYTES = 64 * 1024 * 1024
_BASE_BYTES, _BYTES_EACH = 4 * 1024 * 1024, 16 * 1024
#: Messages that wait for a worker; one that does not take so many takes nothing.
MAX_UNSENT_LINES = 4
#: What is read from one worker before it is the others' turn.
MAX_READ_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_SMALL_BYTES = 4096
#: What a number in a message may be. Sums of these stay numbers.
MAX_NUMBER = 1 << 62

Message = dict[str, Any]


class ChannelError(Exception):
    """The other end does not keep to the form."""


def line_limit(parts: int) -> int:
    """How long a message may be where there are so many routes and upstreams."""
    return min(_BASE_BYTES + parts * _BYTES_EACH, MAX_LINE_BYTES)


def number_of(message: Message) -> int:
    """Which question a message speaks of. ChannelError where it does not say."""
    number = message.get("number")
    if type(number) is not int or not 0 <= number <= MAX_NUMBER:
        raise ChannelError("no number")
    return number


def metrics_of(message: Message) -> Snapshot:
    """The metrics in a message. ChannelError where they are not whole and of the form."""
    try:
        return read_snapshot(message.get("metrics"))
    except ValueError as error:
        raise ChannelError(str(error)) from None


def encode(kind: str, **fields: object) -> bytes:
    """A message's line."""
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode("utf-8") + b"\n"


class Lines:
    """Cuts what is received into messages, none of them longer than ``limit``."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = MAX_LINE_BYTES if limit is None else limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. ChannelError where one is none."""
        *whole, rest = data.split(b"\n")
        messages = []
        for line in whole:
            self._take(line)
            messages.append(_decode(b"".join(self._pieces)))
            self._pieces, self._size = [], 0
        self._take(rest)
        return messages

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise ChannelError("a line without an end")
        # One piece of bytes each costs more than the bytes, where they come one by one.
        if self._pieces and len(piece) < _SMALL_BYTES and len(self._pieces[-1]) < _SMALL_BYTES:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ChannelError("no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelError("no message")
    return message


class Wire:
    """The supervisor's end of one worker's channel. ``limit`` is the length of a message, in bytes."""

    def __init__(self, sock: socket.socket, limit: int | None = None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._lines = Lines(limit)
        self._most_unsent = MAX_UNSENT_LINES * (MAX_LINE_BYTES if limit is None else limit)
        self._unsent = bytearray()
        self.ended = False

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether something is to be sent as soon as the worker takes it."""
        return bool(self._unsent)

    def send(self, kind: str, **fields: object) -> None:
        """Send a message, or keep it. ChannelError where too much is kept already."""
        if self.ended:
            return
        if len(self._unsent) > self._most_unsent:
            raise ChannelError("nothing is taken")
        self._unsent += encode(kind, **fields)
        self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as it goes."""
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()

    def receive(self) -> list[Message]:
        """What has come, as much as one turn reads; at the end ``ended`` is true. ChannelError where it is nonsense."""
        messages: list[Message] = []
        for _ in range(MAX_READ_BYTES // _READ_BYTES):
            if self.ended:
                break
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.ended = not data
            messages += self._lines.feed(data)
        return messages

    def close(self) -> None:
        """Give it back."""
        self.ended = True
        self._unsent.clear()
        self._socket.close()
