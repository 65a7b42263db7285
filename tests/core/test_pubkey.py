"""Public keys as providers write them, and signatures that are not theirs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pubkey import decode_public_key, load_key
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Method, Secret, SecretForm
from proxy.reasons import Reason
from tests.deliveries import BODY, NOW, Delivery, b64, b64url, check_for, hexa, jwt, keys, make, run, with_value

DER = serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def jwk(**values):
    return json.dumps(
        {name: value if isinstance(value, str) else b64url(value).decode() for name, value in values.items()}
    )


def test_every_writing_of_a_key_is_the_same_key():
    numbers = keys().rsa.public_key().public_numbers()
    spki = keys().rsa.public_key().public_bytes(DER, SPKI)
    text = jwk(kty="RSA", n=numbers.n.to_bytes(256), e=b"\1\0\1").encode()
    lines = b"\n".join(b64(spki)[at : at + 64] for at in range(0, 400, 64))
    for shown in (keys().rsa_pem, keys().rsa_certificate, b64(spki), text, keys().rsa_pem + b"\n\n", lines):
        assert decode_public_key(SecretForm.PUBLIC_KEY, Method.RSA, shown) == spki
    raw = keys().ed25519_raw
    spki = keys().ed25519.public_key().public_bytes(DER, SPKI)
    okp = jwk(kty="OKP", crv="Ed25519", x=raw).encode()
    for form, shown in (
        (SecretForm.ED25519_HEX, hexa(raw)),
        (SecretForm.ED25519_HEX, hexa(raw).upper()),
        (SecretForm.ED25519_BASE64, b64(raw)),
        (SecretForm.ED25519_BASE64, b"whpk_" + b64(raw)),
        (SecretForm.PUBLIC_KEY, okp),
    ):
        assert decode_public_key(form, Method.ED25519, shown) == spki
    assert decode_public_key(SecretForm.PUBLIC_KEY, Method.ECDSA, keys().ec_jwk) == decode_public_key(
        SecretForm.PUBLIC_KEY, Method.ECDSA, keys().ec_spki
    )


def test_a_key_of_another_kind_is_an_error():
    with pytest.raises(ValueError, match="signs with ecdsa"):
        decode_public_key(SecretForm.PUBLIC_KEY, Method.ECDSA, keys().rsa_pem)


@pytest.mark.parametrize("form", [SecretForm.PUBLIC_KEY, SecretForm.ED25519_HEX, SecretForm.ED25519_BASE64])
@given(
    shown=st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"{}", b'{"kty":"EC"}', b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}', b'{"kty":"RSA"}']),
        st.just(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        st.just(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        st.just(jwk(kty="OKP", crv="Ed25519", x=b"short").encode()),
    )
)
def test_what_is_no_key_is_a_value_error_without_the_text(form, shown):
    with pytest.raises(ValueError, match="no public key") as caught:
        decode_public_key(form, Method.JWT, shown)
    assert caught.value.__cause__ is None
    assert str(caught.value) == (
        "this is no public key: give PEM, a certificate in PEM, a JSON Web Key, or the text that the provider shows"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"kty": "OKP", "crv": "X25519"},
        {"kty": "OKP"},
        {"kty": "oct", "crv": "Ed25519"},
        {"crv": "Ed25519"},
        {"kty": "EC", "crv": "Ed25519"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "RSA"},
    ],
    ids=lambda values: " ".join(values.values()),
)
def test_a_json_web_key_says_of_which_kind_it_is(values):
    good = {"x": keys().ed25519_raw}
    assert decode_public_key(SecretForm.PUBLIC_KEY, Method.JWT, jwk(kty="OKP", crv="Ed25519", **good).encode())
    with pytest.raises(ValueError, match="no public key"):
        decode_public_key(SecretForm.PUBLIC_KEY, Method.JWT, jwk(**values, **good).encode())


def test_a_key_that_no_provider_uses():
    other = dsa.generate_private_key(1024).public_key().public_bytes(DER, SPKI)
    with pytest.raises(ValueError, match="kind"):
        load_key(other)


@pytest.mark.parametrize("slug", ["sendgrid", "wise", "paypal"])
def test_bodies_stream(slug):
    delivery = make(slug)
    check = check_for(PROVIDERS[slug], delivery.secret)
    assert not check.whole_body
    assert run(check, delivery, cuts=range(len(delivery.body))) == "0"


def test_junk_for_an_ecdsa_signature_is_a_mismatch():
    delivery = make("sendgrid")
    check = check_for(PROVIDERS["sendgrid"], delivery.secret)
    header = delivery.fields[0][0]
    for junk in (b"\0", b"0" * 70, b"\x30\x06\x02\x01\x00\x02\x01\x00"):
        assert run(check, with_value(delivery, header, b64(junk))) is Reason.SIGNATURE_MISMATCH


def test_few_signatures_are_tried():
    """Each costs a hundred comparisons, and Ed25519 hashes the whole body for each."""
    delivery = make("standard_webhooks_v1a")
    header, value = next((name, value) for name, value in delivery.fields if value.startswith(b"v1a,"))
    check = check_for(PROVIDERS["standard_webhooks_v1a"], delivery.secret)
    other = b"v1a," + b64(bytes(64))
    assert run(check, with_value(delivery, header, b" ".join([other] * 3 + [value]))) == "0"
    assert run(check, with_value(delivery, header, b" ".join([other] * 4 + [value]))) is Reason.SIGNATURE_MALFORMED


def test_keys_of_one_text_share_its_digest(monkeypatch):
    delivery = make("sendgrid")
    other = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(DER, SPKI)
    check = check_for(PROVIDERS["sendgrid"], b64(other), delivery.secret)
    hashed, real = [], hashlib.new
    monkeypatch.setattr("proxy.core.pubkey.hashlib.new", lambda *given: hashed.append(given) or real(*given))
    assert run(check, delivery) == "1"
    assert len(hashed) == 1


def test_a_signature_of_another_message_is_a_mismatch():
    for slug in ("discord", "sendgrid", "wise"):
        delivery = make(slug)
        check = check_for(PROVIDERS[slug], delivery.secret)
        assert run(check, delivery) == "0"
        assert run(check, replace(delivery, body=delivery.body + b" ")) is Reason.SIGNATURE_MISMATCH


def test_a_key_that_cannot_sign_so_matches_nothing():
    other = keys().ed25519.public_key().public_bytes(DER, SPKI)
    check = SignatureCheck(PROVIDERS["sendgrid"].scheme, (Secret("0", other),))
    assert run(check, make("sendgrid")) is Reason.SIGNATURE_MISMATCH


def test_a_token_may_have_to_name_its_key():
    scheme = PROVIDERS["fusionauth_public_key"].scheme
    scheme = replace(scheme, two_part=True, claims=replace(scheme.claims, issuer_is_key_id=True))
    check = SignatureCheck(scheme, (Secret("0", b"me:" + keys().ed25519.public_key().public_bytes(DER, SPKI)),))
    claims = {"request_body_sha256": b64(sha256(BODY).digest()).decode()}
    for issuer, verdict in (("me", "0"), ("you", Reason.SIGNATURE_MISMATCH)):
        token = jwt(b"", claims | {"iss": issuer}, "EdDSA")
        assert run(check, Delivery([("X-FusionAuth-Signature-JWT", token)])) == verdict


def test_paypal_binds_the_webhook():
    delivery = make("paypal")
    other = delivery.secret.replace(b"WEBHOOK7", b"WEBHOOK8")
    assert run(check_for(PROVIDERS["paypal"], other), delivery) is Reason.SIGNATURE_MISMATCH
    assert run(check_for(PROVIDERS["paypal"], other, delivery.secret), delivery) == "1"
    missing = replace(delivery, fields=delivery.fields[:2])
    assert run(check_for(PROVIDERS["paypal"], delivery.secret), missing) is Reason.SIGNATURE_MISSING


def test_a_p384_key_does_not_pass_for_es256():
    key = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(serialization.Encoding.PEM, SPKI)
    delivery = make("plaid")
    assert run(check_for(PROVIDERS["plaid"], key), delivery, NOW) is Reason.SIGNATURE_MISMATCH
