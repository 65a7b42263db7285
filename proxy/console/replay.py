"""Sends a kept delivery again: through every check, as if it came once more from the same address, or to the
application alone. To the configured upstreams of its route and nowhere else; what is sent is marked ``Webhook-Replay``.

Through the checks means the very connection that serves clients, at one end of a pair of sockets: nothing is judged
here. To the application alone there is no verdict, so ``Webhook-Verified`` is claimed only of what was admitted when it
came, and is sent as it came.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from proxy.console.capture import Capture, Viewer
from proxy.console.kept import Json, KeptExchange
from proxy.console.order import MistakenOrderError, ReplayOrder, difference, outcome, read_order, route_of
from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, forwarded_target
from proxy.core.forwarding import Provenance, upstream_head
from proxy.core.particulars import provenance_value
from proxy.core.policy import Route
from proxy.core.proxy_protocol import LOCAL
from proxy.core.request_head import read_request_head
from proxy.errors import ConfigError, ProtocolError
from proxy.http1 import RequestHead, ResponseHead
from proxy.net.client import ClientConnection
from proxy.net.site import Site
from proxy.reasons import Reason

#: Replays of a worker that may be under way.
MAX_REPLAYS = 8
#: Longer than any exchange may take by default.
PATIENCE_S = 100.0
#: The time after which a sibling that was asked to replay has answered.
ANSWERED_S = PATIENCE_S + 10.0


class ReplayConnection(ClientConnection):
    """The connection of a replay: a client's like any other, but for what it says of itself."""

    __slots__ = ()

    def __init__(self, site: Site, peer: Peer, kept: KeptExchange, order: ReplayOrder) -> None:
        super().__init__(site, peer, secure=kept.record.scheme == "https", on_close=lambda: None, kind=site.kind)
        self._judge.arrival.replay = kept.id.encode("ascii")
        self._judge.arrival.passes_duplicates = order.passes_duplicates


class Replayer:
    """One worker's."""

    def __init__(self, capture: Capture, site: Site) -> None:
        self._capture = capture
        self._site = site
        self._under_way = 0

    async def replay(self, kept: KeptExchange, how: Mapping[str, Any]) -> Json:
        """Send it again as ``how`` says, and give what came of it. MistakenOrderError."""
        masking = self._capture.maskings.of(kept.route)
        order = read_order(how, kept, masking, self._site.policy, self._site.clock.wall())
        head = self._head(order)
        shown: Json = {"dry_run": bool(how.get("dry_run")), "id": None, "status": 0, "reason": ""}
        shown["diff"] = difference(order, kept, masking)
        if how.get("dry_run"):
            return {**shown, "outcome": "nothing was sent"}
        if self._under_way >= MAX_REPLAYS:
            raise MistakenOrderError("too many replays are under way", "wait for one of them")
        self._under_way += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                if order.through_checks:
                    shown |= await self._through_checks(kept, order)
                else:
                    shown |= await self._to_application(kept, order, head)
        except TimeoutError:
            shown["reason"] = Reason.UPSTREAM_TIMEOUT.word
        finally:
            self._under_way -= 1
        return {**shown, "outcome": outcome(order, shown)}

    def _head(self, order: ReplayOrder) -> RequestHead:
        """The head as it would be read. MistakenOrderError where an edit made it none."""
        try:
            parsed = read_request_head(order.wire(), self._site.head_limits)
        except ProtocolError as error:
            raise MistakenOrderError(f"what is to be sent is no request: {error.detail}", "mend the edit") from None
        if parsed is None:
            raise MistakenOrderError("what is to be sent is no request", "mend the edit")
        return parsed[0]

    # -- through every check

    async def _through_checks(self, kept: KeptExchange, order: ReplayOrder) -> Json:
        peer = Peer.unix() if kept.record.peer.startswith("unix:") else Peer.of(kept.record.peer)
        ours, theirs = socket.socketpair()
        viewer = Viewer(lambda one: one.replay_of == kept.id)
        loop = self._site.loop
        await loop.connect_accepted_socket(lambda: ReplayConnection(self._site, peer, kept, order), theirs)
        self._capture.viewers.add(viewer)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            writer.write(order.wire())
            drained = asyncio.ensure_future(_discard(reader))
            try:
                while not (found := await viewer.next(1)):
                    pass
            finally:
                drained.cancel()
                await asyncio.gather(drained, return_exceptions=True)
        finally:
            self._capture.viewers.discard(viewer)
            writer.close()
        again = found[0]
        return {"id": again.id, "status": again.record.status, "reason": again.record.reason.word}

    # -- to the application alone

    async def _to_application(self, kept: KeptExchange, order: ReplayOrder, head: RequestHead) -> Json:
        route = route_of(kept, self._site.policy)
        if not route.upstream:
            raise MistakenOrderError(f"the route {route.name} has no upstream that gets requests", "see its `drain`")
        endpoint = self._site.pool.endpoints.order(route.upstream)[0]
        try:
            connection = await self._site.pool.open(endpoint, LOCAL)
        except (OSError, UnicodeError, ConfigError):
            return {"status": 0, "reason": Reason.UPSTREAM_UNREACHABLE.word}
        sink = _ApplicationsAnswer(self._site.loop)
        sent = _written(kept, order, head, route, self._site.new_request_id())
        connection.start(sink, order.method, [sent, order.body], complete=True)
        try:
            async with asyncio.timeout(route.limits.upstream_timeout_s):
                status, reason = await sink.told
        finally:
            if not sink.ended:
                connection.abort()
        return {"status": status, "reason": reason.word}


async def _discard(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(65536):
            pass


def _written(kept: KeptExchange, order: ReplayOrder, head: RequestHead, route: Route, request_id: str) -> bytes:
    """The head that the application gets."""
    target = forwarded_target(route, order.target)
    was_admitted = kept.record.verdict == "admitted" and not order.is_edited
    admit = Admit(route, Peer.unix(), target)
    verified = provenance_value(admit, kept.record.secret_name, kept.record.delivery_id) if was_admitted else b""
    peer = b"unix:" if kept.record.peer.startswith("unix:") else kept.record.peer.encode("ascii")
    provenance = Provenance(
        client=peer,
        scheme=kept.record.scheme.encode("ascii"),
        request_id=request_id.encode("ascii"),
        trusted=False,
        verified=verified,
        replay=kept.id.encode("ascii"),
    )
    authority = b"" if head.host else b"localhost"
    guarded, signed = route.guarded_fields, route.signed_fields
    return upstream_head(head, target, provenance, len(order.body), guarded, signed=signed, authority=authority)


class _ApplicationsAnswer:
    """Takes the application's answer: only how it begins counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.told: asyncio.Future[tuple[int, Reason]] = loop.create_future()
        self.ended = False  # the connection is no longer ours

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head has come."""
        del content
        self.ended = self.ended or ended
        self._tell(head.status, Reason.DELIVERED)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """More content."""
        del content
        self.ended = self.ended or ended

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """There is no answer."""
        del detail
        self.ended = True
        self._tell(0, reason)

    def upstream_writable(self, *, writable: bool) -> None:
        """All of it was given at once."""

    def _tell(self, status: int, reason: Reason) -> None:
        if not self.told.done():
            self.told.set_result((status, reason))
