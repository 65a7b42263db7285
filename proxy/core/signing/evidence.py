"""What the head of a request claims: the signatures, decoded, and the signed text around the body.

Read before the body, so that what is missing, malformed or stale is refused without a byte of it. The order is fixed:
signature present, well-formed, timestamp present, well-formed, other signed parts, fresh. Never raises on what a
sender may write.
"""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import unquote_to_bytes

from proxy.core.signing.scheme import (
    PUBLIC_KEY_METHODS,
    Listing,
    Method,
    Scheme,
    decode,
    decode_base64,
    judge_time,
    parse_time,
)
from proxy.core.signing.template import (
    WIDTHS,
    Context,
    Slot,
    compile_template,
    single_field,
    split_at_body,
    stands_beside_another,
)
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import mutable

_ORIGIN = re.compile(r"https?://[^/?#\s]+/?")
_ESCAPED = re.compile(rb"%(?:2[14789ACFacf]|3[ABFabf]|40)")  # !$'()*,/ and :;? and @
_BRACKETS = re.compile(rb"[][{}]")

# In one head. Keys are rotated two at a time; a check with a public key costs a hundred comparisons, and may hash the
# whole body.
_MAX_SIGNATURES = 32
_MAX_PUBLIC_KEY_SIGNATURES = 4

MISSING = Reason.SIGNATURE_MISSING
MALFORMED = Reason.SIGNATURE_MALFORMED


@mutable
class Evidence:
    """The claim of one head. ``signatures`` are raw bytes; any one that matches is enough."""

    signatures: list[bytes]
    context: Context


def signature_size(scheme: Scheme) -> int | None:
    """Bytes of a signature; None where the key decides."""
    if scheme.method in (Method.HMAC, Method.HASH):
        return hashlib.new(scheme.algorithm).digest_size
    return 64 if scheme.method is Method.ED25519 else None


def public_url_of(public_url: str, target: bytes) -> bytes:
    """The URL that the provider signed: ``public_url`` as it is, or with ``target`` where it ends at the authority."""
    if _ORIGIN.fullmatch(public_url):
        return public_url.rstrip("/").encode("utf-8") + target
    return public_url.encode("utf-8")


def as_signed(scheme: Scheme, url: bytes) -> bytes:
    """``url`` as ``scheme`` signs it."""
    return _ESCAPED.sub(lambda match: unquote_to_bytes(match.group()), url) if scheme.opens_url else url


def target_of(public_url: str) -> bytes | None:
    """The target of the requests for ``public_url``; None where that ends at the authority, and each has its own."""
    if _ORIGIN.fullmatch(public_url):
        return None
    rest = _ORIGIN.sub("/", public_url.partition("#")[0], count=1)
    return rest.encode("utf-8")


class EvidenceReader:
    """Reads the claim of a head as ``scheme`` writes it. Compiled once; shared by all requests."""

    __slots__ = (
        "_most",
        "_public_url",
        "_scheme",
        "_signs_url",
        "_size",
        "_target",
        "_times_heads",
        "_tolerance_s",
        "_width",
        "covers_body",
        "is_bare",
        "prefix",
        "suffix",
    )

    def __init__(self, scheme: Scheme, tolerance_s: float | None, public_url: str | None) -> None:
        self._scheme = scheme
        self._public_url = public_url
        self._target = target_of(public_url) if public_url is not None else None
        self._signs_url = scheme.signs_url
        self._size = signature_size(scheme)
        self._times_heads = scheme.document is None or scheme.document.timestamp is None  # else it is in the body
        self._most = _MAX_PUBLIC_KEY_SIGNATURES if scheme.method in PUBLIC_KEY_METHODS else _MAX_SIGNATURES
        self._tolerance_s = tolerance_s
        self._width: int | None = None
        if scheme.timestamp is not None:
            self._tolerance_s = scheme.timestamp.tolerance_s if tolerance_s is None else tolerance_s
            self._width = WIDTHS.get(scheme.timestamp.format) if stands_beside_another(scheme) else None
        parts = compile_template(scheme.signed)
        self.prefix, self.suffix = split_at_body(parts)
        plain = scheme.envelope is None and scheme.listing is None and scheme.timestamp is None
        one = len(scheme.headers) == 1 and scheme.document is None and not (scheme.required or scheme.signs_url)
        #: A head claims a signature, in one header, and nothing else.
        self.is_bare = plain and one and not (self.prefix or self.suffix)
        self.covers_body = any(isinstance(part, Slot) and part.kind == "body" for part in parts)

    @property
    def whole_url(self) -> bool:
        """Whether the URL is configured whole, so that a client chooses nothing of it."""
        return self._target is not None

    def signed_url(self, head: RequestHead) -> bytes | None:
        """The URL that the provider signed for ``head``: None where it is another one, b"" where it is not known."""
        if self._public_url is None:
            return b""
        if self._target not in (None, head.target):
            return None
        return as_signed(self._scheme, public_url_of(self._public_url, head.target))

    def read(self, head: RequestHead, now: float) -> Evidence | Reason:
        """The claim of ``head`` at ``now`` (seconds since the epoch), or why it is none."""
        scheme = self._scheme
        refused = self._judge_required(head) if scheme.required else None
        if refused is not None:
            return refused
        url = self.signed_url(head) if self._signs_url else b""
        context = Context(head, scheme, url or b"")
        signatures = self._signatures(head, context) if scheme.headers else []
        if isinstance(signatures, Reason):
            return signatures
        refused = self._judge_url(head, url) if self._signs_url else None
        if refused is None and self._times_heads:
            refused = self._judge_time(head, context, now)
        return Evidence(signatures, context) if refused is None else refused

    def read_bare(self, head: RequestHead) -> bytes | Reason:
        """The signature in ``head``, where ``is_bare``, or why it is none."""
        [name] = self._scheme.headers
        if name in head.repeated:
            return MALFORMED
        value = head.values.get(name)
        if not value:
            return MISSING
        scheme = self._scheme
        text = value.removeprefix(scheme.prefix)
        written = decode(scheme.encoding, text, self._size) if text != value or not scheme.prefix else None
        return written or MALFORMED

    def _judge_url(self, head: RequestHead, url: bytes | None) -> Reason | None:
        if url is None:
            return Reason.SIGNATURE_MISMATCH
        return None if self._reads_one_way(head.target) else MALFORMED

    def _judge_required(self, head: RequestHead) -> Reason | None:
        for name, wanted in self._scheme.required:
            value = single_field(head, name)
            if value != wanted:
                return value if isinstance(value, Reason) else MALFORMED
        return None

    def _reads_one_way(self, target: bytes) -> bool:
        """Whether nothing in ``target`` could be of the body, or a separator that was escaped when it was signed."""
        if self._scheme.opens_url and b";" in target:
            return False
        return self._target is not None or not self._scheme.json_body or _BRACKETS.search(target) is None

    def _signatures(self, head: RequestHead, context: Context) -> list[bytes] | Reason:
        found: list[bytes] = []
        for name in self._scheme.headers:
            if name in head.repeated:
                return MALFORMED
            value = head.values.get(name)
            if not value:
                continue
            more = self.parse(value, context)
            if more is None:
                return MALFORMED
            found += more
        return (found or MISSING) if len(found) <= self._most else MALFORMED

    def parse(self, value: bytes, context: Context) -> list[bytes] | None:
        """The signatures in one value of a header or a field; None where it is malformed."""
        scheme = self._scheme
        opened = value if scheme.envelope is None else _open_envelope(value, scheme.envelope)
        if opened is None:
            return None
        if scheme.listing is not None:
            return self._parse_listing(scheme.listing, opened, context)
        signature = self._decode(opened)
        return None if signature is None else [signature]

    def _parse_listing(self, listing: Listing, value: bytes, context: Context) -> list[bytes] | None:
        texts = read_listing(listing, value, context)
        if texts is None or len(texts) > self._most:
            return None
        read = [self._decode_keyed(text, listing.pair) if listing.keyed else self._decode(text) for text in texts]
        signatures = [signature for signature in read if signature is not None]
        return signatures if signatures and (listing.lenient or len(signatures) == len(read)) else None

    def _decode(self, text: bytes) -> bytes | None:
        prefix = self._scheme.prefix
        return decode(self._scheme.encoding, text[len(prefix) :], self._size) if text.startswith(prefix) else None

    def _decode_keyed(self, text: bytes, pair: bytes | None) -> bytes | None:
        """The signature with the key that it is under still before it: they are compared together."""
        key, between, value = text.partition(pair or b"")
        signature = self._decode(value)
        return None if signature is None else key + between + signature

    def _judge_time(self, head: RequestHead, context: Context, now: float) -> Reason | None:
        stamp = self._scheme.timestamp
        if stamp is None:
            return None
        if stamp.header is not None:
            if stamp.header in head.repeated:
                return MALFORMED
            context.timestamp = head.values.get(stamp.header, b"")
        return self.judge_text(context.timestamp, now)

    def judge_text(self, text: bytes, now: float) -> Reason | None:
        """Why the signed timestamp ``text`` is not fresh at ``now``, or None."""
        stamp = self._scheme.timestamp
        if stamp is None:
            return None
        if not text:
            return Reason.TIMESTAMP_MISSING
        said = parse_time(stamp.format, text) if self._width in (None, len(text)) else None
        if said is None:
            return MALFORMED
        return judge_time(said, now, self._tolerance_s)


def _open_envelope(value: bytes, key: str) -> bytes | None:
    decoded = decode_base64(value)
    if decoded is None:
        return None
    try:
        document = json.loads(decoded)
    except (ValueError, RecursionError):
        return None
    text = document.get(key) if isinstance(document, dict) else None
    return text.encode("utf-8", "replace") if isinstance(text, str) else None


def read_listing(listing: Listing, value: bytes, context: Context) -> list[bytes] | None:
    """The signatures of a list, as written; the timestamp and the other items go into ``context``. None: malformed."""
    if listing.lists is None:
        return _read_list(listing, value, context)
    signatures: list[bytes] = []
    stamps: set[bytes] = set()
    for one in value.split(listing.lists):
        more = _read_list(listing, one, context)
        if more is None:
            return None
        signatures += more
        stamps.add(context.timestamp)
    return signatures if len(stamps) == 1 else None


def _read_list(listing: Listing, value: bytes, context: Context) -> list[bytes] | None:
    items = value.split(listing.separator)
    if listing.blanks:
        items = [items[0], *(item.lstrip(b" ") for item in items[1:])]
    if listing.pair is not None:
        return _read_pairs(listing, listing.pair, items, context)
    if listing.timestamp_first:
        context.timestamp = items.pop(0)
    return items


def _read_pairs(listing: Listing, pair: bytes, items: list[bytes], context: Context) -> list[bytes] | None:
    signatures: list[bytes] = []
    others: dict[bytes, bytes] = {}
    wanted = {listing.timestamp, *listing.needed}
    for item in items:
        key, found, text = item.partition(pair)
        if not found or key in others:
            return None
        if listing.signature is None or key == listing.signature:
            signatures.append(item if listing.keyed else text)
        elif key in wanted:
            others[key] = text
    if not all(map(others.get, listing.needed)):
        return None
    if listing.timestamp is not None:
        context.timestamp = others.get(listing.timestamp, b"")
    context.items = others
    return signatures
