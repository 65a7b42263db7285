"""What a kept delivery is told by: the facts that people look for, and the values that order and coalescing go by.

Bodies are read here after their verdict. Still a value that cannot be read is none, and costs no more than its size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from proxy.core.delivery import DeliveryRule
from proxy.core.keeping import KeepingRelay
from proxy.http1 import RequestHead

#: What is larger is not read: it would hold the loop.
MAX_DOCUMENT_BYTES = 1 << 20
#: Where a provider says which repository or project it is, so that two of them are never taken for the same.
_PLACES = ("repository.full_name", "repository.id", "project.id", "repository.name")
#: The order of all that have no value of their own, or of all.
ANY = "*"


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
    return {name: value for name, value in facts.items() if value}


def order_of(rule: DeliveryRule, head: RequestHead, body: bytes | None) -> str:
    """Those with the same go one after the other; "" where none waits for another. ``body`` is None where it is
    large.
    """
    if not rule.strict:
        return ""
    if not rule.order_by:
        return ANY
    given = head.get(rule.order_by.lower().encode("utf-8", "replace"))
    value = given.decode("latin-1") if given is not None else value_at(_document(body), rule.order_by)
    return ANY if value is None else _mark(value)


def same_of(rule: DeliveryRule, facts: Mapping[str, str], body: bytes | None) -> str:
    """Of those that wait and have the same, the last counts; "" where this one counts in any case."""
    if not rule.coalesce:
        return ""
    document = _document(body)
    value = value_at(document, rule.coalesce)
    if value is None:
        return ""
    places = [value_at(document, place) or "" for place in _PLACES]
    return _mark(facts.get("event", ""), facts.get("path", ""), *places, value)


def value_at(document: object, path: str) -> str | None:
    """The text, number or truth at a path such as ``repository.full_name``; None where there is none."""
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return None
        document = document[name]
    if isinstance(document, str):
        return document
    return json.dumps(document) if isinstance(document, bool | int | float) else None


def _document(body: bytes | None) -> object:
    if body is None or len(body) > MAX_DOCUMENT_BYTES:
        return None
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found


def _mark(*parts: str) -> str:
    """Values of any length and any character as a short text."""
    text = json.dumps(parts).encode("utf-8")
    return hashlib.sha256(text).hexdigest()[:32]
