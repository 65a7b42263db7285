"""Schemes that must parse something to know what was signed: a signed token (JWT), or the body itself.

A token's claims hold the digest of the body (RFC 7515, RFC 7519). Its own signature is judged on the head, before a
byte of the body; the body is hashed as it passes and compared at the end. The algorithm is chosen by the scheme: what
the token's header names must be on its list, and ``none`` never is. Claims are read only after the signature has
matched. A body that is parsed, by ``documents``, is needed in one piece: such a route holds it, and ``max_body`` bounds
it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

from proxy.core.signing.documents import (
    FormPart,
    JsonPart,
    Part,
    Tree,
    both_ports,
    contains,
    list_items,
    read_claims,
    read_form,
    read_json,
)
from proxy.core.signing.evidence import MALFORMED, MISSING, Evidence, EvidenceReader
from proxy.core.signing.mac import Judge, Verification, WholeVerification
from proxy.core.signing.scheme import Claims, Document, Method, Scheme, decode, decode_base64url, judge_time
from proxy.core.signing.template import FOUND_IN_BODY, Context, Slot, single_field, single_param
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason

_ORIGIN = re.compile(rb"https?://[^/?#]+")

#: Digests of the HMAC algorithms of RFC 7518 section 3.2.
HMAC_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

_DIGEST_SIZE = 32


class Token(NamedTuple):
    """A token taken apart; nothing in it is believed yet."""

    algorithm: str
    signed: bytes
    claims: Tree
    signature: bytes


def open_token(text: bytes) -> Token | None:
    """The parts of a compact JWS (RFC 7515 section 7.1); None where it is malformed."""
    signed, _, last = text.rpartition(b".")
    first, dot, second = signed.partition(b".")
    header, claims, signature = _object(first), _object(second), decode_base64url(last)
    if not dot or header is None or claims is None or signature is None or "crit" in header:
        return None
    algorithm = header.get("alg")
    return Token(algorithm, signed, claims, signature) if isinstance(algorithm, str) else None


def _object(text: bytes) -> Tree | None:
    decoded = decode_base64url(text)
    return None if decoded is None else read_claims(decoded)


class TokenVerification(Verification):
    """A body against the digest that a signed token said. ``expected`` None: the body must be empty."""

    __slots__ = ("_empty", "_expected", "_mark", "_name", "_running")

    def __init__(self, name: str, mark: bytes, expected: bytes | None) -> None:
        self._name = name
        self._mark = mark
        self._expected = expected
        self._running = hashlib.sha256()
        self._empty = True

    def update(self, chunk: Piece) -> None:
        self._running.update(chunk)
        self._empty = self._empty and not chunk

    def finish(self) -> str | Reason:
        if self._expected is None:
            return self._name if self._empty else Reason.SIGNATURE_MISMATCH
        matches = hmac.compare_digest(self._running.digest(), self._expected)
        return self._name if matches else Reason.SIGNATURE_MISMATCH

    def marks(self) -> list[bytes]:
        """The token: its claims name the body."""
        return [self._mark]


def mark_of(token: Token, identity: str | None) -> bytes:
    """What a token leaves: its name (claim ``identity``), or all but its own signature, of which ECDSA has many."""
    name = token.claims.get(identity) if identity is not None else None
    return hashlib.sha256(
        token.signed if not isinstance(name, str) else f"{identity}:{name}".encode("utf-8", "replace")
    ).digest()


class UncoveredVerification(Verification):
    """A token that says nothing about the body."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def update(self, chunk: Piece) -> None:
        """Nothing of it counts."""

    def finish(self) -> str | Reason:
        return self._name

    def marks(self) -> list[bytes]:
        """None: the same token may come with any number of deliveries."""
        return []


class JwtPlan:
    """A scheme with a token in a header, or in place of the body."""

    __slots__ = ("_claims", "_judge", "_max_age_s", "_reader", "_scheme", "whole_body")

    def __init__(
        self, scheme: Scheme, claims: Claims, reader: EvidenceReader, judge: Judge, tolerance_s: float | None
    ) -> None:
        self._scheme = scheme
        self._claims = claims
        self._reader = reader
        self._judge = judge
        self._max_age_s = claims.max_age_s if tolerance_s is None else tolerance_s
        self.whole_body = scheme.document is not None

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        if self.whole_body:
            marks: list[bytes] = []
            return WholeVerification(lambda body: self._judge_body(body, head, now, marks), marks)
        value = self._header(head)
        return value if isinstance(value, Reason) else self._judge_token(value, head, now)

    def _header(self, head: RequestHead) -> bytes | Reason:
        value, prefix = single_field(head, self._scheme.headers[0]), self._scheme.prefix
        if isinstance(value, Reason):
            return value
        return value[len(prefix) :] if value.startswith(prefix) else MALFORMED

    def _judge_body(self, body: bytes, head: RequestHead, now: float, marks: list[bytes]) -> str | Reason:
        if not body:
            return MISSING
        verdict = self._judge_token(body, head, now)
        if isinstance(verdict, Reason):
            return verdict
        marks.append(hashlib.sha256(body.rpartition(b".")[0]).digest())
        return verdict.finish()

    def _judge_token(self, text: bytes, head: RequestHead, now: float) -> Verification | Reason:
        token = open_token(text)
        if token is None or token.algorithm not in self._claims.algorithms:
            return MALFORMED
        algorithm = HMAC_DIGESTS.get(token.algorithm, token.algorithm)
        match = self._judge.match(token.signed, [token.signature], algorithm, now)
        if match is None:
            return Reason.SIGNATURE_MISMATCH
        issuer = match.key_id.decode("utf-8", "replace") if self._claims.issuer_is_key_id else self._claims.issuer
        if issuer is not None and token.claims.get("iss") != issuer:
            return Reason.SIGNATURE_MISMATCH
        refused = self._judge_times(token.claims, now) or self._judge_purpose(token.claims, head)
        return refused or self._body_check(token, match.name)

    def _judge_times(self, claims: Tree, now: float) -> Reason | None:
        if any(name not in claims for name in self._claims.needed):
            return Reason.TIMESTAMP_MISSING
        times = _times_in(claims)
        if times is None:
            return MALFORMED
        leeway = self._claims.leeway_s
        if now - times.get("exp", now) > leeway:
            return Reason.TIMESTAMP_TOO_OLD
        if times.get("nbf", now) - now > leeway:
            return Reason.TIMESTAMP_IN_FUTURE
        return judge_time(times["iat"], now, self._max_age_s) if "iat" in times else None

    def _judge_purpose(self, claims: Tree, head: RequestHead) -> Reason | None:
        """Whether the token was made for this: for an event, and for this endpoint."""
        if not all(isinstance(claims.get(name), str) and claims[name] for name in self._claims.texts):
            return MALFORMED
        if self._claims.audience_is_url and not self._is_for(claims.get("aud"), head):
            return Reason.SIGNATURE_MISMATCH
        if self._claims.url is None:
            return None
        url = self._reader.signed_url(head)
        said = claims.get(self._claims.url)
        if url is None or not isinstance(said, str):
            return Reason.SIGNATURE_MISMATCH
        digest = hashlib.sha256(url).hexdigest().encode("ascii")
        return None if hmac.compare_digest(said.encode("utf-8", "replace"), digest) else Reason.SIGNATURE_MISMATCH

    def _is_for(self, audience: object, head: RequestHead) -> bool:
        """Whether ``audience`` is our URL; where that is not configured, whether its path and query are ours."""
        if not isinstance(audience, str):
            return False
        said = audience.encode("utf-8", "replace")
        url = self._reader.signed_url(head)
        return _ORIGIN.sub(b"", said, count=1) == head.target if url == b"" else said == url

    def _body_check(self, token: Token, name: str) -> Verification | Reason:
        if self._claims.body is None:
            return UncoveredVerification(name)
        mark = mark_of(token, self._claims.identity)
        said = token.claims.get(self._claims.body)
        if said is None and self._claims.body_optional:
            return TokenVerification(name, mark, None)
        if not isinstance(said, str):
            return MALFORMED
        expected = decode(self._claims.body_encoding, said.encode("utf-8", "replace"), _DIGEST_SIZE)
        return MALFORMED if expected is None else TokenVerification(name, mark, expected)


def _times_in(claims: Tree) -> dict[str, float] | None:
    """The times that a token has; None where one is no time."""
    found = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    times = {name: value for name, value in found.items() if isinstance(value, int | float) and abs(value) < 1e12}
    return None if len(times) < len(found) or any(isinstance(value, bool) for value in times.values()) else times


class DocumentPlan:
    """A scheme whose signed text is made from the parsed body."""

    __slots__ = ("_document", "_in_body", "_judge", "_needle", "_reader", "_scheme", "_topics")

    whole_body = True

    def __init__(
        self, scheme: Scheme, document: Document, reader: EvidenceReader, judge: Judge, topics: Sequence[str]
    ) -> None:
        """``topics`` are those that the route lists, where the document names one."""
        self._topics = frozenset(topic.encode("utf-8") for topic in topics)
        self._scheme = scheme
        self._document = document
        name = document.signature if document.items is None else None
        self._needle = None if name is None else name.rpartition(".")[2].encode("ascii")
        self._in_body = [part for part in reader.prefix if isinstance(part, Slot) and part.kind in FOUND_IN_BODY]
        self._reader = reader
        self._judge = judge

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        evidence = self._reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        marks: list[bytes] = []
        return WholeVerification(lambda body: self._judge_body(evidence, body, now, marks), marks)

    def _judge_body(self, evidence: Evidence, body: bytes, now: float, marks: list[bytes]) -> str | Reason:
        said = self._said_digest(evidence.context.head)
        if isinstance(said, Reason):
            return said
        if said is not None:
            return self._judge_url(evidence, said, body, now, marks)
        if self._needle is not None and not contains(body, self._needle):
            return MISSING  # before anything is parsed
        parts = self._open(body)
        if isinstance(parts, Reason):
            return parts
        verdict: str | Reason = MALFORMED
        for part in reversed(parts):  # so that the first one's secret is the one that is named
            verdict = self._judge_part(evidence, part, now, marks)
            if isinstance(verdict, Reason):
                return verdict
        return verdict

    def _said_digest(self, head: RequestHead) -> bytes | Reason | None:
        """The body's digest, where the signed URL holds one."""
        key = self._document.url_digest
        if key is None:
            return None
        said = single_param(head.query, key)
        if isinstance(said, Reason):
            return MALFORMED if said is MALFORMED else None
        # The provider adds it at the end. A text that was signed for a form may hold one anywhere else.
        last = (head.query or b"").rpartition(b"&")[2]
        return said if last == b"%b=%b" % (key, said) else MALFORMED

    def _open(self, body: bytes) -> list[Part] | Reason:
        if self._document.kind == "form":
            form = read_form(body)
            return MALFORMED if form is None else [FormPart(form, self._document)]
        tree = read_json(body)
        if tree is None:
            return MALFORMED
        elements = [tree] if self._document.items is None else list_items(tree, self._document.items)
        return [JsonPart(element, self._document) for element in elements] if elements else MALFORMED

    def _judge_part(self, evidence: Evidence, part: Part, now: float, marks: list[bytes]) -> str | Reason:
        document = self._document
        signatures = evidence.signatures if document.signature is None else self._signatures(evidence, part)
        if isinstance(signatures, Reason):
            return signatures
        refused = None
        if document.timestamp is not None:
            refused = self._reader.judge_text(part.text(document.timestamp) or b"", now)
        refused = refused or self._judge_place(evidence.context.head, part)
        if refused is not None:
            return refused
        algorithm = self._algorithm(part)
        messages = self._messages(evidence, part)
        if algorithm is None or isinstance(messages, Reason):
            return MALFORMED
        return self._match(messages, signatures, algorithm, now, marks)

    def _signatures(self, evidence: Evidence, part: Part) -> list[bytes] | Reason:
        """Those in the body."""
        text = part.text(self._document.signature or "")
        if not text:
            return MISSING
        if self._scheme.method is Method.EQUAL:
            return [text]
        read = self._reader.parse(text, evidence.context)
        return MALFORMED if read is None else read

    def _judge_place(self, head: RequestHead, part: Part) -> Reason | None:
        """Why the document is none of the route's, or is not what the head says of it."""
        document = self._document
        if document.topic is not None and part.text(document.topic) not in self._topics:
            return Reason.SIGNATURE_MISMATCH
        for name, path in document.echoes:
            said = head.values.get(name)
            if name in head.repeated or (said is not None and said != part.text(path)):
                return MALFORMED
        return None

    def _match(
        self, messages: list[bytes], signatures: list[bytes], algorithm: str, now: float, marks: list[bytes]
    ) -> str | Reason:
        name: str | None = None
        for message in messages:
            match = self._judge.match(message, signatures, algorithm, now)
            if match is not None and name is None:
                name = match.name
                if self._scheme.method is not Method.EQUAL:  # a word that every delivery repeats marks none
                    marks.append(hashlib.sha256(message).digest())
        return Reason.SIGNATURE_MISMATCH if name is None else name

    def _algorithm(self, part: Part) -> str | None:
        document = self._document
        if document.algorithm_by is None:
            return self._scheme.algorithm
        word = (part.text(document.algorithm_by) or b"").decode("utf-8", "replace")
        return dict(document.algorithms).get(word)

    def _ends_its_url(self, part: Part, context: Context) -> bool:
        if not isinstance(part, FormPart) or not self._scheme.signs_url or self._reader.whole_url:
            return True
        sorts_query = "{sorted_url}" in self._scheme.signed
        return part.ends_its_url(context.url, context.head.method, sorts_query=sorts_query)

    def _messages(self, evidence: Evidence, part: Part) -> list[bytes] | Reason:
        """The texts that may have been signed."""
        context = evidence.context
        if not self._ends_its_url(part, context):
            return MALFORMED
        found = {(slot.kind, slot.name): part.slot(slot, context.url) for slot in self._in_body}
        context.document = {slot: value for slot, value in found.items() if value is not None}
        if len(context.document) < len(found):
            return MALFORMED
        messages: list[bytes] = []
        for url in both_ports(context.url) if self._document.either_port else [context.url]:
            context.url = url
            message = context.render(self._reader.prefix)
            if isinstance(message, Reason):
                return message
            messages.append(message)
        return messages + [message + b"\n" for message in messages if self._document.newline]

    def _judge_url(self, evidence: Evidence, said: bytes, body: bytes, now: float, marks: list[bytes]) -> str | Reason:
        """The URL alone is signed, and carries the digest of the body."""
        url = evidence.context.url
        urls = both_ports(url) if self._document.either_port else [url]
        verdict = self._match(urls, evidence.signatures, self._scheme.algorithm, now, marks)
        digest = hashlib.sha256(body).hexdigest().encode("ascii")
        return verdict if hmac.compare_digest(digest, said) else Reason.SIGNATURE_MISMATCH
