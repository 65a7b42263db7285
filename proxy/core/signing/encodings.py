"""Strict decoding of signatures and keys: what is not written exactly as it must be is no signature.

``bytes.fromhex`` ignores blanks and ``base64.b64decode`` ignores junk and stray bits, so both let one signature be
written in many ways. Here a text decodes only if encoding the result gives the same text again (RFC 4648 section 3.5).
"""

from __future__ import annotations

import base64
import binascii
import re

from proxy.core.signing.scheme import Encoding

_LOWER = re.compile(rb"[0-9a-f]++")
_UPPER = re.compile(rb"[0-9A-F]++")
_ANY = re.compile(rb"[0-9A-Fa-f]++")
_HEX = {Encoding.HEX: _LOWER, Encoding.HEX_UPPER: _UPPER, Encoding.HEX_ANY_CASE: _ANY}


def decode_hex(text: bytes, pattern: re.Pattern[bytes] = _ANY) -> bytes | None:
    """The bytes that ``text`` writes in hex, or None."""
    return binascii.a2b_hex(text) if len(text) % 2 == 0 and pattern.fullmatch(text) else None


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
    pattern = _HEX.get(encoding)
    if pattern is not None:
        value = decode_hex(text, pattern)
    elif encoding is Encoding.BASE64:
        value = decode_base64(text)
    elif encoding is Encoding.BASE64URL:
        value = decode_base64url(text)
    elif size is not None and len(text) == 2 * size:
        value = decode_hex(text, _LOWER)
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
