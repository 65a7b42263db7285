"""Strict reading of signatures, keys and times: what is not written exactly as it must be is none.

``bytes.fromhex`` ignores blanks and ``base64.b64decode`` ignores junk and stray bits, so both let one signature be
written in many ways. Here a text decodes only if encoding the result gives the same text again (RFC 4648 section 3.5).

``int`` takes ``+5``, ``1_0`` and blanks, and some SDKs let a timestamp that is no number pass the age test. Here a
timestamp is digits of a bounded length or a full RFC 3339 date-time, else it is malformed. The window holds both ways;
the clock is an argument.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime

from proxy.core.signing.scheme import Encoding, TimeFormat
from proxy.http1 import read_http_date
from proxy.reasons import Reason


def _capitals(value: bytes) -> bytes:
    return binascii.b2a_hex(value).upper()


#: How hex is written where one writing alone is right; None where letters may be of either size.
_HEX: dict[Encoding, Callable[[bytes], bytes] | None] = {
    Encoding.HEX: binascii.b2a_hex,
    Encoding.HEX_UPPER: _capitals,
    Encoding.HEX_ANY_CASE: None,
}


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
    elif encoding is Encoding.BASE64:
        value = decode_base64(text)
    elif encoding is Encoding.BASE64URL:
        value = decode_base64url(text)
    elif size is not None and len(text) == 2 * size:
        value = decode_hex(text, binascii.b2a_hex)
    else:
        value = decode_base64(text)
    return value if value is not None and (size is None or len(value) == size) else None


def encode(encoding: Encoding, value: bytes) -> bytes:
    """``value`` as ``encoding`` writes it."""
    if encoding in (Encoding.HEX, Encoding.HEX_ANY_CASE):
        return value.hex().encode("ascii")
    if encoding is Encoding.HEX_UPPER:
        return value.hex().upper().encode("ascii")
    if encoding is Encoding.BASE64URL:
        return encode_base64url(value)
    return binascii.b2a_base64(value, newline=False)


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
