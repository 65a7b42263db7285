"""``AwaitedOutcome``: what becomes of a delivery whose client has gone, and which its upstream has whole.

Senders have less patience than applications: they hang up, and send again. Where duplicates are looked for, hanging up
must not make the first try count as failed while the application is still at it.
"""

from __future__ import annotations

from proxy.core.relay import Relay
from proxy.http1 import ResponseHead
from proxy.net.duplicates import Ticket
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason

#: Outcomes that are awaited at once: each keeps a connection to an upstream.
MAX_OUTCOMES = 1000


class AwaitedOutcome:
    """The sink of an upstream's answer in the place of an exchange that has ended: only its status counts."""

    __slots__ = ("_relay", "_site", "_ticket", "_upstream", "deadline")

    def __init__(self, site: Site, relay: Relay, ticket: Ticket, upstream: UpstreamConnection) -> None:
        """Wait for what ``upstream`` answers for as long as the exchange would have; ``ticket`` is its claim."""
        self._site = site
        self._relay = relay
        self._ticket = ticket
        self._upstream = upstream
        limits = relay.admit.route.limits
        self.deadline = min(relay.started + limits.request_timeout_s, relay.touched + limits.upstream_timeout_s)
        site.outcomes.add(self)
        site.clock.watch(self)
        upstream.hand_over(self)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The delivery is known to be done, or that it is not."""
        del content
        if head.status == 503:
            self._site.pool.endpoints.unavailable(self._upstream.endpoint)
        if 200 <= head.status < 300:
            self._ticket.delivered(head.status)
        self._forget(abort=not ended)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """Nothing is read of it."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """It will never be known: a client that sends again is believed."""
        del reason, detail
        self._forget(abort=False)

    def upstream_writable(self, *, writable: bool) -> None:
        """Nothing is to be written."""

    def deadline_passed(self, now: float) -> None:
        """The clock's call, and the worker's at the end."""
        del now
        self._forget(abort=True)

    def _forget(self, *, abort: bool) -> None:
        """``abort`` where the connection is still ours."""
        self._relay.resolved()
        self._site.outcomes.discard(self)
        self._site.clock.unwatch(self)
        self._ticket.release()
        if abort:
            self._upstream.abort()
