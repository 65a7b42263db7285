"""Keyed digests are those of ``hmac``, and comparing goes to the end."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.mac import digest, keyed_hash
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Listing, Method, Scheme, Secret
from tests.deliveries import Delivery, head_of


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@given(key=st.binary(max_size=300), message=st.binary(max_size=200))
def test_it_is_hmac(algorithm, key, message):
    assert digest(keyed_hash(key, algorithm), message) == hmac.digest(key, message, algorithm)


@pytest.mark.parametrize(("algorithm", "block"), [("sha1", 64), ("sha256", 64), ("sha384", 128), ("sha512", 128)])
def test_a_key_longer_than_a_block_is_hashed_first(algorithm, block):
    for length in (0, block - 1, block, block + 1, 500):
        key = b"k" * length
        assert digest(keyed_hash(key, algorithm), b"body") == hmac.digest(key, b"body", algorithm)


def test_the_plain_hash_begins_with_the_key():
    assert digest(keyed_hash(b"key", "sha256", Method.HASH), b"body") == hashlib.sha256(b"keybody").digest()


def test_every_secret_is_compared_with_every_signature(monkeypatch):
    seen = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or real(a, b))
    check = SignatureCheck(Scheme((b"x-sig",), listing=Listing()), (Secret("a", b"a"), Secret("b", b"b")))
    good = hmac.digest(b"a", b"body", "sha256").hex()
    head = head_of(Delivery([("x-sig", f"v1={good},v1={'0' * 64}".encode())]))
    assert check.begin(head, 0.0).verify(b"body") == "a"
    assert len(seen) == 4
    assert all(isinstance(one, bytes) and len(one) == 32 for pair in seen for one in pair)


def test_a_request_does_not_touch_the_key_of_the_next():
    keyed = keyed_hash(b"key", "sha256")
    first, second = keyed.copy(), keyed.copy()
    first.update(b"one")
    second.update(b"two")
    assert first.digest() == hmac.digest(b"key", b"one", "sha256")
    assert second.digest() == hmac.digest(b"key", b"two", "sha256")
