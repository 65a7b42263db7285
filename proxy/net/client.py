"""``ClientConnection``: a sender's connection, exchange by exchange.

It reads heads and cuts content by its framing, asks ``core.exchange.decide`` once a head, and writes answers. One
request is served at a time; what a sender pipelines waits unread (threats F15). After a framing error nothing further
is parsed (F10): the answer goes out, the rest is discarded within bounds so that the answer is not lost to a reset,
and the connection closes. It never sees a secret and never talks to an upstream: that is the exchange's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from proxy.core.addresses import Peer
from proxy.core.content import ContentReader
from proxy.core.exchange import Admit, Reject, decide, note_decision
from proxy.core.forwarding import clean_request_id
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.policy import Limits, Policy
from proxy.core.proxy_protocol import header_for
from proxy.core.record import ExchangeRecord
from proxy.core.request_head import read_request_head
from proxy.core.states import ClientState, client_moved
from proxy.errors import ProtocolError
from proxy.http1 import Framing, RequestHead
from proxy.net import turn
from proxy.net.certificate import NO_NAMES, client_names
from proxy.net.clock import NEVER
from proxy.net.exchange import Exchange
from proxy.net.flow import BUFFER, LARGE_BUFFER, Reading, Writing, end, write
from proxy.net.reset import abort
from proxy.net.sender import Pause
from proxy.net.site import Site
from proxy.net.upstream import WRITE_HIGH_BYTES
from proxy.reasons import Reason

#: Lingering close: what still comes is discarded for at most this long and this much.
LINGER_S = 2.0
LINGER_BYTES = 32 * 1024 * 1024
#: Deadlines of an exchange are looked at this often.
CHECK_S = 1.0
#: While one of these holds, what was read is not looked at either.
HELD_BACK = Pause.BUDGET | Pause.UNREAD

HEAD, BODY, ANSWER, REFUSING, CLOSING, CLOSED = ClientState


class ClientConnection(asyncio.BufferedProtocol):
    """The protocol of one sender's connection."""

    __slots__ = (
        "_buffer",
        "_content",
        "_ended",
        "_exchange",
        "_head",
        "_head_known",
        "_judged_by",
        "_kind",
        "_lingered",
        "_named",
        "_names",
        "_on_close",
        "_processing",
        "_reading",
        "_served",
        "_site",
        "_state",
        "_transport",
        "_writing",
        "deadline",
        "peer",
        "peer_trusted",
        "secure",
    )

    def __init__(
        self, site: Site, peer: Peer, *, secure: bool, on_close: Callable[[], None], named: bool = False, kind: int = 0
    ) -> None:
        """``peer`` is the address we judge the connection by; ``named``: a PROXY header named it, and that is final.
        ``on_close`` is called once, when it is gone; ``kind`` is the site's, as it was when the listener was made.
        """
        # shared
        self._site = site
        self._on_close = on_close
        # of the connection
        self.peer = peer
        self.peer_trusted = False
        self._named = named
        self._judged_by: Policy | None = None
        self.secure = secure
        self._kind = kind
        self.deadline = NEVER
        self._transport: asyncio.Transport | None = None
        self._names: frozenset[str] = NO_NAMES
        self._state = HEAD
        self._buffer = b""
        self._ended = False  # the sender has closed its side
        self._processing = False
        self._reading = Reading(site.clock)
        self._writing = Writing()
        self._served = self._lingered = 0
        # of the request
        self._head_known = 0  # bytes of it that were looked at while it was incomplete; -1 where it has not begun
        self._head: RequestHead | None = None  # read, and not judged yet
        self._exchange: Exchange | None = None
        self._content: ContentReader | None = None

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._reading.transport = self._writing.transport = self._transport
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if self.secure:
            self._names = client_names(transport.get_extra_info("peercert"))
        self.deadline = min(self._site.clock.after(self._limits.head_timeout_s), self._site.ends_idle(self._kind))
        self._site.clock.watch(self)
        self._site.connections.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._reading.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = LARGE_BUFFER[:nbytes]
        if self._state is BODY and not (self._buffer or self._processing or self._reading.reasons & HELD_BACK):
            self._process(data)  # content is copied once, where it is taken out of its framing
        else:
            self.data_received(bytes(data))

    def data_received(self, data: bytes) -> None:
        """Bytes of the sender."""
        state = self._state
        if state is HEAD and not self._buffer and len(data) <= turn.STAGED_BYTES:
            self._buffer = data
            self._process_soon()
        elif state is HEAD or state is BODY:
            self._buffer = self._buffer + data if self._buffer else data
            self._process()
        elif state is ANSWER:
            self._buffer += data
            self.pause(Pause.PIPELINED)
        else:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.cut()

    def eof_received(self) -> bool:
        if self._state is HEAD:
            self._process()  # what came in the same moment
        if self._state is BODY:
            assert self._exchange is not None
            self._exchange.refuse(Reason.BAD_REQUEST, "truncated")
        elif self._state is HEAD and self._buffer:
            self._refuse_head(ProtocolError(Reason.BAD_REQUEST, "truncated"))
        elif self._state is ANSWER:
            # A sender may close its side once its request is out (RFC 9112 section 9.6); TLS cannot half-close.
            self._ended = True
            return not self.secure
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        exchange, self._exchange = self._exchange, None
        if self._state is not CLOSED:
            self._state = client_moved(self._state, CLOSED)
        self._site.clock.unwatch(self)
        self._site.connections.discard(self)
        if exchange is not None:
            exchange.sender_gone(Reason.SENDER_GONE)
        self._transport = self._reading.transport = self._writing.transport = None
        self._on_close()

    def pause_writing(self) -> None:
        self._writing.stalled(self._site.clock.now())
        if self._exchange is not None:
            self._exchange.sender_writable(writable=False)

    def resume_writing(self) -> None:
        self._writing.flows()
        if self._exchange is not None:
            self._exchange.sender_writable(writable=True)
        elif self._reading.reasons & Pause.UNREAD:
            self.deadline = self._site.clock.after(self._limits.keepalive_timeout_s)
            self.resume(Pause.UNREAD)

    # -- the worker's and the clock's calls

    def drain(self) -> None:
        """Close when idle, by when the site says; an exchange ends first and says ``Connection: close``."""
        if self._state is HEAD and not self._buffer:
            self.deadline = min(self.deadline, self._site.ends_idle(self._kind))
            if self.deadline <= self._site.clock.now():
                self._close()

    def abort(self) -> None:
        """Cut the connection; an exchange under way ends as drained."""
        self._give_up(Reason.DRAINED)

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        due = self.deadline = self._site.clock.after(CHECK_S)
        if self._writing.is_late(now, self._limits.write_timeout_s):
            self._give_up(Reason.WRITE_TIMEOUT)
        elif self._exchange is not None:
            self._exchange.check(now, paused_s=self._reading.paused_s(now))
        elif self._state is HEAD:
            self._process()  # what came in the same moment is not late
            # Nor is who waits for us, while we wait for him to take the answers before.
            if self._state is HEAD and self.deadline == due and not self._reading.reasons & Pause.UNREAD:
                if self._buffer:
                    self._refuse_head(ProtocolError(Reason.HEAD_TIMEOUT, "head_timeout"))
                else:
                    self._close()
        elif self._state is REFUSING and not self._writing.unwritten:
            self._close()
        elif not self._writing.is_stalled:
            # Closing waits for the last answer as long as the sender takes some of it.
            self._writing.stalled(now)

    # -- the exchange's calls

    def proxy_header(self, client: str) -> bytes:
        """The PROXY header that names ``client``, the address that was judged."""
        peer = self.peer
        source = peer if client == peer.text else Peer.of(client)  # of who is behind a proxy no port is known
        local = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return header_for(source, local)

    def write(self, pieces: list[bytes]) -> None:
        """Bytes of an answer."""
        assert self._transport is not None
        write(self._transport, pieces, secure=self.secure)

    def pause(self, why: Pause) -> None:
        """Stop reading, for one more reason."""
        self._reading.pause(why)

    def resume(self, why: Pause) -> None:
        """Read on, where no other reason forbids it."""
        reading = self._reading
        if reading.reasons and reading.resume(why) and why & HELD_BACK:
            self._process_soon()

    def read_more(self, *, generous: bool) -> None:
        """Take more with each read of this request's content, or no more than usual."""
        self._reading.buffer = LARGE_BUFFER if generous else BUFFER

    def answer_refusal(
        self, record: ExchangeRecord, *, body_read: bool, allow: tuple[bytes, ...] = (), retry_s: float = 0.0
    ) -> None:
        """Write the prebuilt answer for ``record.reason``; the connection stays where the request was read whole."""
        keeps = body_read and self._keeps(record)
        refusal = self._site.refusal(record.reason, close=not keeps, status=record.status, allow=allow, retry_s=retry_s)
        write = refusal.write
        if record.bare and not allow:
            write = partial(HandshakeAnswer(b"", b"", record.status).write, close=not keeps)
        self._write_own(record, write, keeps=keeps)

    def answer_handshake(self, record: ExchangeRecord, answer: HandshakeAnswer) -> None:
        """Write our own answer to an endpoint check, which was read whole."""
        keeps = self._keeps(record)
        self._write_own(record, partial(answer.write, close=not keeps), keeps=keeps)

    def _keeps(self, record: ExchangeRecord) -> bool:
        return record.keep_alive and not self._ended and not self._site.ends(self._kind)

    def _write_own(self, record: ExchangeRecord, write: Callable[..., bytes], *, keeps: bool) -> None:
        self._exchange = None
        request_id = record.request_id.encode("ascii")
        self.write([write(request_id, self._site.clock.date, head_only=record.method == "HEAD")])
        if keeps:
            self._next_head()
        else:
            self._linger()

    def exchange_ended(self, *, close: bool) -> None:
        """The answer is written whole."""
        self._exchange = None
        if not close and not self._ended and not self._site.ends(self._kind):
            self._next_head()
        elif self._state is BODY or self._buffer:
            self._linger()
        else:
            self._close()

    def cut(self) -> None:
        """End the connection now and by reset: an answer that ends with its connection must not look complete."""
        self._exchange = None
        self._buffer = b""
        if self._transport is None:
            return
        if self._state is not CLOSING:
            self._state = client_moved(self._state, CLOSING)
        abort(self._transport, self._transport.get_extra_info("socket"))

    # -- reading

    @property
    def _limits(self) -> Limits:
        return self._site.policy.limits

    def _process_soon(self) -> None:
        if self._buffer:
            self._site.turn.enter(turn.HEAD, self._process, self.failed)

    def _process(self, content: memoryview | None = None) -> None:
        """Take ``content`` and what is in the buffer as far as it goes."""
        if self._processing or self._head is not None:
            return
        self._processing = True
        try:
            if content is not None:
                self._take_content(content)
            while self._buffer and not self._reading.reasons & HELD_BACK:
                if self._state is HEAD:
                    self._take_head()
                    if self._state is HEAD:
                        # Incomplete, not judged yet, or refused: then the next one waits for its turn of the loop.
                        break
                elif self._state is BODY:
                    data, self._buffer = self._buffer, b""
                    self._take_content(data)
                else:
                    break
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not pass for anything but a failure
            self.failed(bug)
        finally:
            self._processing = False

    def _take_head(self) -> None:
        """Read a head, where it is whole."""
        known, self._head_known = self._head_known, 0
        try:
            parsed = read_request_head(self._buffer, self._site.head_limits, known)
        except ProtocolError as error:
            self._refuse_head(error)
            return
        if parsed is None:
            self._head_known = len(self._buffer)
            if known < 0:
                self.deadline = self._site.clock.after(self._limits.head_timeout_s)
            return
        self._head, consumed = parsed
        self._buffer = self._buffer[consumed:]
        self._site.turn.go_on(turn.DECISION, self._decide, self.failed)

    def _decide(self) -> None:
        """Judge the head that was read, and take what came along."""
        head, self._head = self._head, None
        assert head is not None
        self._judge(head)
        if self._state is BODY:
            self._process()

    def _judge(self, head: RequestHead) -> None:
        site = self._site
        policy = site.policy
        wall = site.clock.wall()
        self.deadline = site.clock.after(CHECK_S)
        self._reading.begin_request()
        self._served += 1
        if policy is not self._judged_by:
            self._judged_by = policy
            self.peer_trusted = not self._named and self.peer in policy.trusted_proxies
        decision = decide(
            head, self.peer, policy, site.table, wall, trusted=self.peer_trusted, names=self._names, rates=site.rates
        )
        if isinstance(decision, Admit) and (lacking := site.lacks(decision.route, self._kind)):
            decision = Reject(Reason.OVERLOADED, decision.client, decision.route, detail=lacking)
        record = self._record(head, decision, wall)
        if isinstance(decision, Reject):
            self._reject(head, decision, record)
            return
        if decision.answer is not None:
            record.answer_handshake(decision.answer.status, len(decision.answer.content))
            site.finished(record)
            self.answer_handshake(record, decision.answer)
            return
        if decision.observed is not None:
            site.find_cause(decision.observed, head, decision.route, record.request_id, _no_body)
        exchange = self._exchange = Exchange(self, site, head, decision, record)
        length = head.content_length or 0
        if head.framing is not Framing.CHUNKED and len(self._buffer) >= length:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self._begin_answer()
            site.turn.go_on(turn.VERDICT, partial(exchange.begin_whole, body), self.failed)
            return
        self._state = client_moved(self._state, BODY)
        self._content = ContentReader(head, decision.route.limits.max_body)
        exchange.begin()

    def _record(self, head: RequestHead, decision: Admit | Reject, wall: float) -> ExchangeRecord:
        given = clean_request_id(head.values.get(b"x-request-id")) if self.peer_trusted else None
        record = self._site.new_record(wall, self.peer.text, secure=self.secure, request_id=given)
        record.client = decision.client.text
        record.keep_alive = head.keep_alive and self._served < self._site.policy.server.max_requests_per_connection
        note_decision(record, head, decision)
        return record

    def _reject(self, head: RequestHead, reject: Reject, record: ExchangeRecord) -> None:
        """Refuse by the head alone; a body that is here whole already is dropped, else the connection closes."""
        record.refuse(reject.reason, reject.detail, reject.status or reject.reason.status or 0)
        read, length = self._buffer, head.content_length or 0
        # Who is in doubt about its own words is not heard again on this connection.
        good = reject.reason is not Reason.BAD_REQUEST
        body_read = good and head.framing is not Framing.CHUNKED and len(read) >= length
        if body_read:
            self._buffer = read[length:]
        self._site.finished(record)
        self.answer_refusal(record, body_read=body_read, allow=reject.allow, retry_s=reject.retry_s)
        if reject.route is not None:
            body = (lambda: read[:length]) if body_read else _no_body
            self._site.find_cause(reject.reason, head, reject.route, record.request_id, body)

    def _refuse_head(self, error: ProtocolError) -> None:
        """The bytes are no head we take: answer, and parse nothing that follows."""
        self._buffer = b""
        record = self._site.new_record(self._site.clock.wall(), self.peer.text, secure=self.secure)
        record.refuse(error.reason, error.detail, error.reason.status or 400)
        self._site.finished(record)
        allow = (b"POST",) if error.reason is Reason.METHOD_NOT_ALLOWED else ()
        self.answer_refusal(record, body_read=False, allow=allow)

    def failed(self, bug: Exception) -> None:
        """A bug: tell the loop's handler, answer 500 where nothing was answered yet, and close."""
        self._head = None
        self._site.turn.complain(bug)
        self._buffer = b""
        if self._exchange is not None:
            self._exchange.refuse(Reason.INTERNAL_ERROR)
        elif self._state is HEAD and self._head_known >= 0:
            self._refuse_head(ProtocolError(Reason.INTERNAL_ERROR, ""))
        elif self._state is HEAD:
            self._close()  # the request is answered, and whole: no second answer, and no reset that would destroy it
        if self._state is BODY or self._state is ANSWER:
            self.cut()  # nobody knows how much of an answer is out

    def _take_content(self, data: bytes | memoryview) -> None:
        exchange, content = self._exchange, self._content
        assert exchange is not None
        assert content is not None
        try:
            piece = content.feed(data)
        except ProtocolError as error:
            exchange.refuse(error.reason, error.detail)
            return
        self._buffer = content.rest
        if piece:
            exchange.content(piece)
        if content.ended and self._exchange is exchange:
            self._content = None
            self._begin_answer()
            exchange.content_ended()

    def _begin_answer(self) -> None:
        """The request is here whole; what came with it waits for its answer."""
        self._reading.buffer = BUFFER
        self._state = client_moved(self._state, ANSWER)
        if self._buffer:
            self.pause(Pause.PIPELINED)

    # -- the end of an exchange, and of the connection

    def _next_head(self) -> None:
        self._state = client_moved(self._state, HEAD)
        self._head_known = -1
        self.deadline = self._site.clock.after(self._limits.keepalive_timeout_s)
        self._reading.resume_all()
        if self._writing.is_stalled:
            # Who does not take its answers gets no further ones: together they would have no bound.
            self.pause(Pause.UNREAD)
        else:
            self._process_soon()

    def _give_up(self, reason: Reason) -> None:
        exchange = self._exchange
        self.cut()
        if exchange is not None:
            exchange.sender_gone(reason)

    def _linger(self) -> None:
        """Close without losing the answer to a reset: end our side, and discard what still comes."""
        self._state = client_moved(self._state, REFUSING)
        self._buffer = b""
        self.deadline = self._site.clock.after(LINGER_S)
        if self._transport is None:
            return
        self._reading.resume_all()
        end(self._transport, secure=self.secure)

    def _close(self) -> None:
        self._state = client_moved(self._state, CLOSING)
        self._buffer = b""
        self.deadline = self._site.clock.after(CHECK_S)
        if self._transport is not None:
            self._transport.close()


def _no_body() -> None:
    """Stands for a body that is not here."""
