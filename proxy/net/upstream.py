"""One persistent connection to an upstream, one request at a time.

It writes what the exchange gives it, reads the answer strictly (RFC 9112 section 6.3) and tells the exchange in four
calls: ``upstream_answer``, ``upstream_content``, ``upstream_ended`` and ``upstream_failed``. It knows nothing about
clients, verdicts or routes. A connection goes back to the pool only from READING (or AWAITING an answer without
content) with the request wholly sent, the answer wholly read and not a byte beyond it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Sequence
from typing import Protocol, cast

from proxy.core.content import ChunkedDecoder
from proxy.core.policy import Endpoint
from proxy.core.response_head import idle_limit_s, read_response_head
from proxy.core.states import UPSTREAM_MOVES, UpstreamState
from proxy.errors import ProtocolError
from proxy.http1 import Framing, Piece, ResponseHead
from proxy.net.clock import NEVER, STAGED_BYTES, Turn
from proxy.net.flow import unsent, write
from proxy.net.sockets import abort
from proxy.reasons import Reason

#: Interim answers before the final one (threats R5).
MAX_INTERIM = 8
#: Above this the exchange is told to stop reading its client; asyncio's own figure.
WRITE_HIGH_BYTES = 64 * 1024

DIALING = UpstreamState.DIALING
IDLE = UpstreamState.IDLE
SENDING = UpstreamState.SENDING
AWAITING = UpstreamState.AWAITING
READING = UpstreamState.READING
CLOSED = UpstreamState.CLOSED
NONE = Framing.NONE
CHUNKED = Framing.CHUNKED


class AnswerSink(Protocol):
    """Takes the answer: an exchange."""

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head, with the content that came along; ``ended`` where that was all."""

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More content."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The connection cannot give the (rest of the) answer; it is closed."""

    def upstream_writable(self, *, writable: bool) -> None:
        """Whether more of the request may be given."""


class Owner(Protocol):
    """The pool, as a connection sees it."""

    turn: Turn

    def made(self, connection: UpstreamConnection) -> None:
        """The connection stands."""

    def released(self, connection: UpstreamConnection) -> None:
        """The connection is idle again."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is closed."""


class UpstreamConnection(asyncio.Protocol):
    """The protocol of one connection; made by the pool, lent to one exchange at a time."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_complete",
        "_interim",
        "_method",
        "_owner",
        "_poll",
        "_remaining",
        "_reusable",
        "_secure",
        "_sink",
        "_sock",
        "_transport",
        "endpoint",
        "endpoint_text",
        "idle_limit_s",
        "idle_since",
        "idle_until",
        "reading_paused",
        "state",
        "writable",
    )

    def __init__(self, endpoint: Endpoint, owner: Owner, sock: socket.socket) -> None:
        self.endpoint = endpoint
        self.endpoint_text = str(endpoint)
        self._secure = endpoint.secure
        self.writable, self.reading_paused = True, False
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.state = DIALING
        self.idle_since = 0.0
        self.idle_until = NEVER  # it is not used from then on
        self.idle_limit_s = NEVER  # by the upstream's own word
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._sink: AnswerSink | None = None
        self._buffer, self._method = b"", b""
        self._interim = 0
        self._remaining: int | None = None
        self._chunked: ChunkedDecoder | None = None
        self._complete = self._reusable = False  # the answer came after the whole request had left; and may another

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.state = UPSTREAM_MOVES[self.state][IDLE]
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state is AWAITING and not self._buffer and len(data) <= STAGED_BYTES:
            self._buffer = data
            self._owner.turn.enter(self)
        elif state is AWAITING or state is SENDING:
            # Before the request's end it must be seen as early.
            self._read_head(self._buffer + data if self._buffer else data)
        elif state is READING:
            self._read_content(data)
        else:
            # Bytes without a request: whatever they are, they answer nothing (threats R3).
            self.abort()

    def step(self) -> None:
        """The turn's call: read the answer that has come."""
        if self._buffer and self.state is AWAITING:
            self._read_head(self._buffer)

    def failed(self, bug: Exception) -> None:
        """The turn's call: a bug of ours."""
        self._owner.turn.complain(bug)
        self._fail(Reason.INTERNAL_ERROR, "")

    def eof_received(self) -> bool:
        self.step()  # what came in the same moment
        if self.state is READING and self._remaining is None and self._chunked is None:
            sink = self._sink
            self._end_answer(reusable=False)
            if sink is not None:
                sink.upstream_content([], ended=True)
            return False
        self._fail(Reason.UPSTREAM_RESET, "eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(Reason.UPSTREAM_RESET, "reset" if exc else "closed")
        self._transport = None

    def pause_writing(self) -> None:
        self.writable = False
        if self._sink is not None:
            self._sink.upstream_writable(writable=False)

    def resume_writing(self) -> None:
        self.writable = True
        if self._sink is not None:
            self._sink.upstream_writable(writable=True)

    # -- the exchange's calls

    @property
    def buffered_bytes(self) -> int:
        """What was given and has not reached the kernel yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def start(self, sink: AnswerSink, method: bytes, pieces: Sequence[Piece], *, complete: bool) -> None:
        """Begin a request: its head and what there is of its content. ``complete`` where that is all."""
        assert self._transport is not None
        self._sink = sink
        self._method = method
        self._interim = 0
        self._reusable = True
        self._buffer = b""
        self.state = UPSTREAM_MOVES[self.state][AWAITING if complete else SENDING]
        write(self._transport, pieces, secure=self._secure)

    def send(self, pieces: list[Piece], *, complete: bool) -> None:
        """More of the request, none of which is kept but copies. Nothing is written once the upstream has answered
        early (threats R6).
        """
        if self.state is not SENDING:
            return
        if complete:
            self.state = UPSTREAM_MOVES[self.state][AWAITING]
        assert self._transport is not None
        if not (self._secure or self.buffered_bytes or self._transport.is_closing()):
            pieces = unsent(self._sock, pieces)
        write(self._transport, [bytes(piece) for piece in pieces], secure=self._secure)

    def hand_over(self, sink: AnswerSink) -> None:
        """Tell ``sink`` of the answer from now on, and read it."""
        self._sink = sink
        self.resume_reading()

    def pause_reading(self) -> None:
        """Stop reading the answer: the client takes it too slowly, or may not see it yet."""
        if not self.reading_paused and self._transport is not None:
            self.reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.reading_paused and self._transport is not None:
            self.reading_paused = False
            self._transport.resume_reading()

    @property
    def is_stale(self) -> bool:
        """Whether an idle connection has something to read: its end, or bytes that no request asked for (threats R3).

        The loop may not have seen them yet, so the kernel is asked: one system call, cheaper than a lost delivery.
        """
        return bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close now, by reset: an upstream must not take an incomplete request for a whole one (threats S9a)."""
        self._sink = None
        if self.state is not CLOSED:
            self._close_state()
        if self._transport is not None:
            abort(self._transport, self._sock)

    def close(self) -> None:
        """Close an idle connection."""
        self._sink = None
        if self.state is not CLOSED:
            self._close_state()
        if self._transport is not None:
            self._transport.close()

    # -- inside

    def _read_head(self, data: bytes) -> None:
        try:
            parsed = read_response_head(data, self._method)
            while parsed is not None and parsed[0].status < 200:
                self._interim += 1
                self._reusable = self._reusable and parsed[0].keep_alive
                if self._interim > MAX_INTERIM:
                    self._fail(Reason.UPSTREAM_INVALID, "interim_flood")
                    return
                data = data[parsed[1] :]
                parsed = read_response_head(data, self._method) if data else None
            if parsed is None:
                self._buffer = data
                return
            self._answer(parsed[0], data[parsed[1] :])
        except ProtocolError as error:
            self._fail(error.reason, error.detail)

    def _answer(self, head: ResponseHead, rest: bytes) -> None:
        self._buffer = b""
        # An answer before the request's end leaves the connection out of step: never reused (threats R6, F12).
        self._complete = self.state is AWAITING and not self.buffered_bytes
        self._reusable = self._reusable and head.keep_alive and self._complete
        if b"keep-alive" in head.values:
            self.idle_limit_s = idle_limit_s(head)
            self._reusable = self._reusable and self.idle_limit_s > 0
        self._remaining = 0 if head.framing is NONE else head.content_length
        sink = self._sink
        if self._remaining == len(rest):  # it is here whole, the common case
            content, ended = [rest] if rest else [], True
        else:
            self._chunked = ChunkedDecoder(None) if head.framing is CHUNKED else None
            self.state = UPSTREAM_MOVES[self.state][READING]
            content, ended = self._decode(rest)
        if ended:
            self._end_answer(reusable=self._reusable)
        if sink is not None:
            sink.upstream_answer(head, content, ended=ended)

    def _read_content(self, data: bytes) -> None:
        sink = self._sink
        try:
            content, ended = self._decode(data)
        except ProtocolError as error:
            self._fail(error.reason, error.detail)
            return
        if ended:
            self._end_answer(reusable=self._reusable)
        if sink is not None:
            sink.upstream_content(content, ended=ended)

    def _decode(self, data: bytes) -> tuple[list[bytes], bool]:
        """The content in ``data`` and whether the answer ends with it. Bytes beyond the end forbid a reuse."""
        if self._chunked is not None:
            try:
                content = self._chunked.feed(data)
            except ProtocolError as error:
                raise ProtocolError(Reason.UPSTREAM_INVALID, error.detail) from None
            if self._chunked.rest:
                self._reusable = False
            return ([bytes(content)] if content else []), self._chunked.done
        if self._remaining is None:
            return ([data] if data else []), False
        if len(data) > self._remaining:
            self._reusable = False
            data = data[: self._remaining]
        self._remaining -= len(data)
        return ([data] if data else []), self._remaining == 0

    def _end_answer(self, *, reusable: bool) -> None:
        self._sink = None
        self._chunked = None
        if self.reading_paused:
            self.resume_reading()
        if reusable and self._transport is not None and not self._transport.is_closing():
            self.state = UPSTREAM_MOVES[self.state][IDLE]
            self._owner.released(self)
        elif self._complete:
            self.close()
        else:
            self.abort()

    def _fail(self, reason: Reason, detail: str) -> None:
        sink = self._sink
        if self.state not in (IDLE, CLOSED):
            self.abort()
        elif self.state is IDLE:
            self.close()
        if sink is not None:
            sink.upstream_failed(reason, detail)

    def _close_state(self) -> None:
        self.state = UPSTREAM_MOVES[self.state][CLOSED]
        self._owner.lost(self)
