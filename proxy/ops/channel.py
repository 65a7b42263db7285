"""What the supervisor and a worker say to each other: a line of JSON per message, over a pair of sockets.

The supervisor's end never waits: what a worker does not take at once is kept until it does. A worker that talks
nonsense, or takes nothing, is to be ended, never to be waited for.
"""

from __future__ import annotations

import json
import socket
from typing import Any

#: The metrics of 10,000 routes are some MiB; nothing else comes near.
MAX_LINE_BYTES = 64 * 1024 * 1024

Message = dict[str, Any]


class ChannelError(Exception):
    """The other end does not keep to the form."""


def encode(kind: str, **fields: object) -> bytes:
    """A message's line."""
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode("utf-8") + b"\n"


class Lines:
    """Cuts what is received into messages."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. ChannelError where one is none."""
        *whole, rest = data.split(b"\n")
        messages = []
        for line in whole:
            messages.append(_decode(b"".join([*self._pieces, line])))
            self._pieces, self._size = [], 0
        self._pieces.append(rest)
        self._size += len(rest)
        if self._size > MAX_LINE_BYTES:
            raise ChannelError("a line without an end")
        return messages


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ChannelError("no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelError("no message")
    return message


class Wire:
    """The supervisor's end of one worker's channel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._lines = Lines()
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
        """Send a message, or keep it."""
        if not self.ended and len(self._unsent) < MAX_LINE_BYTES:
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
        """What has come. At the end of the channel ``ended`` is true. ChannelError where it is nonsense."""
        messages: list[Message] = []
        while not self.ended:
            try:
                data = self._socket.recv(1 << 18)
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
