"""The one-time code that ``hookward enrol`` prints and ``hookward agent --join`` takes.

It carries the agent's name, the secret of the hello, the SHA-256 of the relay's certificate, and the relay's address
where that is known. A checksum finds what was cut off in copying, before anything is dialled. The secret's 128 bits are
random, so a code cannot be guessed, whoever tries how often; it is good for minutes and once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import field

from proxy.errors import Mistake
from proxy.values import frozen

PREFIX = "hw1-"
SECRET_BYTES = 16
MAX_CODE = 600
_CHECK_BYTES = 4
_HASH_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):[0-9]{1,5}")
_MEND = "copy the whole last line of `hookward enrol NAME`"


@frozen
class JoinCode:
    """What a code says. ``address`` is ``host:port``, or "" where the relay does not know its own."""

    name: str
    secret: bytes = field(repr=False)
    certificate: bytes
    address: str = ""

    def write(self) -> str:
        """The code."""
        body = self.secret + self.certificate + f"{self.name} {self.address}".encode("ascii")
        text = base64.urlsafe_b64encode(_check(body) + body).rstrip(b"=").decode("ascii")
        return PREFIX + text

    def key(self) -> bytes:
        """The key of the hello."""
        return join_key(self.secret, self.name)

    def mark(self) -> str:
        """What tells this code from others and says nothing of its secret."""
        return hashlib.sha256(b"hookward-agent/1 mark" + self.secret).hexdigest()[:32]


def join_key(secret: bytes, name: str) -> bytes:
    """The key of the hello that a code's secret makes."""
    return hmac.digest(secret, b"hookward-agent/1 join " + name.encode("ascii"), hashlib.sha256)


def read_code(text: str) -> JoinCode:
    """What a code says; Mistake where it is none. The code is not repeated: it is a secret."""
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_CODE:
        raise Mistake("this is not the code of an enrolment", _MEND)
    text = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Mistake("the code has a character that no code has", _MEND) from None
    check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if not hmac.compare_digest(check, _check(body)):
        raise Mistake("the code is not whole, or has a character changed", _MEND)
    secret, certificate = body[:SECRET_BYTES], body[SECRET_BYTES : SECRET_BYTES + _HASH_BYTES]
    name, blank, address = body[SECRET_BYTES + _HASH_BYTES :].decode("latin-1").partition(" ")
    if not blank or not _NAME.fullmatch(name) or (address and not _ADDRESS.fullmatch(address)):
        raise Mistake("the code is of another version", "use the same version of hookward at both ends")
    return JoinCode(name, secret, certificate, address)


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"hookward-agent/1 code" + body).digest()[:_CHECK_BYTES]
