"""The language in which a provider's signature is described, and strict reading of what is written in its forms.

What a provider signs, where it puts the signature and how it is written is a :class:`Scheme`: frozen data. Code that
verifies reads only these fields; there is no code per provider. What the data cannot say becomes a new field here. All
header names are lower case bytes. HMAC is RFC 2104; ``docs`` of each provider name the source of its scheme.

Of signatures, keys and times, what is not written exactly as it must be is none. ``bytes.fromhex`` ignores blanks and
``base64.b64decode`` ignores junk and stray bits, so both let one signature be written in many ways. Here a text decodes
only if encoding the result gives the same text again (RFC 4648 section 3.5).

``int`` takes ``+5``, ``1_0`` and blanks, and some SDKs let a timestamp that is no number pass the age test. Here a
timestamp is digits of a bounded length or a full RFC 3339 date-time, else it is malformed. The window holds both ways;
the clock is an argument.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime
from enum import Enum
from functools import partial

from proxy.http1 import read_http_date
from proxy.reasons import Reason
from proxy.values import IdentityEnum, frozen


class Method(Enum):
    """What is computed over the signed content."""

    HMAC = "hmac"
    HASH = "hash"  # plain digest of secret and content: open to length extension, two old providers use it
    JWT = "jwt"  # a signed token carries the digest of the body
    ED25519 = "ed25519"
    ECDSA = "ecdsa"
    RSA = "rsa"  # PKCS#1 v1.5
    EQUAL = "equal"  # no signature: the body repeats a shared word


#: The largest body that a scheme takes which needs all of it in memory, where the route says nothing else.
WHOLE_BODY_BYTES = 1 << 20

PUBLIC_KEY_METHODS = frozenset({Method.ED25519, Method.ECDSA, Method.RSA})


class Encoding(IdentityEnum):
    """How the bytes of a signature are written. Every form is strict: exact length, canonical, no blanks."""

    HEX = "hex"  # lower case
    HEX_UPPER = "hex_upper"
    HEX_ANY_CASE = "hex_any_case"
    BASE64 = "base64"
    BASE64URL = "base64url"  # without padding
    HEX_OR_BASE64 = "hex_or_base64"  # told apart by length

    # Members are single objects; the default hashes their names in Python, for each signature.
    __hash__ = object.__hash__


class TimeFormat(Enum):
    """How a timestamp is written."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    SECONDS_OR_MILLISECONDS = "s_or_ms"  # the provider does not say: 12 digits and more are milliseconds
    RFC3339 = "rfc3339"
    ISO_UTC = "iso_utc"  # ISO 8601, UTC where it names no zone
    ANY = "any"  # the provider does not say: any of these, or an HTTP date


class SecretForm(Enum):
    """How the provider shows the secret, and so what must be decoded before it is a key."""

    RAW = "raw"
    HEX = "hex"
    BASE64 = "base64"
    WHSEC = "whsec"  # base64, with or without "whsec_" before it
    WHSEC_OR_RAW = "whsec_or_raw"  # base64 after "whsec_", else the text as it is
    PUBLIC_KEY = "public_key"  # PEM, or SubjectPublicKeyInfo in base64, or a certificate in PEM
    ED25519_HEX = "ed25519_hex"  # 32 bytes
    ED25519_BASE64 = "ed25519_base64"  # 32 bytes, with or without "whpk_"


@frozen
class Secret:
    """One key of a guard; several live at once while a key is rotated. Its value never shows in ``repr``, a log
    or an error.

    ``not_before`` and ``not_after`` are seconds since the epoch. Outside them the secret matches nothing.
    """

    name: str
    value: bytes = field(repr=False)
    not_before: float | None = None
    not_after: float | None = None

    def __post_init__(self) -> None:
        if not self.value:
            raise ValueError("a secret is not empty")

    @property
    def has_dates(self) -> bool:
        """Whether it counts at some times only."""
        return self.not_before is not None or self.not_after is not None

    def live(self, now: float) -> bool:
        """Whether the secret counts at ``now`` (seconds since the epoch)."""
        if self.not_before is not None and now < self.not_before:
            return False
        return self.not_after is None or now < self.not_after


class BodyForm(Enum):
    """What of the body is signed."""

    RAW = "raw"
    JSON_STRING = "json_string"  # the inside of the JSON string literal of the body
    ASCII_JSON = "ascii_json"  # characters outside ASCII written as \\uXXXX
    CRC32 = "crc32"  # the CRC-32 of the body in decimal


@frozen
class Timestamp:
    """A signed timestamp. ``tolerance_s`` None: read strictly, but judged only where the route sets a tolerance."""

    header: bytes | None = None  # None: an item of the signature header, or a path of the document
    format: TimeFormat = TimeFormat.SECONDS
    tolerance_s: float | None = 300.0


@frozen
class Listing:
    """A signature header that holds a list: ``t=1,v1=ab,v1=cd``, ``v1,YWI= v1,Y2Q=``, ``1,ab,cd``, ``ab,cd``.

    Items are split by ``separator``; each is ``key + pair + value``. Without ``pair`` an item is a bare value: the
    first one is the timestamp where ``timestamp_first``, all others are signatures. ``signature`` None takes every key.
    Unknown keys are skipped, several signatures are allowed, anything else twice is malformed. So is an item that is no
    signature, unless the provider puts such items beside good ones (``lenient``).
    """

    separator: bytes = b","
    pair: bytes | None = b"="
    signature: bytes | None = b"v1"
    timestamp: bytes | None = None
    timestamp_first: bool = False
    blanks: bool = False  # one or more blanks may follow the separator
    needed: tuple[bytes, ...] = ()  # further items that the signed text names
    lists: bytes | None = None  # between whole lists, one for each secret that is live; all say the same time
    lenient: bool = False  # an item that is no signature is skipped; there must still be one
    keyed: bool = False  # the key of an item is the first part of the two-part secret that signed it


@frozen
class Claims:
    """A JWT (RFC 7519) whose claims carry digests. ``algorithms`` is all that its header may name."""

    algorithms: tuple[str, ...] = ("HS256",)
    body: str | None = None  # the claim that holds SHA-256 of the body; None: nothing covers the body
    body_encoding: Encoding = Encoding.HEX
    body_optional: bool = False  # the claim is left out where the body is empty
    url: str | None = None  # the claim that holds SHA-256 of the URL, in hex
    needed: tuple[str, ...] = ()  # time claims that must be there: "exp", "nbf", "iat"
    max_age_s: float | None = None  # of ``iat``
    leeway_s: float = 5.0  # for ``exp`` and ``nbf``
    issuer: str | None = None  # what ``iss`` must be
    issuer_is_key_id: bool = False  # ``iss`` is the first part of a two-part secret
    audience_is_url: bool = False  # ``aud`` must be the URL of the endpoint
    texts: tuple[str, ...] = ()  # claims that must be there, as texts: what tells an event from other tokens of the key
    identity: str | None = None  # the claim that names the token, the same in each copy of it; it may be missing


@frozen
class Document:
    """Where the parts of a signature are in a body that must be parsed: ``kind`` is "json", "form" or "jwt".

    Paths are dotted keys. ``items`` names a list: each of its elements carries its own signature, and all must match.
    """

    kind: str
    signature: str | None = None  # path of the signature; None: it is in the headers
    timestamp: str | None = None
    items: str | None = None  # "a[].b": of each element of the list at a, what is at b
    optional: frozenset[str] = frozenset()  # paths that count as empty text where they are missing
    lines_by: str | None = None  # path of the word that chooses among ``lines``
    lines: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (word, keys): {lines} is "key\nvalue\n" of each; only the
    # first value may have line ends, so that the text, read from its end, is that of one body
    topic: str | None = None  # path of what must be one of the route's topics: the key signs for strangers as well
    echoes: tuple[tuple[bytes, str], ...] = ()  # (header, path): what is repeated in the head must be the same
    algorithm_by: str | None = None  # path of the word that chooses among ``algorithms``
    algorithms: tuple[tuple[str, str], ...] = ()
    repeats: str = "as_sent"  # values of a form key given several times: "as_sent", "sorted", "distinct" (and sorted)
    url_digest: bytes | None = None  # query key with the hex SHA-256 of a body that is no form; then the URL is signed
    alphabet: bytes = b""  # of the signed field of a form: nothing else is in it
    challenge: re.Pattern[bytes] | None = None  # what is signed besides, of a bounded length: that field is none
    border: bytes = b""  # between signed fields: none but ``free`` may hold it
    free: str = ""
    either_port: bool = False  # the URL is signed with or without its default port
    newline: bool = False  # the signed text may have one more line end
    max_body: int = WHOLE_BODY_BYTES  # where the route says nothing else


@frozen
class Scheme:
    """How one provider signs.

    ``signed`` is the text that is signed: literal characters (``{{`` and ``}}`` for braces) and ``{body}``,
    ``{timestamp}``, ``{id}``, ``{nonce}``, ``{method}``, ``{url}``, ``{target}``, ``{path}``, ``{query}``,
    ``{header:NAME}``, ``{param:NAME}`` (of the query), ``{item:NAME}`` (of the listing), ``{key_id}`` (first part of a
    two-part secret), ``{encoded_target}`` (escaped once more), ``{signed_headers}``, ``{json_item:NAME}``; and, where
    ``document`` is set, ``{field:PATH}``, ``{form}``, ``{lines}``, ``{sorted_url}``.
    """

    headers: tuple[bytes, ...]
    signed: str = "{body}"
    method: Method = Method.HMAC
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX
    prefix: bytes = b""  # before the encoded signature
    listing: Listing | None = None
    timestamp: Timestamp | None = None
    identity: bytes | None = None  # header of {id}
    nonce: bytes | None = None  # header of {nonce}
    required: tuple[tuple[bytes, bytes], ...] = ()  # headers that must have exactly this value
    signed_headers: bytes | None = None  # header with the names of {signed_headers}
    envelope: str | None = None  # the header is base64 of a JSON object, and this key of it the signature
    writes_upper: bool = False  # where hex may be of either case: how the provider writes it
    json_body: bool = False  # its brackets are what tells it from the parts beside it: anything else is malformed
    opens_url: bool = False  # of the URL, escaped delimiters are signed as they read decoded
    body_forms: tuple[BodyForm, ...] = (BodyForm.RAW,)  # the signature may be over any of them
    opening: bytes = b""  # one of these bytes begins every body, behind blanks: where the key signs other texts too,
    # that strangers choose or are shown (challenges, logins, pages), so that none of them can be a body
    secret: SecretForm = SecretForm.RAW
    two_part: bool = False  # the secret is "key id:key"
    key_digest: str | None = None  # the key is this digest of the secret
    claims: Claims | None = None
    document: Document | None = None

    @property
    def header_names(self) -> frozenset[bytes]:
        """Every header that the check reads: what a client must not be able to have removed on the way."""
        single = (self.timestamp.header if self.timestamp else None, self.identity, self.nonce, self.signed_headers)
        named = re.findall(r"\{header:([^}]+)\}", self.signed)
        echoes = self.document.echoes if self.document is not None else ()
        return frozenset(
            [*self.headers, *(name for name in single if name), *(name for name, _ in (*self.required, *echoes))]
            + [name.lower().encode("ascii") for name in named]
        )

    def split_key(self, secret: bytes) -> tuple[bytes, bytes]:
        """(key id, key) of a decoded secret; the id is b"" unless the secret has two parts."""
        if not self.two_part:
            return b"", secret
        key_id, _, key = secret.partition(b":")
        return key_id, key

    @property
    def signs_url(self) -> bool:
        """Whether the public URL must be known."""
        return (
            "{url}" in self.signed
            or "{sorted_url}" in self.signed
            or (self.claims is not None and self.claims.url is not None)
        )

    @property
    def signs_for_all(self) -> bool:
        """Whether one key signs for all customers of the provider, so that a route must list what is its own."""
        return self.document is not None and self.document.topic is not None


# -- What is written in these forms.


def decode_hex(text: bytes, write: Callable[[bytes], bytes] | None = None) -> bytes | None:
    """The bytes that ``text`` writes in hex, as ``write`` does where that is given, or None."""
    try:
        value = binascii.a2b_hex(text)  # takes digits alone
    except binascii.Error:
        return None
    return value if value and (write is None or write(value) == text) else None


def decode_base64(text: bytes) -> bytes | None:
    """The bytes that ``text`` writes in padded standard base64, or None."""
    try:
        value = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    return value if value and binascii.b2a_base64(value, newline=False) == text else None


def decode_base64url(text: bytes) -> bytes | None:
    """The bytes that ``text`` writes in base64url without padding, or None."""
    try:
        value = base64.urlsafe_b64decode(text + b"==")  # more of them than it needs do no harm
    except binascii.Error:
        return None
    return value if value and encode_base64url(value) == text else None


def encode_base64url(value: bytes) -> bytes:
    """``value`` in base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def decode(encoding: Encoding, text: bytes, size: int | None) -> bytes | None:
    """The signature that ``text`` writes in ``encoding``: exactly ``size`` bytes (None: any number), or None."""
    if encoding in _HEX:
        value = decode_hex(text, _HEX[encoding])
    elif encoding is Encoding.BASE64URL:
        value = decode_base64url(text)
    elif encoding is Encoding.HEX_OR_BASE64 and size is not None and len(text) == 2 * size:
        value = decode_hex(text, binascii.b2a_hex)
    else:
        value = decode_base64(text)
    return value if value is not None and (size is None or len(value) == size) else None


def encode(encoding: Encoding, value: bytes) -> bytes:
    """``value`` as ``encoding`` writes it."""
    return _WRITE[encoding](value)


_base64 = partial(binascii.b2a_base64, newline=False)
_WRITE: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.HEX: binascii.b2a_hex,
    Encoding.HEX_UPPER: lambda value: binascii.b2a_hex(value).upper(),
    Encoding.HEX_ANY_CASE: binascii.b2a_hex,
    Encoding.BASE64: _base64,
    Encoding.BASE64URL: encode_base64url,
    Encoding.HEX_OR_BASE64: _base64,
}
#: How hex is written where one writing alone is right; None where letters may be of either size.
_HEX = {Encoding.HEX: binascii.b2a_hex, Encoding.HEX_UPPER: _WRITE[Encoding.HEX_UPPER], Encoding.HEX_ANY_CASE: None}


_SECONDS = re.compile(rb"[0-9]{1,11}")
_MILLISECONDS = re.compile(rb"[0-9]{1,14}")
_CLOCK = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_RFC3339 = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})")
_ISO_UTC = re.compile(_CLOCK + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_FIRST_MILLISECONDS = 12  # digits: seconds have eleven until the year 5138


def _date_time(text: bytes) -> float | None:
    try:
        said = datetime.fromisoformat(text.decode("ascii"))
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


_FORMS: dict[TimeFormat, tuple[re.Pattern[bytes], Callable[[bytes], float | None]]] = {
    TimeFormat.SECONDS: (_SECONDS, int),
    TimeFormat.MILLISECONDS: (_MILLISECONDS, lambda text: int(text) / 1000),
    TimeFormat.RFC3339: (_RFC3339, _date_time),
    TimeFormat.ISO_UTC: (_ISO_UTC, _date_time),
}


def parse_time(form: TimeFormat, text: bytes) -> float | None:
    """Seconds since the epoch that ``text`` says, or None where it is not written as it must be."""
    if form is TimeFormat.SECONDS_OR_MILLISECONDS:
        form = TimeFormat.MILLISECONDS if len(text) >= _FIRST_MILLISECONDS else TimeFormat.SECONDS
    if form is TimeFormat.ANY:
        date = read_http_date(text.decode("latin-1"))
        if date is not None:
            return date
        said = parse_time(TimeFormat.SECONDS_OR_MILLISECONDS, text)
        return parse_time(TimeFormat.ISO_UTC, text) if said is None else said
    pattern, read = _FORMS[form]
    return read(text) if pattern.fullmatch(text) else None


def write_time(form: TimeFormat, now: float) -> bytes:
    """``now`` (seconds since the epoch) as ``form`` writes it."""
    if form is TimeFormat.MILLISECONDS:
        return b"%d" % round(now * 1000)
    if form in (TimeFormat.RFC3339, TimeFormat.ISO_UTC):
        text = datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat()
        return (text + ("Z" if form is TimeFormat.RFC3339 else "")).encode("ascii")
    return b"%d" % int(now)


def judge_time(said: float, now: float, tolerance_s: float | None) -> Reason | None:
    """Why a signature made at ``said`` is not fresh at ``now``, or None. The window is closed: its edge is fresh."""
    if tolerance_s is None:
        return None
    if now - said > tolerance_s:
        return Reason.TIMESTAMP_TOO_OLD
    if said - now > tolerance_s:
        return Reason.TIMESTAMP_IN_FUTURE
    return None
