"""How a sender's proof is judged: a signature by the ``Scheme`` of its provider, or a token, with the secrets of a
route.

Each part of a signature has a module: the scheme language and strict decoding, templates, and one per method. ``begin``
reads the head and refuses what is missing, malformed or stale; the ``Verification`` it gives takes the body chunk by
chunk and says at the end which secret matched. Raw bytes only: nothing is parsed, decompressed or decoded before it is
hashed. ``begin``, ``update`` and ``finish`` never raise, whatever a client writes. ``load_pubkey`` is the one way to
what judges and makes signatures of key pairs, with a package that not every installation has.

Tokens prove a sender without covering the body: in query, path or field, Bearer (RFC 6750), Basic (RFC 7617). Weaker
than a signature, and all that some providers offer. What is compared is compared as bytes, in constant time, against
every live secret; whatever is malformed, repeated or unreadable is a refusal, never an exception. A token in the query
is also taken out of the target, so that it does not travel on; for one in the path ``core.grammar`` does it. Nothing
here keeps or shows a token.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import field
from enum import Enum
from hmac import compare_digest
from types import ModuleType
from typing import Protocol
from urllib.parse import unquote_to_bytes

from proxy.core.signing.evidence import EvidenceReader
from proxy.core.signing.mac import Judge, MacJudge, MacPlan, PlainPlan, Verification, WholeVerification, WordJudge
from proxy.core.signing.parsed import HMAC_DIGESTS, DocumentPlan, JwtPlan
from proxy.core.signing.scheme import PUBLIC_KEY_METHODS, WHOLE_BODY_BYTES, Method, Scheme, Secret, SecretForm
from proxy.errors import Mistake
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

__all__ = ["PUBLIC_KEY_METHODS", "Scheme", "SignatureCheck", "Verification", "WholeVerification"]

_PUBLIC_KEY_FORMS = frozenset({SecretForm.PUBLIC_KEY, SecretForm.ED25519_HEX, SecretForm.ED25519_BASE64})


class NeedsPackageError(Mistake):
    """A package that not every installation has is needed, and is not there. ``package`` is its name."""

    def __init__(self, package: str) -> None:
        super().__init__("this provider signs with a public key", f"install the Python package {package}")
        self.package = package


def needs_public_keys(scheme: Scheme) -> bool:
    """Whether ``scheme`` cannot be checked with the standard library."""
    return scheme.method in PUBLIC_KEY_METHODS or scheme.secret in _PUBLIC_KEY_FORMS


def load_pubkey() -> ModuleType:
    """``proxy.core.pubkey``. Mistake where its package is not installed."""
    try:
        from proxy.core import pubkey
    except ImportError:
        raise NeedsPackageError("cryptography") from None
    return pubkey


#: By the kind of document: the body in one piece, what is made of it, and what that is signed as. JSON text with one
#: emoji in it takes four bytes for each of its characters, twice.
WORK_FACTORS = {"": 3, "jwt": 3, "form": 5, "json": 10}


class Plan(Protocol):
    """A scheme with its keys, compiled for one method."""

    @property
    def whole_body(self) -> bool:
        """Whether a verdict needs the body in one piece."""

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""


@frozen
class SignatureCheck:
    """One route's signature guard. ``secrets`` are decoded keys (``core.schemes.decode_secret``), newest first.

    ``tolerance_s`` overrides the scheme's window, both ways. ``public_url`` is scheme and authority, or the whole URL,
    as configured at the provider; needed where the URL is signed. ``topics`` are those whose messages are ours, needed
    where one key signs for all customers of the provider. Raises ValueError, with the mend, where the scheme cannot be
    checked so.
    """

    scheme: Scheme
    secrets: tuple[Secret, ...]
    tolerance_s: float | None = None
    public_url: str | None = None
    topics: tuple[str, ...] = ()
    _plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ValueError("a signature cannot be checked without a secret: give at least one")
        if self.scheme.signs_url and not self.public_url:
            raise ValueError('this provider signs the URL: set public_url = "https://..." as it is configured there')
        object.__setattr__(self, "_plan", _compile(self))
        if self.scheme.signs_for_all and not self.topics:
            raise ValueError("this provider signs for all its customers: set topics = [...] to those that are yours")

    @property
    def freshness_s(self) -> float | None:
        """How old or new a signature may be, in seconds; None where its time is not judged, or it has none."""
        scheme = self.scheme
        if scheme.claims is not None:
            own = scheme.claims.max_age_s
        elif scheme.timestamp is not None:
            own = scheme.timestamp.tolerance_s
        else:
            return None
        return own if self.tolerance_s is None else self.tolerance_s

    @property
    def whole_body(self) -> bool:
        """Whether a verdict needs the body in one piece: such a route holds it."""
        return self._plan.whole_body

    @property
    def max_body(self) -> int | None:
        """The largest body, in bytes, where the route states none of its own; None where the limits alone decide."""
        if not self.whole_body:
            return None
        return WHOLE_BODY_BYTES if self.scheme.document is None else self.scheme.document.max_body

    @property
    def work_factor(self) -> int:
        """How many times its own size a body takes in memory at most while its verdict is made; 0 where it streams."""
        if not self.whole_body:
            return 0
        document = self.scheme.document
        return WORK_FACTORS["" if document is None else document.kind]

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """Judge ``head`` at ``now`` (seconds since the epoch): the check of its body, or why it is refused."""
        return self._plan.begin(head, now)


def _compile(check: SignatureCheck) -> Plan:
    scheme, secrets = check.scheme, check.secrets
    reader = EvidenceReader(scheme, check.tolerance_s, check.public_url)
    if scheme.claims is not None:
        return JwtPlan(scheme, scheme.claims, reader, _make_judge(check), check.tolerance_s)
    if scheme.document is not None:
        return DocumentPlan(scheme, scheme.document, reader, _make_judge(check), check.topics)
    if scheme.method is Method.ED25519:
        return PlainPlan(scheme, reader, _make_judge(check))
    if needs_public_keys(scheme):
        plan: Plan = load_pubkey().DigestPlan(scheme, secrets, reader)
        return plan
    return MacPlan(scheme, secrets, reader)


def _make_judge(check: SignatureCheck) -> Judge:
    scheme = check.scheme
    if scheme.method is Method.EQUAL:
        return WordJudge(check.secrets)
    if needs_public_keys(scheme):
        judge: Judge = load_pubkey().PublicKeyJudge(scheme, check.secrets)
        return judge
    claims = scheme.claims
    algorithms = [scheme.algorithm] if claims is None else [HMAC_DIGESTS[name] for name in claims.algorithms]
    return MacJudge(scheme, check.secrets, algorithms)


# -- ``TokenCheck``: a token, in place of a signature or beside one.


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
