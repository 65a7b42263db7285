"""Kept exchanges for tests, made as a worker makes them; a test names only what it is about."""

from __future__ import annotations

from typing import Any

from proxy.console.kept import OVERHEAD_BYTES, KeptExchange
from proxy.core.policy import Route
from proxy.core.record import ExchangeRecord
from proxy.core.request_head import read_request_head
from proxy.core.schemes import find
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.core.tape import Ledger, head_bytes
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests.policies import HEAD_LIMITS, route

SECRET = b"a secret of some length"
NOW = 1_764_000_000.0


def signed_route(slug: str = "github", secret: bytes = SECRET, **more: Any) -> Route:
    provider = find(slug)
    assert provider is not None
    assert provider.scheme is not None
    signature = SignatureCheck(provider.scheme, (Secret("key-1", secret),), **more)
    return route(name=slug, provider=slug, signature=signature)


def token_route(kind: TokenKind, name: bytes, secret: bytes = SECRET) -> Route:
    return route(name="token", provider="token", token=TokenCheck(kind, name, (Secret("key-1", secret),)))


def head_of(data: bytes) -> RequestHead:
    parsed = read_request_head(data, HEAD_LIMITS)
    assert parsed is not None
    return parsed[0]


def post(
    target: bytes = b"/hook", fields: dict[bytes, bytes] | None = None, body: bytes = b"", method: bytes = b"POST"
) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: hooks.example.com"]
    lines += [b"%b: %b" % pair for pair in (fields or {}).items()]
    lines += [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", b""]), body


def keep(
    head: bytes | None = None,
    body: bytes = b"",
    number: int = 1,
    *,
    route: Route | None = None,
    tag: str = "aa",
    room: int = 1 << 20,
    **record: Any,
) -> KeptExchange:
    """One exchange that has ended."""
    kept = KeptExchange(Ledger(room, room))
    if body:
        kept.take(body)
    parsed = None if head is None else head_of(head)
    known: dict[str, Any] = {"request_id": f"r{number}", "started": NOW + number, "peer": "192.0.2.7"}
    if parsed is not None:
        known |= {"method": parsed.method.decode(), "path": parsed.path.decode(), "host": parsed.host.decode()}
    if route is not None:
        known |= {"route": route.name, "provider": route.provider}
    known |= {"client": "192.0.2.7", "bytes_in": len(body), "verdict": "admitted", "reason": Reason.DELIVERED}
    kept.record = ExchangeRecord(**{**known, **record})
    kept.tag, kept.number, kept.route, kept.replay_of = tag, number, route, ""
    kept.raw = b"" if parsed is None else head_bytes(parsed)
    kept.size = OVERHEAD_BYTES + kept.taken + len(kept.raw)
    return kept
