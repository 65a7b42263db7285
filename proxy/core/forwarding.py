"""The heads that leave us: built from parsed values, field by field (RFC 9110 section 7.6, threats section 3.3).

What crosses: end-to-end fields with name and value as they were sent. What never does: hop-by-hop fields, framing
fields (ours are written fresh), forwarding fields of peers we do not trust, copies of our own provenance fields, and
fields that rewrite method or path behind our back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from proxy.core.schemes import PROVIDERS
from proxy.http1 import Framing, RequestHead, ResponseHead, join_request_head, join_response_head, phrase_of, value_of

NONE = Framing.NONE
CHUNKED = Framing.CHUNKED
EOF = Framing.EOF

#: RFC 9110 section 7.6.1, and the ones that old agents use. ``Expect`` is answered by us (threats E2).
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: Which peer is the client, as some hop has written it: believed from trusted proxies only (threats H1).
FORWARDING = frozenset(
    {
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-visitor",
        b"client-ip",
        b"fastly-client-ip",
        b"forwarded",
        b"forwarded-for",
        b"true-client-ip",
        b"via",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-original-forwarded-for",
        b"x-originating-ip",
        b"x-real-ip",
        b"x-remote-addr",
        b"x-remote-ip",
    }
)

#: What begins so says the same, whatever comes after it: a user, a certificate, a path.
_FORWARDED = b"x-forwarded-"

#: Written by us, or able to make the application see another method or path (threats S7, H1, H2).
OURS_OR_UNSAFE = frozenset(
    {
        b"content-length",
        b"proxy",
        b"webhook-replay",
        b"webhook-accepted-at",
        b"webhook-attempt",
        b"webhook-request-id",
        b"webhook-verified",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-request-id",
        b"x-rewrite-url",
    }
)

_DROPPED = HOP_BY_HOP | FORWARDING | OURS_OR_UNSAFE
_DROPPED_TRUSTED = HOP_BY_HOP | OURS_OR_UNSAFE | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}

#: A relay has taken out what must not cross, and has written what we would write.
_DROPPED_RELAYED = HOP_BY_HOP | {b"content-length"}

_REQUEST_ID_FIELD = b"x-request-id"

#: Names that ``Connection`` cannot make hop-by-hop: every application relies on them (threats S3).
_END_TO_END = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"cache-control",
        b"content-digest",
        b"content-encoding",
        b"content-language",
        b"content-type",
        b"cookie",
        b"date",
        b"digest",
        b"host",
        b"idempotency-key",
        b"origin",
        b"referer",
        b"signature",
        b"signature-input",
        b"traceparent",
        b"tracestate",
        b"user-agent",
    }
)

#: ``Connection`` values that name no field: what nearly every client writes.
_NAMES_NOTHING = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_AUTHORITY = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")


def _vendor_prefix(name: bytes) -> bytes:
    """``x-github-`` of ``x-github-delivery``, ``stripe-`` of ``stripe-signature``."""
    parts = name.split(b"-")
    count = 2 if parts[0] == b"x" else 1
    return b"-".join(parts[:count]) + b"-"


def _provider_fields() -> frozenset[bytes]:
    names: set[bytes] = set()
    for provider in PROVIDERS.values():
        names.update(name for name in (provider.event_header, provider.delivery_header) if name)
        if provider.scheme is not None:
            names.update(provider.scheme.header_names)
        if provider.token is not None and provider.token.name:
            names.add(provider.token.name)
    return frozenset(names)


_PROVIDER_FIELDS = _provider_fields()
_PROVIDER_PREFIXES = tuple({_vendor_prefix(name) for name in _PROVIDER_FIELDS})


def _is_end_to_end(name: bytes, guarded: frozenset[bytes]) -> bool:
    return name in _END_TO_END or name in guarded or name in _PROVIDER_FIELDS or name.startswith(_PROVIDER_PREFIXES)


def hop_by_hop_named(connection: bytes, guarded: frozenset[bytes], present: Iterable[bytes]) -> frozenset[bytes]:
    """Those of the ``present`` names that a ``Connection`` value makes hop-by-hop, less what a check relies on.

    ``guarded`` are the lower-case names that the route's own guard reads.
    """
    # Thousands of options fit into a head; only a hundred fields do.
    names = {option.strip(b" \t").lower() for option in connection.split(b",")}.intersection(present)
    return frozenset(name for name in names if not _is_end_to_end(name, guarded))


def clean_request_id(value: bytes | None) -> bytes | None:
    """A request id of a trusted proxy, where it is harmless (threats H9); else None."""
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Provenance:
    """What we tell the upstream about an exchange; all values are ours or validated."""

    client: bytes  # address of the connection's peer, as text
    scheme: bytes  # b"http" or b"https"
    request_id: bytes
    trusted: bool  # the peer is a trusted proxy: its forwarding fields are kept and extended
    verified: bytes  # value of Webhook-Verified; b"" writes none
    replay: bytes = b""  # likewise of Webhook-Replay: the id of the delivery that the operator has sent again
    relayed: bool = False  # a relay has told all of this: it crosses as it came


def _forwarded_lines(head: RequestHead, provenance: Provenance, id_name: bytes) -> list[bytes]:
    chain, proto, host = provenance.client, provenance.scheme, head.host
    if provenance.trusted:
        before = b", ".join(head.get_all(b"x-forwarded-for"))
        chain = b"%b, %b" % (before, chain) if before else chain
        inbound_proto = head.get(b"x-forwarded-proto")
        proto = inbound_proto if inbound_proto in (b"http", b"https") else proto
        inbound_host = head.get(b"x-forwarded-host")
        host = inbound_host if inbound_host is not None and _AUTHORITY.fullmatch(inbound_host) else host
    lines = [b"X-Forwarded-For: %b" % chain, b"X-Forwarded-Proto: %b" % proto]
    if host:
        lines.append(b"X-Forwarded-Host: %b" % host)
    lines.append(b"%b: %b" % (id_name, provenance.request_id))
    return lines


# A provider sends the same names with every delivery.
@lru_cache(maxsize=64)
def _strangers(names: tuple[bytes, ...]) -> frozenset[bytes]:
    """What of these names does not cross where the peer is no trusted proxy."""
    return _DROPPED | {name for name in names if name.startswith(_FORWARDED)}


def dropped_on_the_way(
    head: RequestHead, provenance: Provenance, guarded: frozenset[bytes], signed: frozenset[bytes]
) -> tuple[frozenset[bytes], bytes]:
    """What does not cross to the upstream, and the name of the field that has our request id."""
    dropped = _DROPPED_TRUSTED if provenance.trusted else _strangers(tuple(head.values))
    if provenance.relayed:
        dropped = _DROPPED_RELAYED | ({b"webhook-verified"} if provenance.verified else frozenset())
    if head.values.get(b"connection", b"keep-alive") not in _NAMES_NOTHING or b"connection" in head.repeated:
        listed = b",".join(head.get_all(b"connection"))
        dropped = dropped | hop_by_hop_named(listed, guarded, head.values)
    if _REQUEST_ID_FIELD in signed and _REQUEST_ID_FIELD in head.values:
        return dropped - {_REQUEST_ID_FIELD}, b"Webhook-Request-Id"
    return dropped, b"X-Request-Id"


def upstream_head(
    head: RequestHead,
    target: bytes,
    provenance: Provenance,
    content_length: int | None,
    guarded: frozenset[bytes] = frozenset(),
    *,
    signed: frozenset[bytes] = frozenset(),
    authority: bytes = b"",
) -> bytes:
    """The head of the request to the upstream.

    ``target`` is what was matched, less a query token. ``content_length`` is written where the length is known; None
    where the content follows in chunks that we cut. A request that came without content gets neither (RFC 9110
    section 8.6) unless ``content_length`` is 0 and the client said so itself. ``signed`` are the lower-case names that
    the signature covers: where the request id is one of them, the application needs it as it came to verify again, and
    ours gets another name. ``authority`` is the upstream's own: what a request of HTTP/1.0 without Host is given,
    because HTTP/1.1 demands one (RFC 9112 section 3.2).
    """
    dropped, id_name = dropped_on_the_way(head, provenance, guarded, signed)
    lines = [line for name, line in zip(head.names, head.lines, strict=True) if name not in dropped]
    if not head.host:
        lines.insert(0, b"Host: %b" % authority)
    if not provenance.relayed:
        lines += _forwarded_lines(head, provenance, id_name)
    if provenance.verified:
        lines.append(b"Webhook-Verified: %b" % provenance.verified)
    if provenance.replay:
        lines.append(b"Webhook-Replay: %b" % provenance.replay)
    if content_length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif content_length or head.framing is not NONE:
        lines.append(b"Content-Length: %d" % content_length)
    return join_request_head(head.method, target, lines)


_ANSWER_DROPPED = HOP_BY_HOP | {b"content-length"}


def answer_head(head: ResponseHead, framing: Framing, date: bytes, *, close: bool) -> bytes:
    """The head of the answer to the client.

    ``framing`` is how *we* end the content: LENGTH writes the upstream's length, CHUNKED our own chunks, EOF ends it
    with the connection, NONE has no content (a length is then kept only as metadata, for HEAD and 304).
    """
    write = _write_answer_again if head.again else _write_answer
    return write(head, framing, date, b"Connection: close" if close else b"")


def _dropped_of(head: ResponseHead) -> frozenset[bytes]:
    listed = [value_of(entry) for entry in head.fields if entry[0] == b"connection"]
    if _NAMES_NOTHING.issuperset(listed):
        return _ANSWER_DROPPED
    return _ANSWER_DROPPED | hop_by_hop_named(b",".join(listed), frozenset(), head.values)


def _write_answer(head: ResponseHead, framing: Framing, date: bytes, last: bytes) -> bytes:
    """``last`` is a field line of our own, or none."""
    dropped = _dropped_of(head) if b"connection" in head.values else _ANSWER_DROPPED
    lines = [line for name, line in head.fields if name not in dropped]
    if b"date" not in head.values:
        lines.append(b"Date: %b" % date)
    if framing is CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    elif head.content_length is not None and framing is not EOF and head.status != 204:
        lines.append(b"Content-Length: %d" % head.content_length)
    if last:
        lines.append(last)
    return join_response_head(head.status, head.phrase or phrase_of(head.status), lines)


# What is remembered where it was read (``core.response_head``) is written once a second at the most.
_write_answer_again = lru_cache(maxsize=128)(_write_answer)
