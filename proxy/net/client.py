"""``ClientConnection``: a client's connection, exchange by exchange.

It reads heads and cuts content by its framing, asks ``core.exchange.decide`` once a head, tells the exchange's relay
what comes, and writes what is to be answered. One request is served at a time; what a client pipelines waits unread
(threats F15). After a framing error nothing further is parsed (F10): the answer goes out, and ``Leaving`` discards the
rest within bounds, so that the answer is not lost to a reset. It never sees a secret and never talks to an upstream:
that is the exchange's. Every exchange ends in ``_end``, whatever became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any

from proxy.core.addresses import Peer
from proxy.core.recurring import RequestStream
from proxy.core.relay import CUT, GO_ON, OURS, RELAYING, Relay
from proxy.core.states import CLIENT_MOVES, ClientState
from proxy.errors import ProtocolError
from proxy.net.beyond_ssl import NO_NAMES, client_names
from proxy.net.clock import NEVER, STAGED_BYTES
from proxy.net.flow import BUFFER, LARGE_BUFFER, Leaving, Pause, Reading, Writing, closed
from proxy.net.heads import HeadJudge
from proxy.net.keeping import Exchange, exchange_for
from proxy.net.planned import PlannedExchange
from proxy.net.site import Site
from proxy.net.upstream import WRITE_HIGH_BYTES
from proxy.reasons import Reason

#: Deadlines of an exchange are looked at this often.
CHECK_S = 1.0
#: While one of these holds, what was read is not looked at either.
HELD_BACK = Pause.BUDGET | Pause.UNREAD

HEAD, BODY, ANSWER, _, CLOSING, CLOSED = ClientState


@dataclass(slots=True, eq=False, repr=False)
class ClientConnection(asyncio.BufferedProtocol):
    """The protocol of one client's connection."""

    _site: Site
    peer: Peer  # the address we judge the connection by
    _: KW_ONLY
    secure: bool
    on_close: Callable[[], None]  # called once, when it is gone
    named: InitVar[bool] = False  # a PROXY header named the peer, and that is final
    kind: InitVar[int] = 0  # the site's, as it was when the listener was made

    # of the connection
    deadline: float = field(init=False, default=NEVER)
    _state: ClientState = field(init=False, default=HEAD)
    _unread: RequestStream = field(init=False, default_factory=RequestStream)
    _ended: bool = field(init=False, default=False)  # the client has closed its side
    _processing: bool = field(init=False, default=False)
    _reading: Reading = field(init=False)
    _writing: Writing = field(init=False)
    _judge: HeadJudge = field(init=False)
    # of the request
    _exchange: Exchange | PlannedExchange | None = field(init=False, default=None)

    def __post_init__(self, named: bool, kind: int) -> None:
        self._reading = Reading(self._site.clock)
        self._writing = Writing(secure=self.secure)
        self._judge = HeadJudge(self._site, self.peer, self._unread, secure=self.secure, named=named, kind=kind)

    # -- asyncio's calls

    def connection_made(self, transport: Any) -> None:
        self._reading.transport = self._writing.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._judge.names = client_names(transport.get_extra_info("peercert")) if self.secure else NO_NAMES
        self._site.welcome(self, self._judge.arrival.kind)

    def get_buffer(self, _: int) -> memoryview:
        return self._reading.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = LARGE_BUFFER[:nbytes]
        if self._state is BODY and not (self._unread.data or self._processing or self._reading.reasons & HELD_BACK):
            self._process(data)  # content is copied once, where it is taken out of its framing
        else:
            self.data_received(bytes(data))

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._state is HEAD and not self._unread.data and len(data) <= STAGED_BYTES:
            self._unread.data = data
            self._site.turn.enter(self)
        elif self._state is HEAD or self._state is BODY:
            self._unread.add(data)
            self._process()
        elif self._state is ANSWER:
            self._unread.add(data)
            self._reading.pause(Pause.PIPELINED)

    def eof_received(self) -> bool:
        self._process()  # what came in the same moment
        if self._state is BODY and self._exchange is not None:
            self._exchange.refuse(Reason.BAD_REQUEST, "truncated")
            self.step()  # the loop closes the connection when this call is over
        elif self._state is HEAD and self._unread.data:
            self._end(self._judge.refuse(ProtocolError(Reason.BAD_REQUEST, "truncated")))
        elif self._state is ANSWER:
            # A client may close its side once its request is out (RFC 9112 section 9.6); TLS cannot half-close.
            self._ended = True
            if self.secure and self._exchange is not None and self._exchange.relay.answer is RELAYING:
                self.abort(Reason.SENDER_GONE)  # closed tidily, what it has of the answer might look whole
            return not self.secure
        return False

    def connection_lost(self, _: Exception | None) -> None:
        self._state = CLIENT_MOVES[self._state][CLOSED]
        closed(self._site, self, (self._reading, self._writing), self.on_close)
        self._give_up_exchange(Reason.SENDER_GONE)

    def pause_writing(self) -> None:
        self._writing.stalled(self._site.clock.now())
        if self._exchange is not None:
            self._exchange.client_writable(writable=False)

    def resume_writing(self) -> None:
        self._writing.flows()
        if self._exchange is not None:
            self._exchange.client_writable(writable=True)
        elif self._reading.resume(Pause.UNREAD):
            self.deadline = self._site.clock.after(self._site.policy.limits.keepalive_timeout_s)
            self._site.turn.enter(self)

    # -- the worker's and the clock's calls

    def drain(self) -> None:
        """Close when idle, by when the site says; an exchange ends first and says ``Connection: close``."""
        if self._is_idle and not self._unread.data:
            self.deadline = min(self.deadline, self._site.ends_idle(self._judge.arrival.kind))
            if self.deadline <= self._site.clock.now():
                self._close()

    def abort(self, reason: Reason = Reason.DRAINED) -> None:
        """Cut the connection; an exchange under way ends for ``reason``."""
        self._leave().abort()
        self._give_up_exchange(reason)

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        due = self.deadline = self._site.clock.after(CHECK_S)
        if self._writing.is_late(now, self._site.policy.limits.write_timeout_s):
            self.abort(Reason.WRITE_TIMEOUT)
        elif self._exchange is not None:
            self._exchange.check(now)
        elif self._state is HEAD:
            self._process()  # what came in the same moment is not late
            # Nor is a client that waits for us, while we wait for it to take the answers before.
            if self._is_idle and self.deadline == due and not self._reading.reasons & Pause.UNREAD:
                if self._unread.data:
                    self._end(self._judge.refuse(ProtocolError(Reason.HEAD_TIMEOUT, "head_timeout")))
                else:
                    self._close()

    # -- the turn's calls

    def step(self) -> None:
        """Read a head, decide about it, or see to the exchange: one of them."""
        exchange, unread = self._exchange, self._unread
        if exchange is not None:
            if (over := exchange.step()) is not None:
                self._end(over)
        elif unread.head is not None:
            self._decide()
        elif unread.data and self._state is HEAD and not self._reading.reasons & HELD_BACK:
            self._read_head()
            if unread.head is not None:
                self._site.turn.go_on(self)
        if self._state is BODY and unread.data:
            self._process()

    def failed(self, bug: Exception) -> None:
        """A bug: tell the loop's handler, answer 500 where nothing was answered yet, and close."""
        self._site.turn.complain(bug)
        self._unread.drop()
        if self._exchange is not None:
            self._exchange.refuse(Reason.INTERNAL_ERROR)
        elif self._state is HEAD and self._unread.has_begun:
            self._end(self._judge.refuse(ProtocolError(Reason.INTERNAL_ERROR, "")))
        elif self._state is HEAD:
            # The request is answered, and whole: no second answer, and no reset that would destroy it.
            self._leave().close()
        elif self._state is BODY or self._state is ANSWER:
            self._leave().abort()  # how much of an answer is out is not known

    # -- reading

    @property
    def _is_idle(self) -> bool:
        """Whether no request is under way but one whose head is incomplete."""
        return self._state is HEAD and self._unread.head is None

    def _process(self, content: memoryview | None = None) -> None:
        """Take ``content`` and what is in the buffer as far as it goes, without waiting for a turn."""
        if self._processing:
            return
        self._processing = True
        try:
            if content is not None:
                self._take_content(content)
            while not self._reading.reasons & HELD_BACK:
                if self._is_idle and self._unread.data:
                    self._read_head()
                if self._unread.head is not None:
                    self._decide()
                if self._state is not BODY or not self._unread.data:
                    # The head is incomplete, or was refused: then the next one waits for its turn of the loop.
                    break
                data, self._unread.data = self._unread.data, b""
                self._take_content(data)
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not pass for anything but a failure
            self.failed(bug)
        finally:
            self._processing = False

    def _read_head(self) -> None:
        """Read a head, where it is whole."""
        if (refused := self._judge.read()) is not None:
            self._end(refused)
        elif self._unread.head is None and self._unread.begins:
            self.deadline = self._site.clock.after(self._site.policy.limits.head_timeout_s)

    def _decide(self) -> None:
        """Have the head that was read judged, and begin its exchange."""
        self.deadline = self._site.clock.after(CHECK_S)
        self._reading.begin_request()
        self._exchange = self._judge.follow(self, (self._reading, self._writing)) or self._admitted()
        if self._exchange is not None and self._state is HEAD:
            self._request_ended()
            self._site.turn.go_on(self)

    def _admitted(self) -> Exchange | None:
        """The exchange of a head that is judged anew, where it is let in."""
        relay, head, admit = self._judge.judge()
        if admit is None:
            self._end(relay)
            return None
        body, begun = self._unread.whole_body(head), exchange_for(admit.route)
        exchange = begun(self._site, self, self._reading, self._writing, relay, head, admit, body)
        if body is None:
            self._exchange = exchange
            self._state = CLIENT_MOVES[self._state][BODY]
            exchange.begin()
        return exchange

    def _take_content(self, data: bytes | memoryview) -> None:
        exchange = self._exchange
        assert isinstance(exchange, Exchange)
        self._unread.data = exchange.take(data) + self._unread.data
        if exchange.relay.request_read:
            self._request_ended()

    def _request_ended(self) -> None:
        """The request is here whole; what came with it waits for its answer."""
        self._reading.buffer = BUFFER
        self._state = CLIENT_MOVES[self._state][ANSWER]
        if self._unread.data:
            self._reading.pause(Pause.PIPELINED)

    # -- the end of an exchange, and of the connection

    def _end(self, over: Relay | PlannedExchange) -> None:
        """The only end of an exchange, of a refused head too: its record is written, and its client goes on."""
        self._exchange = None
        self._site.finished(over)
        if self._state is not CLOSED:  # else none is there to be told
            self._go_on(over)
        if over.suspect is not None:
            self._site.explain(over)

    def _go_on(self, over: Relay | PlannedExchange) -> None:
        """Answer what has ended, where that is ours to do, and go on with the connection or end it."""
        then = over.then
        whole = then is GO_ON or (then is OURS and over.request_read and over.record.keep_alive)
        stays = whole and not self._ended and not self._site.ends(self._judge.arrival.kind)
        if then is OURS:
            self._writing.write([self._site.own_answer(over, close=not stays)])
        if stays:
            self._next_head()
        elif then is CUT:
            self._leave().abort()
        elif not over.request_read or self._state is BODY or self._unread.data or self._reading.reasons:
            self._leave().linger()
        else:
            self._close()

    def _give_up_exchange(self, reason: Reason) -> None:
        """The connection is gone or cut, and with it the exchange that was under way."""
        if (exchange := self._exchange) is not None:
            exchange.client_gone(reason)
            self._end(exchange.over if isinstance(exchange, PlannedExchange) else exchange.relay)

    def _next_head(self) -> None:
        self._state = CLIENT_MOVES[self._state][HEAD]
        self._unread.next_request()
        self.deadline = self._site.clock.after(self._site.policy.limits.keepalive_timeout_s)
        self._reading.resume_all()
        if self._writing.is_stalled:
            # A client that does not take its answers gets no further ones: together they would have no bound.
            self._reading.pause(Pause.UNREAD)
        elif self._unread.data:
            self._site.turn.enter(self)

    def _close(self) -> None:
        """Close, where all that came was read."""
        if self.secure or self._writing.unwritten:
            return self._leave().close()
        self._state = CLIENT_MOVES[self._state][CLOSING]
        return self._writing.close()  # at once: nothing is left to wait for

    def _leave(self) -> Leaving:
        """Hand the connection over to what ends it."""
        state, self._state = self._state, CLIENT_MOVES[self._state][CLOSED]
        self._unread.data = b""
        return Leaving(self._site, self, state, (self._reading, self._writing), self.on_close)
