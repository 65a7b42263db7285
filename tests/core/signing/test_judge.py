"""Judges of whole messages."""

from __future__ import annotations

import hashlib
import hmac

from proxy.core.signing.mac import MacJudge, Match, WordJudge
from proxy.core.signing.scheme import Method, Scheme, Secret


def test_the_secret_that_signed_is_named_with_its_id():
    scheme = Scheme((b"x",), two_part=True)
    judge = MacJudge(scheme, (Secret("a", b"id-a:ka"), Secret("b", b"id-b:k:b")), ["sha1", "sha256"])
    signature = hmac.digest(b"k:b", b"message", "sha1")
    assert judge.match(b"message", [b"", signature], "sha1", 0.0) == Match("b", b"id-b")
    assert judge.match(b"message", [signature], "sha256", 0.0) is None
    assert judge.match(b"other", [signature], "sha1", 0.0) is None


def test_dead_secrets_match_nothing():
    dead = Secret("a", b"word", not_after=10)
    signature = hmac.digest(b"word", b"m", "sha256")
    assert MacJudge(Scheme((b"x",)), (dead,), ["sha256"]).match(b"m", [signature], "sha256", 10) is None
    assert WordJudge((dead,)).match(b"", [b"word"], "", 10) is None
    assert WordJudge((dead,)).match(b"", [b"word"], "", 9) == Match("a")


def test_words_are_compared_whole():
    judge = WordJudge((Secret("a", b"word"), Secret("b", b"other")))
    assert judge.match(b"", [b"other"], "", 0) == Match("b")
    assert judge.match(b"", [b"wor"], "", 0) is None


def test_a_plain_hash_is_no_hmac():
    judge = MacJudge(Scheme((b"x",), method=Method.HASH), (Secret("a", b"key"),), ["sha256"])
    assert judge.match(b"m", [hashlib.sha256(b"keym").digest()], "sha256", 0) == Match("a")
    assert judge.match(b"m", [hmac.digest(b"key", b"m", "sha256")], "sha256", 0) is None
    judge = MacJudge(Scheme((b"x",)), (Secret("a", b"key"),), ["sha256"])
    assert judge.match(b"m", [hashlib.sha256(b"keym").digest()], "sha256", 0) is None
