"""HMAC (RFC 2104) and plain hashes over a streamed body, one running digest per live secret; and methods that take the
body in one piece.

A key is absorbed once, when the configuration is loaded, and every request copies the result. All signatures and all
secrets are compared, always to the end, with ``hmac.compare_digest`` on bytes.

A ``Judge`` does so where nothing streams: for tokens of the JWT kind and bodies that must be parsed. ``core.pubkey``
has the same for public keys. A judge never says which part of a comparison failed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Protocol, Self

from proxy.core.signing.evidence import EvidenceReader
from proxy.core.signing.scheme import BodyForm, Method, Scheme, Secret
from proxy.core.signing.template import Transform, make_transform
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

_BLANKS = b" \t\r\n"  # RFC 8259 section 2

RAW_ONLY = (BodyForm.RAW,)
SIGNATURE_MISMATCH = Reason.SIGNATURE_MISMATCH


class Hash(Protocol):
    """What the objects of ``hmac`` and ``hashlib`` have in common."""

    def copy(self) -> Self:
        """Another object in this state."""

    def update(self, data: Piece, /) -> None:
        """Take more."""

    def digest(self) -> bytes:
        """The value so far."""


class Verification(Protocol):
    """The check of one body. ``update`` with each chunk as it comes, then ``finish`` once; nothing here ever raises."""

    __slots__ = ()

    #: The verdict is made of the whole body at its end, which is kept by the gate: nothing is made of its chunks.
    wants_whole: ClassVar[bool] = False
    #: Each chunk is rewritten before it is hashed.
    rewrites: ClassVar[bool] = False

    def update(self, chunk: Piece) -> None:
        """Take the next bytes of the raw body."""

    def finish(self) -> str | Reason:
        """The name of the secret that matched, or why none did."""

    def verify(self, body: bytes) -> str | Reason:
        """``update`` and ``finish`` in one call, for a body that is there whole."""
        self.update(body)
        return self.finish()

    def marks(self) -> list[bytes]:
        """What was signed and found right, as values that its signer alone can make, the same however often it is sent
        and whichever of its signatures are left; [] where one signature serves many deliveries. After the verdict.
        """


def keyed_hash(key: bytes, algorithm: str, method: Method = Method.HMAC) -> Hash:
    """A digest with its key, copied for each message: HMAC, or for ``Method.HASH`` the digest of key and content."""
    return hashlib.new(algorithm, key) if method is Method.HASH else hmac.new(key, digestmod=algorithm)


def digest(keyed: Hash, message: bytes) -> bytes:
    """The value for a whole message; ``keyed`` stays as it is."""
    running = keyed.copy()
    running.update(message)
    return running.digest()


#: A live secret: its name and its key.
Live = tuple[str, Hash]


class MacVerification(Verification):
    """One body against all signatures and all live secrets, with a running digest for each of these."""

    __slots__ = ("_running", "_signatures", "_suffix")

    def __init__(self, live: Sequence[Live], signatures: list[bytes], prefix: bytes, suffix: bytes) -> None:
        self._running = [(name, key.copy()) for name, key in live]
        self._signatures = signatures
        self._suffix = suffix
        if prefix:
            for _, running in self._running:
                running.update(prefix)

    def update(self, chunk: Piece) -> None:
        for _, running in self._running:
            running.update(chunk)

    def finish(self) -> str | Reason:
        matched: str | None = None
        for name, running in self._running:
            if self._suffix:
                running.update(self._suffix)
            expected = running.digest()
            for signature in self._signatures:
                # Comparing comes first: no secret is skipped because another one matched.
                if hmac.compare_digest(expected, signature) and matched is None:
                    matched = name
        return SIGNATURE_MISMATCH if matched is None else matched

    def marks(self) -> list[bytes]:
        """The MACs that matched, of all secrets: a signature can be left out when a delivery is replayed."""
        # Computed again, and only where it is asked for: the verdict itself has no time for it.
        macs = [running.digest() for _, running in self._running]
        return [mac for mac in macs if any(hmac.compare_digest(mac, signature) for signature in self._signatures)]


class TransformedVerification(MacVerification):
    """A MAC of the body in another form, or in one of several: each secret is tried with each form."""

    __slots__ = ("_transforms",)
    rewrites = True

    def __init__(
        self, live: Sequence[Live], signatures: list[bytes], prefix: bytes, suffix: bytes, forms: tuple[BodyForm, ...]
    ) -> None:
        super().__init__([one for _ in forms for one in live], signatures, prefix, suffix)
        self._transforms: list[Transform | None] = [make_transform(form) for form in forms for _ in live]

    def update(self, chunk: Piece) -> None:
        for (_, running), transform in zip(self._running, self._transforms, strict=True):
            running.update(chunk if transform is None else transform.feed(bytes(chunk)))

    def finish(self) -> str | Reason:
        for (_, running), transform in zip(self._running, self._transforms, strict=True):
            if transform is not None:
                running.update(transform.finish())
        return super().finish()


class ShapedVerification(MacVerification):
    """A MAC of bodies that all begin, and perhaps end, in a certain way, blanks of JSON aside. Others are no
    deliveries, though their signature is right: the key signs other texts too, or the parts beside the body could take
    of it.
    """

    __slots__ = ("_came", "_first", "_last", "_shape")

    def __init__(
        self, shape: tuple[bytes, bytes], live: Sequence[Live], signatures: list[bytes], prefix: bytes, suffix: bytes
    ) -> None:
        """``shape``: the bytes that may begin a body, and those that may end it, b"" for any; then it is not empty."""
        super().__init__(live, signatures, prefix, suffix)
        self._shape = shape
        self._came = False
        self._first = self._last = b""

    def update(self, chunk: Piece) -> None:
        super().update(chunk)
        text = bytes(chunk)
        self._came = self._came or bool(text)
        self._first = self._first or text.lstrip(_BLANKS)[:1]
        if self._shape[1]:
            self._last = text.rstrip(_BLANKS)[-1:] or self._last

    def finish(self) -> str | Reason:
        matched = super().finish()
        opening, closing = self._shape
        if isinstance(matched, Reason) or (closing and not self._came):
            return matched
        fits = self._first and self._first in opening and (not closing or self._last in closing)
        return matched if fits else Reason.SIGNATURE_MALFORMED


class HeadVerification(MacVerification):
    """A MAC that covers nothing of the body."""

    __slots__ = ()

    def update(self, chunk: Piece) -> None:
        """Nothing of it counts."""


class MacPlan:
    """A scheme with its keys, ready for requests."""

    __slots__ = ("_dated", "_forms", "_is_bare", "_keys", "_live", "_make", "_reader")

    whole_body = False

    def __init__(self, scheme: Scheme, secrets: tuple[Secret, ...], reader: EvidenceReader) -> None:
        self._reader = reader
        self._forms = scheme.body_forms
        self._keys = [
            (secret, keyed_hash(scheme.split_key(secret.value)[1], scheme.algorithm, scheme.method))
            for secret in secrets
        ]
        self._dated = any(secret.has_dates for secret in secrets)
        self._live: tuple[Live, ...] = tuple((secret.name, key) for secret, key in self._keys)
        self._make: Callable[[Sequence[Live], list[bytes], bytes, bytes], MacVerification] = MacVerification
        if not reader.covers_body:
            self._make = HeadVerification
        elif scheme.opening:
            self._make = partial(ShapedVerification, (scheme.opening, b""))
        elif scheme.json_body:
            self._make = partial(ShapedVerification, (b"{[", b"}]"))
        whole = self._make is MacVerification and self._forms == RAW_ONLY
        self._is_bare = reader.is_bare and whole and not self._dated

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        reader = self._reader
        if self._is_bare:
            signature = reader.read_bare(head)
            return signature if isinstance(signature, Reason) else MacVerification(self._live, [signature], b"", b"")
        evidence = reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        prefix = evidence.context.render(reader.prefix) if reader.prefix else b""
        if isinstance(prefix, Reason):
            return prefix
        suffix = evidence.context.render(reader.suffix) if reader.suffix else b""
        if isinstance(suffix, Reason):
            return suffix
        live = self._live
        if self._dated:
            live = tuple((secret.name, key) for secret, key in self._keys if secret.live(now))
            if not live:
                return SIGNATURE_MISMATCH
        if self._forms == RAW_ONLY:
            return self._make(live, evidence.signatures, prefix, suffix)
        return TransformedVerification(live, evidence.signatures, prefix, suffix, self._forms)


@frozen
class Match:
    """The secret that matched: its name, and the first part of a two-part secret."""

    name: str
    key_id: bytes = b""


class Judge(Protocol):
    """The live secrets of a route."""

    def match(self, message: bytes, signatures: Sequence[bytes], algorithm: str, now: float) -> Match | None:
        """Whose signature over ``message`` is among ``signatures``; ``algorithm`` as the scheme names it."""


class MacJudge:
    """HMAC or plain hash. A signature that says which key made it is compared together with the name of the key."""

    __slots__ = ("_keys", "_pair")

    def __init__(self, scheme: Scheme, secrets: tuple[Secret, ...], algorithms: Sequence[str]) -> None:
        method = Method.HASH if scheme.method is Method.HASH else Method.HMAC
        self._pair = scheme.listing.pair if scheme.listing is not None and scheme.listing.keyed else None
        self._keys = [
            (secret, key_id, {name: keyed_hash(key, name, method) for name in algorithms})
            for secret in secrets
            for key_id, key in [scheme.split_key(secret.value)]
        ]

    def match(self, message: bytes, signatures: Sequence[bytes], algorithm: str, now: float) -> Match | None:
        """Whose signature over ``message`` is among ``signatures``."""
        found: Match | None = None
        for secret, key_id, keyed in self._keys:
            if not secret.live(now):
                continue
            expected = digest(keyed[algorithm], message)
            if self._pair is not None:
                expected = key_id + self._pair + expected
            for signature in signatures:
                if hmac.compare_digest(expected, signature) and found is None:
                    found = Match(secret.name, key_id)
        return found


class WordJudge:
    """A word that is repeated in the body. Hashed before it is compared, so its length does not show."""

    __slots__ = ("_words",)

    def __init__(self, secrets: tuple[Secret, ...]) -> None:
        self._words = [(secret, hashlib.sha256(secret.value).digest()) for secret in secrets]

    def match(self, _message: bytes, signatures: Sequence[bytes], _algorithm: str, now: float) -> Match | None:
        """Whose word is among ``signatures``."""
        digests = [hashlib.sha256(signature).digest() for signature in signatures]
        found: Match | None = None
        for secret, word in self._words:
            if secret.live(now):
                for digest in digests:
                    if hmac.compare_digest(word, digest) and found is None:
                        found = Match(secret.name)
        return found


class WholeVerification(Verification):
    """Lets ``judge`` say what it makes of the body; where that comes in chunks, they are kept."""

    __slots__ = ("_chunks", "_judge", "_marks")
    wants_whole = True

    def __init__(self, judge: Callable[[bytes], str | Reason], marks: list[bytes]) -> None:
        """``judge`` puts into ``marks`` what it finds right."""
        self._judge = judge
        self._marks = marks
        self._chunks: list[bytes] = []

    def update(self, chunk: Piece) -> None:
        self._chunks.append(bytes(chunk))

    def finish(self) -> str | Reason:
        return self._judge(b"".join(self._chunks))

    def verify(self, body: bytes) -> str | Reason:
        return self._judge(body)

    def marks(self) -> list[bytes]:
        return self._marks


class PlainPlan:
    """A method that takes its message in one piece: the template around the raw body."""

    __slots__ = ("_judge", "_reader", "_scheme")

    whole_body = True

    def __init__(self, scheme: Scheme, reader: EvidenceReader, judge: Judge) -> None:
        self._scheme = scheme
        self._reader = reader
        self._judge = judge

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        evidence = self._reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        prefix = evidence.context.render(self._reader.prefix)
        if isinstance(prefix, Reason):
            return prefix
        suffix = evidence.context.render(self._reader.suffix)
        if isinstance(suffix, Reason):
            return suffix
        signatures = evidence.signatures
        marks: list[bytes] = []

        def judge(body: bytes) -> str | Reason:
            message = b"".join((prefix, body, suffix))  # which lets other threads run, unlike +
            match = self._judge.match(message, signatures, self._scheme.algorithm, now)
            if match is None:
                return Reason.SIGNATURE_MISMATCH
            marks.append(hashlib.sha256(message).digest())
            return match.name

        return WholeVerification(judge, marks)
