"""Waits for the upstream's answer to a delivery whose sender has gone.

Senders have less patience than applications: they hang up, and send again. Where duplicates are looked for, hanging up
must not make the first try count as failed while the application is still at it, for then the second would reach it as
well. So the connection to the upstream stays, its answer's status is all that is read, and the ticket of the delivery
learns the outcome. No sender, no log line, no body is left here; only as much time as the exchange had.
"""

from __future__ import annotations

from proxy.http1 import ResponseHead
from proxy.net.duplicates import Ticket
from proxy.net.site import Site
from proxy.net.upstream import AWAITING, UpstreamConnection
from proxy.reasons import Reason

#: Further exchanges than this end with their senders: each one here keeps a connection to an upstream.
MAX_WITNESSES = 1000


def leave_witness(site: Site, connection: UpstreamConnection, ticket: Ticket, deadline: float) -> bool:
    """Whether ``connection`` now has a witness: where the delivery is ours to make and the upstream has all of it."""
    if not ticket.is_held or connection.state is not AWAITING or len(site.witnesses) >= MAX_WITNESSES:
        return False
    Witness(site, connection, ticket, deadline)
    return True


class Witness:
    """The rest of one exchange: the answer to come, and whom to tell."""

    __slots__ = ("_connection", "_site", "_ticket", "deadline")

    def __init__(self, site: Site, connection: UpstreamConnection, ticket: Ticket, deadline: float) -> None:
        """``connection`` has the whole request; ``deadline`` is the clock's time until which its answer counts."""
        self._site = site
        self._connection = connection
        self._ticket = ticket
        self.deadline = deadline
        site.witnesses.add(self)
        site.clock.watch(self)
        connection.hand_over(self)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head came: that is all we wait for."""
        del content
        if 200 <= head.status < 300:
            self._ticket.delivered(head.status)
        if not ended:
            self._connection.abort()
        self._leave()

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """Nothing: it has left by then."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """It will never be known: who sends again is believed."""
        del reason, detail
        self._leave()

    def upstream_writable(self, *, writable: bool) -> None:
        """The transport has the whole request already."""

    def deadline_passed(self, now: float) -> None:
        """The clock's call, and the worker's at the end."""
        del now
        self._connection.abort()
        self._leave()

    def _leave(self) -> None:
        self._ticket.release()
        self._site.witnesses.discard(self)
        self._site.clock.unwatch(self)
