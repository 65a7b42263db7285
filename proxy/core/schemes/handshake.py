"""How a provider checks that an endpoint expects it, as data: what it sends, and how the answer is made from that.

Two kinds. A signed check is a delivery like any other and is looked at after its verdict. An unsigned one carries no
proof, so its shape is all we have: one method, no content, exactly these query parameters or this header, and a
challenge that is bounded in length and alphabet. Nothing here reads a request: that is ``core.handshakes``.
"""

from __future__ import annotations

import re
from enum import Enum

from proxy.values import frozen

#: What is only given back: no blank, no quote, no markup, no separator of queries.
PLAIN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,256}")
#: What is signed with the key that signs bodies as well. It never has the ``opening`` that the scheme asks of a body,
#: nor what stands before a body in the signed text; and nothing that reads as JSON or as a form, for other readers.
KEYED = re.compile(r"(?!(?:-?[0-9]+(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity)\Z)[A-Za-z0-9_+/-]{1,128}={0,2}")
#: LinkedIn's (RFC 9562 section 4).
UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
#: Microsoft's is a sentence with an id.
SENTENCE = re.compile(r"[A-Za-z0-9 ._~+/=:,()-]{1,1024}")


class Form(Enum):
    """What the answer is."""

    NONE = "none"  # the application's alone
    EMPTY = "empty"
    TEXT = "text"
    JSON = "json"


class Made(Enum):
    """A value that is made from the challenge."""

    CHALLENGE = "challenge"  # as it came, decoded
    HMAC_HEX = "hmac_hex"  # HMAC-SHA-256 with the secret
    HMAC_BASE64 = "hmac_base64"
    DIGEST_HEX = "digest_hex"  # SHA-256 of challenge, verify token and endpoint URL


@frozen
class Handshake:
    """One provider's endpoint check. Header names are lower case; texts of the query are as they read decoded.

    The challenge is in the parameter ``query``, the header ``header`` or, where ``signed``, at the dotted ``field`` of
    the JSON body; there may be none. ``reason`` says why none but the application can answer (``Form.NONE``).
    """

    method: bytes = b"GET"
    signed: bool = False
    query: str = ""
    header: bytes = b""
    field: str = ""
    fixed: tuple[tuple[str, str], ...] = ()  # parameters that must have exactly this value
    verify: str = ""  # parameter that must equal the route's verify token
    optional: frozenset[str] = frozenset()  # parameters that may be there
    marks: tuple[tuple[str, object], ...] = ()  # dotted paths of the body that must have exactly this value
    marked_by: tuple[bytes, bytes] | None = None  # header that must have exactly this value
    shape: re.Pattern[str] = PLAIN
    form: Form = Form.TEXT
    values: tuple[tuple[str, Made | int], ...] = (("", Made.CHALLENGE),)  # JSON: each key; TEXT: the only one
    mac_prefix: str = ""  # before a MAC
    reason: str = ""
    bare_refusals: bool = False  # the provider also tries wrong signatures, and takes no content for an answer

    @property
    def challenges(self) -> bool:
        """Whether a check that is not signed has a challenge."""
        return bool(self.query or self.header)

    @property
    def needs_token(self) -> bool:
        """Whether we cannot answer without the verify token."""
        return bool(self.verify) or self._makes(Made.DIGEST_HEX)

    @property
    def needs_url(self) -> bool:
        """Whether we cannot answer without the public URL."""
        return self._makes(Made.DIGEST_HEX)

    @property
    def needs_secret(self) -> bool:
        """Whether the answer is made with the secret that signs bodies."""
        return self._makes(Made.HMAC_HEX) or self._makes(Made.HMAC_BASE64)

    @property
    def header_names(self) -> frozenset[bytes]:
        """Headers that the check is known by."""
        return frozenset(name for name in (self.header, self.marked_by[0] if self.marked_by else b"") if name)

    @property
    def request(self) -> str:
        """What the provider sends, in a few words."""
        words = ["signed"] if self.signed else []
        parameters = [f"{name}={value}" for name, value in self.fixed]
        parameters += [f"{name}=" for name in (self.verify, self.query) if name]
        words.append(self.method.decode("ascii") + (f" ?{'&'.join(parameters)}" if parameters else ""))
        if self.header:
            words.append(f"{self.header.decode('ascii')}:")
        if self.marked_by is not None:
            words.append(b": ".join(self.marked_by).decode("ascii"))
        words += [f"{path}={value}" for path, value in self.marks]
        if self.field:
            words.append(f"{self.field}=")
        return " ".join(words)

    @property
    def answer(self) -> str:
        """What it expects, in a few words; "" where we cannot answer."""
        if self.form is Form.JSON:
            parts = [name if isinstance(value, Made) else f"{name}={value}" for name, value in self.values]
            return f"JSON {', '.join(parts)}"
        return {Form.NONE: "", Form.EMPTY: "empty", Form.TEXT: "the challenge"}[self.form]

    def _makes(self, made: Made) -> bool:
        return any(value is made for _, value in self.values)


#: HEAD, before the webhook is made: any 200 will do.
HEAD_ONLY = Handshake(b"HEAD", form=Form.EMPTY, values=())
