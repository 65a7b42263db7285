"""Tokens that prove a sender without covering the body: in query, path or field, Bearer (RFC 6750), Basic (RFC 7617).

Weaker than a signature, and all that some providers offer. What is compared is compared as bytes, in constant time,
against every live secret; whatever is malformed, repeated or unreadable is a refusal, never an exception. A token in
the query is also taken out of the target, so that it does not travel on; for one in the path ``core.grammar`` does it.
Nothing here keeps or shows a token.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import field
from enum import Enum
from hmac import compare_digest
from urllib.parse import unquote_to_bytes

from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

# -- A named secret with its dates. Its value never shows in ``repr``, a log or an error.


@frozen
class Secret:
    """One key of a guard; several live at once while a key is rotated.

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


class TokenKind(Enum):
    """Where the token is expected."""

    QUERY = "query"
    HEADER = "header"
    BEARER = "bearer"
    BASIC = "basic"
    PATH = "path"


_ANY = (re.compile(rb".*", re.DOTALL), "")
#: What a secret must be like, and what is said of one that is not. A segment is what ``core.grammar`` takes undecoded.
_FORMS = {
    TokenKind.BASIC: (re.compile(rb"[^:]*:.*", re.DOTALL), "is not of the form user:password"),
    TokenKind.PATH: (
        re.compile(rb"[\w~!$&'()*+,=:@-][\w.~!$&'()*+,=:@-]*"),
        "has a character that no segment of a path may have",
    ),
}


@frozen
class TokenCheck:
    """One token guard. ``name`` is the query's key, decoded, or the field's name in lower case; the two schemes of
    ``Authorization`` take b"" for that field or name another. Of PATH it is what stands before the token, to the slash.
    The secrets of BASIC are ``user:password``.

    ValueError where the guard could never hold or names nothing to look at; the message holds no value.
    """

    kind: TokenKind
    name: bytes
    secrets: tuple[Secret, ...]

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ValueError("a token check needs at least one secret")
        if self.kind in {TokenKind.QUERY, TokenKind.HEADER, TokenKind.PATH} and not self.name:
            raise ValueError(f"a {self.kind.value} token needs a name")
        if self.kind not in {TokenKind.QUERY, TokenKind.PATH} and self.name != self.name.lower():
            raise ValueError("the field of a token is named in lower case")
        form, fault = _FORMS.get(self.kind, _ANY)
        for secret in self.secrets:
            if not form.fullmatch(secret.value):
                raise ValueError(f"the secret {secret.name!r} {fault}")

    def check(self, head: RequestHead, now: float) -> str | Reason:
        """The name of the secret that the request's token equals, or the reason why there is none.

        ``now`` is in seconds since the epoch. An empty token, or credentials of another scheme, count as missing;
        a token that comes twice matches nothing, because the application may look at the other one.
        """
        if self.kind is TokenKind.BASIC:
            return self._match(self._basic(head), now, Reason.BASIC_AUTH_FAILED)
        given = self._given(head)
        if isinstance(given, Reason):
            return given
        return self._match(given, now, Reason.TOKEN_MISMATCH)

    def is_given(self, head: RequestHead) -> bool:
        """Whether the request has a token at the place of this one, right or wrong."""
        return self._given(head) is not Reason.TOKEN_MISSING

    def strip(self, target: bytes) -> bytes:
        """``target`` (origin-form) without the query's token, byte for byte as it came otherwise.

        Removes every pair whose key is ours, and the "?" where nothing is left. Other kinds change nothing.
        """
        path, mark, query = target.partition(b"?")
        if self.kind is not TokenKind.QUERY or not mark:
            return target
        pairs = query.split(b"&")
        kept = [pair for pair in pairs if not self._is_ours(pair)]
        if len(kept) == len(pairs):
            return target
        rest = b"&".join(kept)
        return path + mark + rest if rest else path

    def _match(self, given: bytes, now: float, otherwise: Reason) -> str | Reason:
        """The name of the live secret that equals ``given``. All are compared: no early end tells which it is."""
        matched: str | None = None
        for secret in self.secrets:
            # compare_digest takes time by its second argument: the length of the client's value, not of the secret.
            if secret.live(now) and compare_digest(secret.value, given):
                matched = secret.name if matched is None else matched
        return otherwise if matched is None else matched

    def _is_ours(self, pair: bytes) -> bool:
        # Decoded, as the application sees it: "%74oken" must neither count as another key nor travel on.
        return _decoded(pair.partition(b"=")[0]) == self.name

    def _given(self, head: RequestHead) -> bytes | Reason:
        if self.kind is TokenKind.QUERY:
            return self._query(head)
        return self._segment(head) if self.kind is TokenKind.PATH else self._field(head)

    def _segment(self, head: RequestHead) -> bytes | Reason:
        return _decoded(head.path[len(self.name) :].partition(b"/")[0]) or Reason.TOKEN_MISSING

    def _query(self, head: RequestHead) -> bytes | Reason:
        pairs = [pair for pair in (head.query or b"").split(b"&") if self._is_ours(pair)]
        if len(pairs) > 1:
            return Reason.TOKEN_MISMATCH
        value = _decoded(pairs[0].partition(b"=")[2]) if pairs else b""
        return value or Reason.TOKEN_MISSING

    def _field(self, head: RequestHead) -> bytes | Reason:
        name = self.name or b"authorization"
        if name in head.repeated:
            return Reason.TOKEN_MISMATCH
        value = head.get(name) or b""
        if self.kind is not TokenKind.HEADER:
            value = _credentials(value, self.kind.value.encode())
        return value or Reason.TOKEN_MISSING

    def _basic(self, head: RequestHead) -> bytes:
        """``user:password`` as it was sent; b"", which equals no secret, where it cannot be read."""
        given = self._field(head)
        if isinstance(given, Reason):
            return b""
        try:
            return a2b_base64(given, strict_mode=True)
        except Base64Error:
            return b""


def _credentials(value: bytes, scheme: bytes) -> bytes:
    """What follows ``scheme`` (any case) in a value of ``Authorization`` (RFC 9110 section 11.4), or b""."""
    given, _, rest = value.partition(b" ")
    return rest.strip(b" ") if given.lower() == scheme else b""


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text) if b"%" in text else text
