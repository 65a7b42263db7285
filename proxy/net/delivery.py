"""The upstream's side of one exchange: the request on its way there, and the answer on its way back.

A connection is borrowed from the pool when the first byte may leave, at once where one is idle, else when one has been
dialled. Before ``deliver`` is called the request stays without its end and the answer is kept back; after it, both
flow, and whichever side is ahead is paused. A request that must not be completed is ended by ``abandon``, which aborts
the connection and never ends it (threats S9a). It judges nothing: that is the exchange's.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from proxy.core.body import BodyGate
from proxy.core.exchange import Admit, verified_value
from proxy.core.forwarding import Provenance, answer_head, upstream_head
from proxy.core.record import ExchangeRecord
from proxy.http1 import LAST_CHUNK, Framing, RequestHead, ResponseHead, chunk
from proxy.net.pool import RETRY_S, Dial
from proxy.net.sender import Pause, Sender
from proxy.net.site import Site
from proxy.net.spill import SpillFile
from proxy.net.turn import RELAY
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Phase, Reason

NONE = Framing.NONE
CHUNKED = Framing.CHUNKED
EOF = Framing.EOF


class Answer(Enum):
    """Where the answer stands."""

    NONE = "none"
    KEPT = "kept"  # it came before the verdict
    RELAYING = "relaying"
    DONE = "done"


class Owner(Protocol):
    """The exchange, as its delivery sees it."""

    def answer_begun(self, status: int) -> None:
        """The upstream has answered with ``status``, and the sender is told."""

    def delivered(self, *, close: bool) -> None:
        """The answer is written whole; ``close`` where the sender's connection cannot serve another request."""

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """It cannot be delivered."""


class Delivery:
    """What goes to the upstream, and comes from it, for one exchange."""

    __slots__ = (
        "_admit",
        "_answer_framing",
        "_close",
        "_dial",
        "_gate",
        "_head",
        "_kept",
        "_open",
        "_owner",
        "_pending",
        "_record",
        "_sender",
        "_since",
        "_site",
        "_spilled",
        "_upstream",
        "_whole",
        "answer",
        "touched",
    )

    def __init__(
        self,
        owner: Owner,
        sender: Sender,
        site: Site,
        *,
        head: RequestHead,
        admit: Admit,
        record: ExchangeRecord,
        gate: BodyGate,
        free: bool,
    ) -> None:
        """``free`` where nothing is to be proved: the answer need not wait for the request's end."""
        self._owner = owner
        self._sender = sender
        self._site = site
        self._head = head
        self._admit = admit
        self._record = record
        self._gate = gate
        self._open = free  # the sender may see the answer
        self._whole = False  # all of the request may leave
        self._upstream: UpstreamConnection | None = None
        self._since = 0.0
        self.touched = 0.0  # when the upstream last did something
        self._dial: Dial | None = None
        self._pending: list[bytes] = []
        self._spilled: Iterator[bytes] | None = None
        self.answer = Answer.NONE
        self._answer_framing = NONE
        self._kept: tuple[ResponseHead, list[bytes], bool] | None = None
        self._close = False

    # -- the exchange's calls

    def stream(self, pieces: list[bytes]) -> None:
        """Content that may leave before the end has come."""
        if self._upstream is not None:
            self._upstream.send(self._framed(pieces), complete=False)
            return
        if self.answer is not Answer.NONE:
            return  # answered early and closed: the rest of the body is read for its verdict alone
        self._pending += pieces
        if self._dial is None:
            self._connect(patience_s=0.0)
        if self._upstream is None:
            self._sender.pause(Pause.CONNECT)

    def deliver(self, spill: SpillFile | None, *, since: float) -> bool:
        """Everything that is left may leave, the end included; ``spill`` holds what memory did not, and the sender has
        been waiting ``since``.

        Whether it waits for a connection. Where the answer was here already, the exchange is over on return.
        """
        self._open = self._whole = True
        self._pending += self._gate.take()
        if spill is not None and spill.size:
            self._spilled = spill.pieces()
        if self._upstream is not None:
            self._send_rest()
        elif self._kept is None and self._dial is None:
            waits = self._admit.route.hold_s > 0 and self._admit.observed is None
            left_s = self._admit.route.patience_s(self._site.clock.now() - since) if waits else 0.0
            self._connect(patience_s=max(left_s, RETRY_S) if waits else 0.0)
        if self._kept is not None:
            if self._upstream is not None:
                self._upstream.resume_reading()
            self._relay_kept()
        return self._dial is not None

    def abandon(self) -> None:
        """Nothing more goes to the upstream: what it has of the request must stay incomplete."""
        self._kept = self._spilled = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None

    def awaited(self) -> UpstreamConnection | None:
        """The connection on which an answer is awaited that nobody has seen anything of, or None."""
        return self._upstream if self.answer is Answer.NONE else None

    def let_go(self) -> None:
        """Somebody else looks after the connection from now on."""
        self._upstream = None

    def sender_writable(self, *, writable: bool) -> None:
        """The sender takes the answer, or is slower than the upstream."""
        if self._upstream is not None and self.answer is Answer.RELAYING:
            if writable:
                self.touched = self._site.clock.now()
                self._upstream.resume_reading()
            else:
                self._upstream.pause_reading()

    @property
    def buffered_bytes(self) -> int:
        """What was given to the upstream and has not reached the kernel."""
        return self._upstream.buffered_bytes if self._upstream is not None else 0

    def late(self, now: float) -> bool:
        """The upstream has the whole request, or is answering, and is silent for too long."""
        if self._upstream is None or self._upstream.reading_paused:
            return False
        if not self._whole and self.answer is not Answer.RELAYING:
            return False
        return now - self.touched > self._admit.route.limits.upstream_timeout_s

    def whose_turn(self, *, body_ended: bool) -> Reason:
        """Whose turn it is, as the reason why there was not enough time."""
        upstream = self._upstream
        if self.answer is Answer.RELAYING:
            stalled = upstream is not None and upstream.reading_paused
            return Reason.WRITE_TIMEOUT if stalled else Reason.UPSTREAM_TIMEOUT
        waits = self._dial is not None if upstream is None else not upstream.writable
        return Reason.UPSTREAM_TIMEOUT if body_ended or waits else Reason.BODY_TIMEOUT

    # -- the request

    def _connect(self, *, patience_s: float) -> None:
        self._record.phase = Phase.CONNECT
        endpoints = self._admit.route.upstream
        connection = self._site.pool.acquire(endpoints, waits=patience_s > 0)
        if connection is not None:
            self._connected(connection)
            return
        pool = self._site.pool
        if self._admit.route.sends_proxy:
            self._dial = pool.dial(
                endpoints,
                patience_s=patience_s,
                ready=self._connected,
                failed=self._unreachable,
                preface=self._sender.proxy_header(self._record.client),
            )
        else:
            self._dial = pool.dial(endpoints, patience_s=patience_s, ready=self._connected, failed=self._unreachable)

    def _unreachable(self) -> None:
        self._dial = None
        route = self._admit.route
        not_ready = route.hold_s > 0 and not self._site.pool.ready(route.upstream)
        self._owner.refuse(Reason.UPSTREAM_UNREACHABLE, "not_ready" if not_ready else "")

    def _connected(self, connection: UpstreamConnection) -> None:
        self._dial = None
        self._upstream = connection
        self._since = self.touched = self._site.clock.now()
        self._record.upstream = connection.endpoint_text
        if self._record.phase is Phase.CONNECT:
            self._record.phase = Phase.ANSWER_HEAD if self._whole else Phase.BODY
        complete = self._whole and self._spilled is None
        pieces = [self._upstream_head(), *self._framed(self._take_pending())]
        if complete and self._is_chunked:
            pieces.append(LAST_CHUNK)
        connection.start(self, self._head.method, pieces, complete=complete)
        self._sender.resume(Pause.CONNECT)
        if self._spilled is not None:
            self._send_spilled()

    @property
    def _is_chunked(self) -> bool:
        """Whether the request goes on in chunks of ours: its length was not known when it began to stream."""
        return self._gate.streaming and self._head.framing is CHUNKED

    def _framed(self, pieces: list[bytes]) -> list[bytes]:
        return _one_chunk(pieces) if self._is_chunked else pieces

    def _take_pending(self) -> list[bytes]:
        pending, self._pending = self._pending, []
        return pending

    def _send_rest(self) -> None:
        assert self._upstream is not None
        pieces = self._framed(self._take_pending())
        if self._is_chunked:
            pieces.append(LAST_CHUNK)
        self.touched = self._site.clock.now()
        if self.answer is Answer.NONE:
            self._record.phase = Phase.ANSWER_HEAD
        self._upstream.send(pieces, complete=True)

    def _send_spilled(self) -> None:
        """What lies in the temporary file, as fast as the upstream takes it."""
        assert self._spilled is not None
        while self._upstream is not None and self._upstream.writable:
            piece = next(self._spilled, None)
            if piece is None:
                self._spilled = None
                self._upstream.send([], complete=True)
                return
            self.touched = self._site.clock.now()
            self._upstream.send([piece], complete=False)

    def _upstream_head(self) -> bytes:
        admit, sender = self._admit, self._sender
        if self._is_chunked:
            length = None
        elif self._gate.streaming and not self._whole:
            length = self._head.content_length
        else:
            length = self._gate.received
        provenance = Provenance(
            client=sender.peer.text.encode("ascii"),
            scheme=b"https" if sender.secure else b"http",
            request_id=self._record.request_id.encode("ascii"),
            trusted=sender.peer_trusted,
            verified=verified_value(admit, self._record, judged=self._open),
        )
        assert self._upstream is not None
        authority = b"" if self._head.host else self._upstream.endpoint.authority.encode("ascii")
        return upstream_head(
            self._head,
            admit.target,
            provenance,
            length,
            admit.route.guarded_fields,
            signed=admit.route.signed_fields,
            authority=authority,
        )

    def upstream_writable(self, *, writable: bool) -> None:
        """The upstream takes more of the request, or is slower than the sender."""
        if not writable:
            self._sender.pause(Pause.UPSTREAM)
            return
        self.touched = self._site.clock.now()
        self._sender.resume(Pause.UPSTREAM)
        if self._spilled is not None:
            self._send_spilled()

    # -- the answer (upstream.AnswerSink)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head came; before the verdict it is kept back."""
        self.touched = self._site.clock.now()
        self._record.upstream_duration_s = self.touched - self._since
        if head.status == 503 and self._upstream is not None:
            self._site.pool.unavailable(self._upstream.endpoint)
        if ended:
            self._upstream = None
        # It takes no more of the request, so there is nothing left to send or to wait for.
        self._spilled = None
        self._sender.resume(Pause.UPSTREAM)
        self._kept = (head, content, ended)
        self.answer = Answer.KEPT
        if self._open:
            self._site.turn.go_on(RELAY, self._relay_kept, self._sender.failed)
        elif self._upstream is not None:
            self._upstream.pause_reading()

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More of the answer."""
        self.touched = self._site.clock.now()
        if ended:
            self._upstream = None
        if self._kept is not None:
            head, before, _ = self._kept
            self._kept = (head, before + content, ended)
        else:
            self._write_answer([], content, ended)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The upstream connection is gone with the answer incomplete."""
        self._upstream = None
        self._owner.refuse(reason, detail)

    def _relay_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            self.answer = Answer.NONE
            self._relay(*kept)

    def _relay(self, head: ResponseHead, content: list[bytes], ended: bool) -> None:  # noqa: FBT001
        framing, record, site = head.framing, self._record, self._site
        if framing is CHUNKED or framing is EOF:
            framing = CHUNKED if self._head.minor else EOF
        # An answer before the request's end: the rest of the request is not read (threats R6, F12).
        self._close = not (record.keep_alive and self._whole and framing is not EOF and not site.draining)
        self.answer = Answer.RELAYING
        self._owner.answer_begun(head.status)
        self._answer_framing = framing
        record.status = head.status
        record.phase = Phase.ANSWER_BODY
        self._write_answer([answer_head(head, framing, site.clock.date, close=self._close)], content, ended)

    def _write_answer(self, pieces: list[bytes], content: list[bytes], ended: bool) -> None:  # noqa: FBT001
        for piece in content:
            self._record.bytes_out += len(piece)
        if self._answer_framing is CHUNKED:
            pieces += _one_chunk(content)
            if ended:
                pieces.append(LAST_CHUNK)
        else:
            pieces += content
        if pieces:
            self._sender.write(pieces)
        if ended:
            self._owner.delivered(close=self._close)


def _one_chunk(pieces: list[bytes]) -> list[bytes]:
    """What one read brought as one chunk: a copy costs less than a write for each piece and each of its frames."""
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return chunk(content) if content else []
