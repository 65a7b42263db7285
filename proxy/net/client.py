"""``ClientConnection``: a client's connection, exchange by exchange.

It reads heads and cuts content by its framing, asks ``core.exchange.decide`` once a head, tells the exchange's relay
what comes, and writes what is to be answered. One request is served at a time; what a client pipelines waits unread
(threats F15). After a framing error nothing further is parsed (F10): the answer goes out, the rest is discarded within
bounds so that the answer is not lost to a reset, and the connection closes. It never sees a secret and never talks to
an upstream: that is the exchange's. Every exchange ends in ``_end``, whatever became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.core.addresses import Peer
from proxy.core.content import ContentReader
from proxy.core.exchange import Admit, Reject, decide
from proxy.core.forwarding import clean_request_id
from proxy.core.particulars import note_decision
from proxy.core.policy import Limits, Policy
from proxy.core.record import ExchangeRecord
from proxy.core.relay import RELAYING, Arrival, Relay, Then
from proxy.core.request_head import read_request_head
from proxy.core.states import CLIENT_MOVES, ClientState, moved
from proxy.errors import ProtocolError
from proxy.http1 import Framing, RequestHead
from proxy.net.certificate import NO_NAMES, client_names
from proxy.net.clock import NEVER
from proxy.net.exchange import Exchange
from proxy.net.flow import BUFFER, LARGE_BUFFER, Pause, Reading, Writing, end
from proxy.net.reset import abort
from proxy.net.site import Site
from proxy.net.turn import STAGED_BYTES
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
    """The protocol of one client's connection."""

    __slots__ = (
        "_arrival",
        "_buffer",
        "_content",
        "_ended",
        "_exchange",
        "_head",
        "_head_known",
        "_judged_by",
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
        self.secure = secure
        self.deadline = NEVER
        self._arrival = Arrival(peer.text, secure=secure, kind=kind)
        self._named = named
        self._judged_by: Policy | None = None
        self._transport: asyncio.Transport | None = None
        self._names: frozenset[str] = NO_NAMES
        self._state = HEAD
        self._buffer = b""
        self._ended = False  # the client has closed its side
        self._processing = False
        self._reading = Reading(site.clock)
        self._writing = Writing(secure=secure)
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
        self.deadline = min(
            self._site.clock.after(self._limits.head_timeout_s), self._site.ends_idle(self._arrival.kind)
        )
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
        """Bytes of the client."""
        state = self._state
        if state is HEAD and not self._buffer and len(data) <= STAGED_BYTES:
            self._buffer = data
            self._site.turn.enter(self)
        elif state is HEAD or state is BODY:
            self._buffer = self._buffer + data if self._buffer else data
            self._process()
        elif state is ANSWER:
            self._buffer += data
            self._reading.pause(Pause.PIPELINED)
        else:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._cut()

    def eof_received(self) -> bool:
        self._process()  # what came in the same moment
        if self._state is BODY:
            assert self._exchange is not None
            self._exchange.refuse(Reason.BAD_REQUEST, "truncated")
            self.step()  # the loop closes the connection when this call is over
        elif self._state is HEAD and self._buffer:
            self._refuse_head(ProtocolError(Reason.BAD_REQUEST, "truncated"))
        elif self._state is ANSWER:
            # A client may close its side once its request is out (RFC 9112 section 9.6); TLS cannot half-close.
            self._ended = True
            if self.secure and self._exchange is not None and self._exchange.relay.answer is RELAYING:
                self.abort(Reason.SENDER_GONE)  # closed tidily, what it has of the answer might look whole
            return not self.secure
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._move(CLOSED)
        self._site.clock.unwatch(self)
        self._site.connections.discard(self)
        self._transport = self._reading.transport = self._writing.transport = None
        self._give_up_exchange(Reason.SENDER_GONE)
        self._on_close()

    def pause_writing(self) -> None:
        self._writing.stalled(self._site.clock.now())
        if self._exchange is not None:
            self._exchange.client_writable(writable=False)

    def resume_writing(self) -> None:
        self._writing.flows()
        if self._exchange is not None:
            self._exchange.client_writable(writable=True)
        elif self._reading.resume(Pause.UNREAD):
            self.deadline = self._site.clock.after(self._limits.keepalive_timeout_s)
            self._site.turn.enter(self)

    # -- the worker's and the clock's calls

    def drain(self) -> None:
        """Close when idle, by when the site says; an exchange ends first and says ``Connection: close``."""
        if self._is_idle and not self._buffer:
            self.deadline = min(self.deadline, self._site.ends_idle(self._arrival.kind))
            if self.deadline <= self._site.clock.now():
                self._close()

    def abort(self, reason: Reason = Reason.DRAINED) -> None:
        """Cut the connection; an exchange under way ends for ``reason``."""
        self._cut()
        self._give_up_exchange(reason)

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        due = self.deadline = self._site.clock.after(CHECK_S)
        if self._writing.is_late(now, self._limits.write_timeout_s):
            self.abort(Reason.WRITE_TIMEOUT)
        elif self._exchange is not None:
            self._exchange.check(now)
        elif self._state is HEAD:
            self._process()  # what came in the same moment is not late
            # Nor is a client that waits for us, while we wait for it to take the answers before.
            if self._is_idle and self.deadline == due and not self._reading.reasons & Pause.UNREAD:
                if self._buffer:
                    self._refuse_head(ProtocolError(Reason.HEAD_TIMEOUT, "head_timeout"))
                else:
                    self._close()
        elif self._state is REFUSING and not self._writing.unwritten:
            self._close()
        elif not self._writing.is_stalled:
            # Closing waits for the last answer as long as the client takes some of it.
            self._writing.stalled(now)

    # -- the turn's calls

    def step(self) -> None:
        """Read a head, decide about it, or see to the exchange: one of them."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.relay.then is None:
                exchange.step()
            else:
                self._end_exchange(exchange)
        elif self._head is not None:
            self._decide()
            if self._exchange is not None:
                self._site.turn.go_on(self)
        elif self._state is HEAD and self._buffer and not self._reading.reasons & HELD_BACK:
            self._read_head()
            if self._head is not None:
                self._site.turn.go_on(self)
        if self._state is BODY and self._buffer:
            self._process()

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
        elif self._state is BODY or self._state is ANSWER:
            self._cut()  # how much of an answer is out is not known

    # -- reading

    @property
    def _limits(self) -> Limits:
        return self._site.policy.limits

    @property
    def _may_stay(self) -> bool:
        """Whether another request may come on this connection."""
        return not self._ended and not self._site.ends(self._arrival.kind)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is under way but one whose head is incomplete."""
        return self._state is HEAD and self._head is None

    def _process(self, content: memoryview | None = None) -> None:
        """Take ``content`` and what is in the buffer as far as it goes, without waiting for a turn."""
        if self._processing:
            return
        self._processing = True
        try:
            if content is not None:
                self._take_content(content)
            while not self._reading.reasons & HELD_BACK:
                if self._is_idle and self._buffer:
                    self._read_head()
                if self._head is not None:
                    self._decide()
                    if self._exchange is not None:
                        self._exchange.step()
                if self._state is not BODY or not self._buffer:
                    # The head is incomplete, or was refused: then the next one waits for its turn of the loop.
                    break
                data, self._buffer = self._buffer, b""
                self._take_content(data)
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not pass for anything but a failure
            self.failed(bug)
        finally:
            self._processing = False

    def _read_head(self) -> None:
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

    def _decide(self) -> None:
        """Judge the head that was read, and begin its exchange."""
        site, arrival = self._site, self._arrival
        head, self._head = self._head, None
        assert head is not None
        policy = site.policy
        wall = site.clock.wall()
        self.deadline = site.clock.after(CHECK_S)
        self._reading.begin_request()
        self._served += 1
        if policy is not self._judged_by:
            self._judged_by = policy
            arrival.trusted = not self._named and self.peer in policy.trusted_proxies
        decision = decide(
            head, self.peer, policy, site.table, wall, trusted=arrival.trusted, names=self._names, rates=site.rates
        )
        if isinstance(decision, Admit) and (lacking := site.lacks(decision.route, arrival.kind)):
            decision = Reject(Reason.OVERLOADED, decision.client, decision.route, detail=lacking)
        relay = Relay(self._new_record(head, decision, wall), arrival, site.clock.now())
        if isinstance(decision, Reject):
            relay.refused(head, decision)
            self._skip_body(head, relay)
            self._end(relay)
        elif decision.answer is not None:
            relay.answered_check(decision.answer)
            self._end(relay)
        else:
            self._begin(Exchange(site, self, self._reading, self._writing, relay=relay, head=head, admit=decision))

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        head = exchange.relay.head
        length = head.content_length or 0
        if head.framing is not Framing.CHUNKED and len(self._buffer) >= length:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self._request_ended()
            exchange.begin_whole(body)
        else:
            self._move(BODY)
            self._content = ContentReader(head, exchange.relay.admit.route.limits.max_body)
            exchange.begin()

    def _new_record(self, head: RequestHead, decision: Admit | Reject, wall: float) -> ExchangeRecord:
        given = clean_request_id(head.values.get(b"x-request-id")) if self._arrival.trusted else None
        record = self._site.new_record(wall, self.peer.text, secure=self.secure, request_id=given)
        record.client = decision.client.text
        record.keep_alive = head.keep_alive and self._served < self._site.policy.server.max_requests_per_connection
        note_decision(record, head, decision)
        return record

    def _skip_body(self, head: RequestHead, relay: Relay) -> None:
        """Of a refused request, a body that is here whole is dropped; else the connection closes."""
        length = head.content_length or 0
        # A client in doubt about its own words is not heard again on this connection.
        good = relay.record.reason is not Reason.BAD_REQUEST
        if good and head.framing is not Framing.CHUNKED and len(self._buffer) >= length:
            relay.skipped(self._buffer[:length])
            self._buffer = self._buffer[length:]

    def _refuse_head(self, error: ProtocolError) -> None:
        """The bytes are no head we take: answer, and parse nothing that follows."""
        site = self._site
        detail = site.detail_of(error, self._buffer, self.peer, secure=self.secure)
        self._buffer = b""
        record = site.new_record(site.clock.wall(), self.peer.text, secure=self.secure)
        relay = Relay(record, self._arrival, site.clock.now())
        allow = (b"POST",) if error.reason is Reason.METHOD_NOT_ALLOWED else ()
        relay.refused(None, Reject(error.reason, self.peer, allow=allow, detail=detail))
        self._end(relay)

    def _take_content(self, data: bytes | memoryview) -> None:
        exchange, content = self._exchange, self._content
        assert exchange is not None
        assert content is not None
        if exchange.relay.then is not None:
            return  # over: the step that ends it is on its way
        try:
            piece = content.feed(data)
        except ProtocolError as error:
            exchange.refuse(error.reason, error.detail)
            return
        self._buffer = content.rest
        if piece:
            exchange.content(piece)
        if content.ended and exchange.relay.then is None:
            self._request_ended()
            exchange.content_ended()

    def _request_ended(self) -> None:
        """The request is here whole; what came with it waits for its answer."""
        self._content = None
        self._reading.buffer = BUFFER
        self._move(ANSWER)
        if self._buffer:
            self._reading.pause(Pause.PIPELINED)

    # -- the end of an exchange, and of the connection

    def _end_exchange(self, exchange: Exchange) -> None:
        self._exchange = self._content = None
        self._end(exchange.relay)

    def _end(self, relay: Relay) -> None:
        """The only end of an exchange, of a refused head too: its record is written, and its client goes on."""
        site, record, then = self._site, relay.record, relay.then
        record.duration_s = site.clock.now() - relay.started
        site.finished(record)
        if self._state is CLOSING or self._state is CLOSED:
            return  # none is there to be told
        if then is Then.GO_ON and self._may_stay:
            self._next_head()
        elif then is Then.CUT:
            self._cut()
        elif then is Then.ANSWER:
            self._write_own(relay)
        elif self._state is BODY or self._buffer:
            self._linger()
        else:
            self._close()
        if relay.suspect is not None:
            site.explain(relay)

    def _give_up_exchange(self, reason: Reason) -> None:
        """The connection is gone or cut, and with it the exchange that was under way."""
        exchange = self._exchange
        if exchange is not None:
            exchange.client_gone(reason)
            self._end_exchange(exchange)

    def _write_own(self, relay: Relay) -> None:
        """Answer by ourselves; the connection stays where the request was read whole."""
        keeps = relay.request_read and relay.record.keep_alive and self._may_stay
        self._writing.write([self._site.own_answer(relay, close=not keeps)])
        if keeps:
            self._next_head()
        else:
            self._linger()

    def _next_head(self) -> None:
        self._move(HEAD)
        self._head_known = -1
        self.deadline = self._site.clock.after(self._limits.keepalive_timeout_s)
        if self._reading.reasons:
            self._reading.resume_all()
        if self._writing.is_stalled:
            # A client that does not take its answers gets no further ones: together they would have no bound.
            self._reading.pause(Pause.UNREAD)
        elif self._buffer:
            self._site.turn.enter(self)

    def _linger(self) -> None:
        """Close without losing the answer to a reset: end our side, and discard what still comes."""
        self._move(REFUSING)
        self._buffer = b""
        self.deadline = self._site.clock.after(LINGER_S)
        if self._transport is None:
            return
        self._reading.resume_all()
        end(self._transport, secure=self.secure)

    def _close(self) -> None:
        self._move(CLOSING)
        self._buffer = b""
        self.deadline = self._site.clock.after(CHECK_S)
        if self._transport is not None:
            self._transport.close()

    def _cut(self) -> None:
        """End the connection now and by reset: an answer that ends with its connection must not look complete."""
        self._buffer = b""
        if self._transport is not None:
            if self._state is not CLOSING:
                self._move(CLOSING)
            abort(self._transport, self._transport.get_extra_info("socket"))

    def _move(self, state: ClientState) -> None:
        self._state = moved(CLIENT_MOVES, self._state, state)
