"""Compares signatures over a message that is there whole with those of all live secrets, always to the end.

Used where nothing streams: tokens of the JWT kind, bodies that must be parsed. ``proxy.core.pubkey`` has the same for
public keys. A judge never says which part of a comparison failed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol

from proxy.core.secrets import Secret
from proxy.core.signing.mac import digest, keyed_hash
from proxy.core.signing.scheme import Method, Scheme
from proxy.values import frozen


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
