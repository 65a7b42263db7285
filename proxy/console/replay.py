"""Sends a kept delivery again: through every check, as if it came once more from the same address, or to the
application alone. To the configured upstreams of its route and nowhere else; what is sent is marked ``Webhook-Replay``.

What is to be sent is worked out before anything is: as it came, signed again as of now, or edited; what is edited may
leave masks where they stand, and what came takes their place, so that a secret need not be known to be sent on.

Through the checks means the very connection that serves clients, at one end of a pair of sockets: nothing is judged
here. To the application alone there is no verdict, so ``Webhook-Verified`` is claimed only of what was admitted when it
came, and is sent as it came.
"""

from __future__ import annotations

import asyncio
import difflib
import socket
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from proxy.console.capture import Capture, Viewer
from proxy.console.kept import Json, KeptExchange, Masking, peer_of, shown_target
from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, forwarded_target
from proxy.core.forwarding import Provenance, upstream_head
from proxy.core.policy import Policy, Route
from proxy.core.proxy_protocol import LOCAL
from proxy.core.record import provenance_value
from proxy.core.request_head import read_request_head
from proxy.core.signing.signer import sign_anew
from proxy.errors import ConfigError, Mistake, ProtocolError
from proxy.http1 import RequestHead, ResponseHead, value_of, write_request_head
from proxy.net.client import ClientConnection
from proxy.net.site import Site
from proxy.reasons import Reason
from proxy.values import frozen

Fields = list[tuple[bytes, bytes]]
_MASK = b"[masked, "
#: We frame the content ourselves; what said how it was framed does not count again.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"trailer", b"expect", b"connection", b"keep-alive"})
MAX_DIFF_LINES = 2000


@frozen
class ReplayOrder:
    """One request to be sent, and where to: through every check, or to the application alone."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    through_checks: bool
    passes_duplicates: bool
    is_edited: bool
    signed_with: str = ""

    def wire(self) -> bytes:
        """The request as bytes, its content framed by its length."""
        framing = [(b"Content-Length", b"%d" % len(self.body))] if self.body or self.method != b"GET" else []
        return write_request_head(self.method, self.target, [*self.fields, *framing]) + self.body


def read_order(how: Mapping[str, Any], kept: KeptExchange, masking: Masking, policy: Policy, now: float) -> ReplayOrder:
    """What is asked for. Mistake."""
    head = kept.head
    if not kept.is_whole or head is None:
        raise Mistake("not all of this delivery was kept", "a larger keep_bytes keeps larger deliveries")
    _check_words(how)
    method, target, fields, body = _edited(cast("Mapping[str, Any]", how.get("edit") or {}), kept, head, masking)
    order = ReplayOrder(
        method,
        target,
        tuple(fields),
        body,
        through_checks=how.get("to", "checks") == "checks",
        passes_duplicates=how.get("duplicates") == "pass",
        is_edited=bool(how.get("edit")),
    )
    if how.get("sign", "received") == "received":
        return order
    return _signed(order, route_of(kept, policy), now)


def route_of(kept: KeptExchange, policy: Policy) -> Route:
    """The route that took the delivery, as it is configured now. Mistake where there is none."""
    found = next((route for route in policy.routes if route.name == kept.record.route), None)
    if found is None:
        raise Mistake("no route took this delivery", "replay it through the checks, as it came")
    return found


def _signed(order: ReplayOrder, route: Route, now: float) -> ReplayOrder:
    try:
        came = {"method": order.method, "target": order.target, "body": order.body}
        signed = sign_anew(route, **came, fields=order.fields, now=now)
    except ValueError as error:
        raise Mistake(f"it cannot be signed again: {error}", "replay it as it came") from None
    return replace(order, target=signed.target, fields=signed.fields, body=signed.body, signed_with=signed.secret)


def _check_words(how: Mapping[str, Any]) -> None:
    known = {"sign": ("received", "now"), "to": ("checks", "application"), "duplicates": ("refuse", "pass")}
    for name, value in how.items():
        if name in known and value not in known[name]:
            raise Mistake(f"{name} is none of {' and '.join(known[name])}", f'write "{known[name][0]}"')
        if name not in {*known, "edit", "dry_run"}:
            raise Mistake(f"{str(name)[:40]!r} is no word of a replay", "see /api/v1/openapi.json")
    edit = how.get("edit")
    if edit is not None and (
        not isinstance(edit, dict) or not edit.keys() <= {"method", "target", "fields", "body", "encoding"}
    ):
        raise Mistake("edit is no object of method, target, fields and body", "see /api/v1/openapi.json")


def _edited(
    edit: Mapping[str, Any], kept: KeptExchange, head: RequestHead, masking: Masking
) -> tuple[bytes, bytes, Fields, bytes]:
    method = _bytes(edit.get("method"), "method") or head.method
    target = _unmasked(_bytes(edit.get("target"), "target"), head.target, shown_target(kept, head, masking), "target")
    fields = _fields(edit["fields"], _came(head), masking) if "fields" in edit else _came(head)
    body = kept.content
    if "body" in edit:
        body = _unmasked(_content(edit), body, masking.body(body), "body")
    return method, target, [one for one in fields if one[0].lower() not in _FRAMING], body


def _came(head: RequestHead) -> Fields:
    return [(entry[1][: len(entry[0])], value_of(entry)) for entry in head.fields]


def _fields(given: object, came: Fields, masking: Masking) -> Fields:
    if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 2 for one in given):
        raise Mistake("fields is no list of [name, value]", 'write [["X-Event", "push"]]')
    pairs = [(_need(name, "the name of a field"), _need(value, "the value of a field")) for name, value in given]
    left = list(came)
    found = []
    for name, value in pairs:
        if _MASK not in value:
            found.append((name, value))
            continue
        same = (one for one in left if one[0].lower() == name.lower() and masking.field(name.lower(), one[1]) == value)
        original = next(same, None)
        if original is None:
            shown = name.decode("latin-1")[:60]
            raise Mistake(f"the mask of {shown} stands for nothing that came", "write the value itself")
        left.remove(original)
        found.append((name, original[1]))
    return found


def _need(value: object, what: str) -> bytes:
    found = _bytes(value, what)
    if found is None or b"\r" in found or b"\n" in found or b"\0" in found:
        raise Mistake(f"{what} is no line of text", "write it without line breaks")
    return found


def _bytes(value: object, what: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Mistake(f"{what} is no text", "write it in quotes")
    try:
        return value.encode("latin-1")  # as it is shown
    except UnicodeEncodeError:
        return value.encode("utf-8")


def _content(edit: Mapping[str, Any]) -> bytes:
    text = edit["body"]
    if not isinstance(text, str):
        raise Mistake("body is no text", "write it in quotes, or in base64 with its encoding")
    if edit.get("encoding", "utf-8") == "utf-8":
        return text.encode("utf-8", "surrogatepass")
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise Mistake("body is no base64", 'write it so, or say "encoding": "utf-8"') from None


def _unmasked(given: bytes | None, came: bytes, shown: bytes, what: str) -> bytes:
    """What was given; where it is what was shown, what came. Half of a mask is nothing that could be sent."""
    if given is None or given == shown:
        return came
    if _MASK in given and _MASK in shown:
        raise Mistake(f"the {what} was edited and has a mask in it", "write the value itself in its place")
    return given


def difference(order: ReplayOrder, kept: KeptExchange, masking: Masking) -> str:
    """What came and what is to be sent, as a unified diff, masked."""
    head = kept.head
    assert head is not None
    came = [one for one in _came(head) if one[0].lower() not in _FRAMING]
    before = _lines(head.method, head.target, came, kept.content, masking)
    after = _lines(order.method, order.target, list(order.fields), order.body, masking)
    if max(len(before), len(after)) > MAX_DIFF_LINES:
        return "too long to be compared\n" if before != after else ""
    return "".join(line + "\n" for line in difflib.unified_diff(before, after, "as it came", "to be sent", lineterm=""))


def _lines(method: bytes, target: bytes, fields: Fields, body: bytes, masking: Masking) -> list[str]:
    head = [b"%b %b" % (method, masking.target(target))]
    head += [b"%b: %b" % (name, masking.field(name.lower(), value)) for name, value in fields]
    text = b"\n".join([*head, b"", masking.body(body)])
    return text.decode("utf-8", "backslashreplace").split("\n")


def outcome(order: ReplayOrder, shown: Json) -> str:
    """What became of a replay, in a sentence; ``shown`` has ``status`` and ``reason``."""
    signed = f", signed again with {order.signed_with}" if order.signed_with else ""
    edited = ", edited" if order.is_edited else ""
    where = "through the checks" if order.through_checks else "to the application alone"
    return f"{shown['reason']} {shown['status']}: sent {where}{signed}{edited}"


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
        """Send it again as ``how`` says, and give what came of it. Mistake."""
        masking = self._capture.maskings.of(kept.route)
        order = read_order(how, kept, masking, self._site.policy, self._site.clock.wall())
        head = self._head(order)
        shown: Json = {"dry_run": bool(how.get("dry_run")), "id": None, "status": 0, "reason": ""}
        shown["diff"] = difference(order, kept, masking)
        if how.get("dry_run"):
            return {**shown, "outcome": "nothing was sent"}
        if self._under_way >= MAX_REPLAYS:
            raise Mistake("too many replays are under way", "wait for one of them")
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
        """The head as it would be read. Mistake where an edit made it none."""
        try:
            parsed = read_request_head(order.wire(), self._site.head_limits)
        except ProtocolError as error:
            raise Mistake(f"what is to be sent is no request: {error.detail}", "mend the edit") from None
        if parsed is None:
            raise Mistake("what is to be sent is no request", "mend the edit")
        return parsed[0]

    # -- through every check

    async def _through_checks(self, kept: KeptExchange, order: ReplayOrder) -> Json:
        peer = peer_of(kept.record.peer)
        ours, theirs = socket.socketpair()
        viewer = Viewer(lambda one: one.replay_of == kept.id)
        loop = self._site.loop
        await loop.connect_accepted_socket(lambda: ReplayConnection(self._site, peer, kept, order), theirs)
        self._capture.viewers.add(viewer)
        # A protocol that does nothing lets what is answered go: the capture says what it was.
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        try:
            transport.write(order.wire())
            while not (found := await viewer.next(1)):
                pass
        finally:
            self._capture.viewers.discard(viewer)
            transport.close()
        again = found[0]
        return {"id": again.id, "status": again.record.status, "reason": again.record.reason.word}

    # -- to the application alone

    async def _to_application(self, kept: KeptExchange, order: ReplayOrder, head: RequestHead) -> Json:
        route = route_of(kept, self._site.policy)
        if not route.upstream:
            raise Mistake(f"the route {route.name} has no upstream that gets requests", "see its `drain`")
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
        del content
        self.ended = self.ended or ended
        self._tell(head.status, Reason.DELIVERED)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        del content
        self.ended = self.ended or ended

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        del detail
        self.ended = True
        self._tell(0, reason)

    def upstream_writable(self, *, writable: bool) -> None:
        """All of it was given at once."""

    def _tell(self, status: int, reason: Reason) -> None:
        if not self.told.done():
            self.told.set_result((status, reason))
