"""What a kept delivery is told by: the facts that people look for, and the values that order and coalescing go by.

Bodies are read here after their verdict, as ``where`` of a route reads them (``core.payload``): a value that cannot be
read in one way alone is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from proxy.core.delivery import DeliveryRule
from proxy.core.keeping import KeepingRelay
from proxy.core.payload import Payload, Pointer, read_payload
from proxy.http1 import RequestHead

#: What is larger is not read: it would hold the loop.
MAX_DOCUMENT_BYTES = 1 << 20
#: Where a provider says which repository or project it is, so that two of them are never taken for the same.
_PLACES = tuple(map(Pointer.parse, ("repository.full_name", "repository.id", "project.id", "repository.name")))
#: The order of all that have no value of their own, or of all.
ANY = "*"


class Telling(NamedTuple):
    """What a delivery is told by, for its route and for its copies alike."""

    facts: Mapping[str, str]
    order: str
    same: str


def tell(relay: KeepingRelay, body: bytes | None) -> Telling:
    """Read it once; ``body`` is None where it is large."""
    rule, head, facts = relay.rule, relay.head, facts_of(relay)
    payload = _payload(head, body) if rule.order_by or rule.coalesce else None
    return Telling(facts, order_of(rule, head, payload), same_of(rule, facts, payload))


def facts_of(relay: KeepingRelay) -> dict[str, str]:
    """What people look for, as texts."""
    record = relay.record
    facts = {
        "request_id": record.request_id,
        "peer": record.peer,
        "client": record.client,
        "method": record.method,
        "path": record.path,
        "host": record.host,
        "scheme": record.scheme,
        "agent": record.user_agent,
        "provider": record.provider,
        "event": record.event,
        "delivery_id": record.delivery_id,
        "secret": record.secret_name,
    }
    return facts if all(facts.values()) else {name: value for name, value in facts.items() if value}


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


def _payload(head: RequestHead, body: bytes | None) -> Payload | None:
    if body is None or len(body) > MAX_DOCUMENT_BYTES:
        return None
    root = read_payload(head, body)
    return None if root is None else Payload(root)


def _mark(*parts: str) -> str:
    """Values of any length and any character as a short text."""
    text = json.dumps(parts).encode("utf-8")
    return hashlib.sha256(text).hexdigest()[:32]
