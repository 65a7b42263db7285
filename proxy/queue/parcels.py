"""How a delivery becomes a parcel: what it is told by, and its head as it is kept, and as it is sent.

It is told by the facts that people look for, and by the values that order and coalescing go by. Bodies are read here
after their verdict, as ``where`` of a route reads them (``core.payload``): a value that cannot be read in one way alone
is none.

A store is a file that is copied and kept for days, so no password lies in it that need not. The token of a route is
taken out and written again, when the delivery is sent, from where the route has it. Other credentials, which no guard
here reads, are left out unless the route says ``keep_authorization``. Signatures stay: the application checks them.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache

from proxy.core.delivery import DeliveryRule
from proxy.core.keeping import KeepingRelay
from proxy.core.payload import Payload, Pointer, read_payload
from proxy.core.policy import Route
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.http1 import RequestHead, utc_text
from proxy.net.large_bodies import SharedSpill, SpillFile
from proxy.net.site import Site
from proxy.queue.records import Parcel

#: What is larger is not read: it would hold the loop.
MAX_DOCUMENT_BYTES = 1 << 20
#: Where a provider says which repository or project it is, so that two of them are never taken for the same.
_PLACES = tuple(map(Pointer.parse, ("repository.full_name", "repository.id", "project.id", "repository.name")))
#: The order of all that have no value of their own, or of all.
ANY = "*"
#: What people look for, and what it is called in the record of an exchange.
FACTS = {
    **{name: name for name in ("request_id", "peer", "client", "method", "path", "host", "scheme")},
    "agent": "user_agent",
    "provider": "provider",
    "event": "event",
    "delivery_id": "delivery_id",
    "secret": "secret_name",
}
#: Fields that carry credentials, whatever they are for (RFC 9110 section 11, RFC 6265).
CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
#: What stands for a token that is taken out: no such value is ever sent.
_TAKEN_OUT = b""


def parcel_of(site: Site, relay: KeepingRelay, spill: SpillFile | SharedSpill | None, head: bytes = b"") -> Parcel:
    """What is kept of the delivery of ``relay``, under ``head``; its body is in ``spill`` where it is large."""
    rule, route, facts = relay.rule, relay.admit.route, facts_of(relay)
    body = None if spill is not None else relay.body
    reads = body is not None and len(body) <= MAX_DOCUMENT_BYTES and (rule.order_by or rule.coalesce)
    root = read_payload(relay.head, body) if body is not None and reads else None
    payload = None if root is None else Payload(root)
    return Parcel(
        # The id of a trusted proxy may come twice.
        id=site.new_request_id() if relay.arrival.trusted else relay.record.request_id,
        lane=route.name,
        accepted=site.clock.wall(),
        head=seal(head, route),
        body=body,
        size=relay.gate.received,
        facts=facts,
        order=order_of(rule, relay.head, payload),
        same=same_of(rule, facts, payload),
        keys=relay.keys.every,
        attempts=relay.attempts,
        spill=spill,
    )


def copies_of(parcel: Parcel, copies: Sequence[tuple[Route, bytes]]) -> list[Parcel]:
    """The parcels of ``copies``. One without a secret of its own never has the token of the route."""
    found = []
    for number, (route, head) in enumerate(copies, 1):
        own = route.delivery is not None and route.delivery.resign
        name, sealed = f"{parcel.id}-copy{number}", seal(head, route, leaves_token=own)
        found.append(parcel._replace(id=name, lane=route.name, head=sealed, keys=(), attempts=0))
    return found


def facts_of(relay: KeepingRelay) -> dict[str, str]:
    """What people look for, as texts."""
    return {fact: value for fact, name in FACTS.items() if (value := getattr(relay.record, name))}


def order_of(rule: DeliveryRule, head: RequestHead, payload: Payload | None) -> str:
    """Those with the same go one after the other; "" where none waits for another."""
    if not rule.strict:
        return ""
    if rule.order_by is None:
        return ANY
    given = head.get(rule.order_by.text.lower().encode("utf-8", "replace"))
    value = given.decode("latin-1") if given is not None else value_at(payload, rule.order_by)
    return ANY if value is None else _mark(value)


def same_of(rule: DeliveryRule, facts: Mapping[str, str], payload: Payload | None) -> str:
    """Of those that wait and have the same, the last counts; "" where this one counts in any case."""
    if rule.coalesce is None:
        return ""
    value = value_at(payload, rule.coalesce)
    if value is None:
        return ""
    places = [value_at(payload, place) or "" for place in _PLACES]
    return _mark(facts.get("event", ""), facts.get("path", ""), *places, value)


def value_at(payload: Payload | None, place: Pointer) -> str | None:
    """The text, number or truth at a place; None where there is none, or more than one."""
    found = [] if payload is None else place.values(payload) or []
    if payload is None or payload.is_ambiguous or len(found) != 1:
        return None
    [value] = found
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _mark(*parts: str) -> str:
    """Values of any length and any character as a short text."""
    text = json.dumps(parts).encode("utf-8")
    return hashlib.sha256(text).hexdigest()[:32]


def seal(head: bytes, route: Route, *, leaves_token: bool = True) -> bytes:
    """``head``, a request head that we wrote, without the credentials that ``route`` can do without; and where it is
    for an application that is not to have the token, without a place for it.
    """
    token = b"" if route.token is None else token_field(route.token)
    if _lines_of(token).search(head) is None:
        return head  # of nearly all
    stays = route.delivery is not None and route.delivery.keeps_authorization
    start, *lines, _, _ = head.split(b"\r\n")
    kept = [start]
    for line in lines:
        name, _, _ = line.partition(b":")
        lower = name.lower()
        if lower == token:
            kept += [b"%b: %b" % (name, _TAKEN_OUT)] if leaves_token else []
        elif lower not in CREDENTIALS or lower in route.signed_fields or stays:
            kept.append(line)
    return b"\r\n".join([*kept, b"\r\n"])


def unseal(head: bytes, route: Route, secret_name: str, now: float, more: list[bytes]) -> bytes:
    """The head to send: with the token of ``route`` where it was taken out, and with the lines ``more`` at its end. The
    token is the one it came with, by name, or where that is no longer there the newest. ``now`` is in seconds since
    the epoch.
    """
    if route.token is None or b": \r\n" not in head:
        return b"\r\n".join([head[: -len(b"\r\n\r\n")], *more, b"\r\n"])  # no token was taken out
    token = token_field(route.token)
    start, *lines, _, _ = head.split(b"\r\n")
    sent = [start]
    for line in lines:
        name, _, value = line.partition(b": ")
        if value != _TAKEN_OUT or name.lower() != token:
            sent.append(line)
        elif (secret := _secret(route.token.secrets, secret_name, now)) is not None:
            sent.append(b"%b: %b" % (name, _written(route.token.kind, secret)))
    return b"\r\n".join([*sent, *more, b"\r\n"])


def attempt_lines(attempt: int, accepted: float) -> list[bytes]:
    """What the application is told of a delivery that was kept: which attempt it is, and when we took it (RFC 3339)."""
    second = int(accepted)
    millis = int((accepted - second) * 1000)
    return [b"Webhook-Attempt: %d" % attempt, b"Webhook-Accepted-At: %b.%03dZ" % (_second(second), millis)]


@lru_cache(maxsize=64)
def _second(second: int) -> bytes:
    return utc_text(second, "%Y-%m-%dT%H:%M:%S").encode("ascii")


@lru_cache(maxsize=64)
def _lines_of(token: bytes) -> re.Pattern[bytes]:
    """What begins a line with credentials, or with the field ``token``."""
    names = b"|".join(map(re.escape, CREDENTIALS | {token} if token else CREDENTIALS))
    return re.compile(rb"\r\n(?:%b):" % names, re.IGNORECASE)


def token_field(token: TokenCheck) -> bytes:
    """The field that carries a route's token, in lower case; b"" where none does."""
    return b"" if token.kind is TokenKind.QUERY else token.name or b"authorization"


def method_of(head: bytes) -> bytes:
    """The method of a head that we wrote."""
    return head.partition(b" ")[0]


def _secret(secrets: tuple[Secret, ...], name: str, now: float) -> Secret | None:
    live = [secret for secret in secrets if secret.live(now)]
    return next((secret for secret in live if secret.name == name), live[0] if live else None)


def _written(kind: TokenKind, secret: Secret) -> bytes:
    if kind is TokenKind.BEARER:
        return b"Bearer %b" % secret.value
    if kind is TokenKind.BASIC:
        return b"Basic %b" % b64encode(secret.value)
    return secret.value
