"""A private key of one's own stands in for the provider's: the route is given its public half."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from proxy.core.pubkey import sign_message
from proxy.core.request_head import read_request_head
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.proof import SignatureCheck, needs_public_keys
from proxy.core.signing.scheme import Method, Secret
from proxy.core.signing.signer import plays_key
from proxy.reasons import Reason
from proxy.tools.samples import choose
from proxy.tools.send import tampered
from proxy.tools.sending import Order, compose
from tests.deliveries import NOW
from tests.policies import HEAD_LIMITS

KEYS: dict[Method, Any] = {
    Method.ED25519: ed25519.Ed25519PrivateKey.generate(),
    Method.ECDSA: ec.generate_private_key(ec.SECP256R1()),
    Method.RSA: rsa.generate_private_key(65537, 2048),
}
PUBLIC = [p for p in PROVIDERS.values() if p.scheme is not None and needs_public_keys(p.scheme)]
PLAYED = [provider.slug for provider in PUBLIC if plays_key(provider)]
PEM = {method: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for method, key in KEYS.items()}


def order(slug: str) -> tuple[Order, Secret]:
    provider = PROVIDERS[slug]
    scheme = provider.scheme
    public = KEYS[scheme.method].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    prefix = b"id:" if scheme.two_part else b""
    made = Order(provider, prefix + PEM[scheme.method], "https://h.example.com/in", choose(provider, None), NOW)
    return made, Secret("s", decode_secret(provider, prefix + public))


@pytest.mark.parametrize("slug", PLAYED)
def test_what_it_signs_is_admitted(slug: str):
    made, secret = order(slug)
    for delivery, expected in ((compose(made), "s"), (tampered(made, "body"), Reason.SIGNATURE_MISMATCH)):
        wire = delivery.wire()
        head, consumed = read_request_head(wire, HEAD_LIMITS)
        check = SignatureCheck(made.provider.scheme, (secret,), None, "https://h.example.com")
        begun = check.begin(head, NOW)
        assert (begun if isinstance(begun, Reason) else begun.verify(wire[consumed:])) == expected
        assert b"PRIVATE" not in wire


def test_those_that_people_use_are_played():
    assert {"discord", "sendgrid", "paypal", "telnyx", "wise"} <= set(PLAYED)


@pytest.mark.parametrize("kind", ["secret", "newline"])
def test_a_key_is_no_text_to_mistype(kind: str):
    with pytest.raises(ValueError, match="use --tamper signature"):
        tampered(order("discord")[0], kind)


LOCKED = KEYS[Method.ED25519].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


@pytest.mark.parametrize("pem", [b"", b"hush", b"-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----", LOCKED])
def test_what_is_no_key_is_said_without_it(pem: bytes):
    with pytest.raises(ValueError, match="no private key in PEM") as caught:
        sign_message(pem, Method.ED25519, "sha256", b"m")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("method", KEYS)
@pytest.mark.parametrize("other", KEYS)
def test_a_key_of_another_kind(method: Method, other: Method):
    if method is other:
        assert sign_message(PEM[method], method, "sha256", b"m")
        return
    with pytest.raises(ValueError, match="of another kind"):
        sign_message(PEM[other], method, "sha256", b"m")
