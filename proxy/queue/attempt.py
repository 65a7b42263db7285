"""``Attempt``: one try to deliver what was kept, over a connection of the pool that exchanges use as well.

It is the sink of its upstream's answer, as an exchange is. The status says all; what content follows is read, within a
bound, so that the connection can be used again. It ends once, in ``_end``, and tells the courier then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from proxy.core.addresses import Peer
from proxy.core.policy import Route
from proxy.core.proxy_protocol import header_for
from proxy.core.record import ExchangeRecord
from proxy.core.signing.signer import sign_anew
from proxy.http1 import ResponseHead
from proxy.net.pool import Dial
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.queue.parcels import FACTS, attempt_lines, method_of, unseal
from proxy.queue.records import QueueError, Settlement, Taken, Try
from proxy.reasons import Phase, Reason

_VERIFIED = b"webhook-verified"


def sign_again(head: bytes, route: Route, body: bytes, now: float) -> tuple[bytes, bytes]:
    """Head and body to send, signed as of ``now``, or as they came where the provider's side cannot be played: an
    application that checks for itself would find what it came with too old. It had its proof when it came, and what is
    signed here is that delivery and nothing else; ``Webhook-Verified`` says so.
    """
    start, *lines, _, _ = head.split(b"\r\n")
    method, target, version = start.split(b" ")
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    try:
        made = sign_anew(route, method=method, target=target, fields=fields, body=body, now=now)
    except ValueError:
        return head, body
    written = [_field(name, value, len(made.body)) for name, value in made.fields]
    return b"\r\n".join([b"%b %b %b" % (method, made.target, version), *written, b"\r\n"]), made.body


def _field(name: bytes, value: bytes, length: int) -> bytes:
    lower = name.lower()
    if lower == b"content-length":
        return b"%b: %d" % (name, length)
    return b"%b: %b; resigned" % (name, value) if lower == _VERIFIED else b"%b: %b" % (name, value)


# -- ``Retry-After`` (RFC 9110 section 10.2.3), as an application may write it: a pause comes of whatever it writes.

#: No pause is longer, whatever is asked for.
MOST_S = 86400.0
_SECONDS = re.compile(rb"[0-9]{1,9}")


def read_retry_after(value: bytes | None, now: float) -> float:
    """The pause in seconds; 0 where none can be read. ``now`` is in seconds since the epoch."""
    if value is None:
        return 0.0
    if _SECONDS.fullmatch(value):
        return min(float(value), MOST_S)
    try:
        at = parsedate_to_datetime(value.decode("ascii"))
        asked = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return max(0.0, min(asked, MOST_S))


#: Of an answer's content so much is read; what is longer is cut off.
MAX_ANSWER_BYTES = 1 << 20
DELIVERED = Reason.DELIVERED


class Attempt:
    """One delivery on its way. ``told`` is called once, later."""

    __slots__ = ("_body", "_bytes", "_connection", "_dial", "_site", "_started", "_status", "_told", "_wall",
                 "asked_s", "deadline", "last", "route", "taken", "upstream")  # fmt: skip

    def __init__(
        self, site: Site, route: Route, taken: Taken, *, body: Iterator[bytes], told: Callable[[Attempt], None]
    ) -> None:
        """``body`` gives the content in pieces."""
        self._site = site
        self.route = route
        self.taken = taken
        self._body: Iterator[bytes] | None = body
        self._told = told
        self._wall = site.clock.wall()
        self._started = site.clock.now()
        self._status = 0
        self._bytes = 0  # of the body that were sent, then of the answer that were read
        self._dial: Dial | None = None
        self._connection: UpstreamConnection | None = None
        self.asked_s = 0.0  # the pause that the application asks for
        self.upstream = ""
        self.last: Try | None = None  # once it has ended
        self.deadline = site.clock.after(route.limits.request_timeout_s)

    def start(self) -> None:
        """Send it, or connect first."""
        site, upstream = self._site, self.route.upstream
        site.clock.watch(self)
        connection = site.pool.acquire(upstream)
        if connection is not None:
            self._connected(connection)
            return
        preface = b""
        if self.route.sends_proxy:
            preface = header_for(Peer.of(self.taken.parcel.facts.get("client", "")), None)
        dial = Dial(upstream, patience_s=0.0, ready=self._connected, failed=self._unreachable, preface=preface)
        self._dial = site.pool.dial(dial)

    def abandon(self) -> None:
        """Cut it off: the process ends. It may have arrived."""
        self._end(Reason.DRAINED, "")

    # -- the way there

    def _unreachable(self) -> None:
        self._dial = None
        self._end(*self._site.pool.why_unreached(self.route.upstream, waited=False))

    def _connected(self, connection: UpstreamConnection) -> None:
        self._dial, self._connection = None, connection
        self.upstream = connection.endpoint_text
        parcel, site = self.taken.parcel, self._site
        self.deadline = site.clock.after(self.route.limits.upstream_timeout_s)
        lines = attempt_lines(self.taken.attempts + 1, parcel.accepted)
        head = unseal(parcel.head, self.route, parcel.facts.get("secret", ""), site.clock.wall(), lines)
        body = parcel.body
        if self.route.delivery is not None and self.route.delivery.resign:
            try:
                whole = b"".join(self._body or ()) if body is None else body
            except QueueError:
                self._no_body()
                return
            head, body = sign_again(head, self.route, whole, site.clock.wall())
        complete = body is not None or not parcel.size
        pieces = [head, body] if body else [head]
        connection.start(self, method_of(head), pieces, complete=complete)
        if complete:
            self._body = None
        else:
            self._feed()

    def _feed(self) -> None:
        """What lies on the disk, as fast as the application takes it."""
        connection, size = self._connection, self.taken.parcel.size
        while self._body is not None and connection is not None and connection.writable:
            try:
                piece = next(self._body, b"")
            except QueueError:
                piece = b""
            if not piece:
                self._no_body()  # what the application has is no whole request
                return
            self._bytes += len(piece)
            if self._bytes >= size:
                self._body = None
            self.deadline = self._site.clock.after(self.route.limits.upstream_timeout_s)
            connection.send([piece], complete=self._bytes >= size)

    # -- the answer (upstream.AnswerSink)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The status says what has come of it."""
        self._status = head.status
        if head.status == 503 and self._connection is not None:
            self._site.pool.endpoints.unavailable(self._connection.endpoint)
        if head.status in {429, 503}:
            self.asked_s = read_retry_after(head.get(b"retry-after"), self._site.clock.wall())
        self._body, self._bytes = None, 0
        self.upstream_content(content, ended=ended)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """What an application that is cut off while it writes would log as an error is read."""
        self._bytes += sum(map(len, content))
        if ended:
            self._connection = None
            self._end(DELIVERED, "")
        elif self._bytes > MAX_ANSWER_BYTES:
            self._end(DELIVERED, "")
        else:
            self.deadline = self._site.clock.after(self.route.limits.upstream_timeout_s)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The connection is gone; once there is a status, it counts."""
        self._connection = None
        self._end(DELIVERED if self._status else reason, "" if self._status else detail)

    def upstream_writable(self, *, writable: bool) -> None:
        """It takes more of a large body."""
        if writable and self._body is not None:
            self._feed()

    def deadline_passed(self, now: float) -> None:
        """The clock's call."""
        del now
        reason = Reason.UPSTREAM_TIMEOUT if self._dial is None else Reason.UPSTREAM_UNREACHABLE
        self._end(DELIVERED if self._status else reason, "")

    def _no_body(self) -> None:
        """It cannot be read. That may be found while the attempt begins, and what began it is told later."""
        self._body = None
        self._site.loop.call_soon(self._end, Reason.QUEUE_FAILED, "body")

    def _end(self, reason: Reason, detail: str) -> None:
        if self.last is not None:
            return
        site = self._site
        site.clock.unwatch(self)
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._body = None
        lasted_s = site.clock.now() - self._started
        self.last = Try(self._wall, self._status, reason.word, detail, lasted_s, self.upstream)
        self._told(self)


# -- The record of an attempt, from which its line in the log is made: what the delivery was, and what came of it now.

_REASONS = {reason.word: reason for reason in Reason}


def record_of(attempt: Attempt, settlement: Settlement) -> ExchangeRecord:
    """The record of an attempt that has ended."""
    last, parcel = settlement.last, attempt.taken.parcel
    facts = {"request_id": parcel.id, "scheme": "http", **parcel.facts}
    told: dict[str, Any] = {name: facts.get(fact, "") for fact, name in FACTS.items()}
    return ExchangeRecord(
        **told,
        started=last.at,
        reason=_REASONS.get(last.word, Reason.INTERNAL_ERROR),
        detail=last.detail,
        phase=Phase.DONE if last.status else Phase.CONNECT,
        verdict="admitted",
        status=last.status,
        route=parcel.lane,
        upstream=attempt.upstream,
        duration_s=last.lasted_s,
        upstream_duration_s=last.lasted_s,
        bytes_in=parcel.size,
        attempt=attempt.taken.attempts + 1,
        outcome="delivered" if settlement.condition is None else settlement.condition.name.lower(),
    )
