"""From the secret as it is shown to the key."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.scheme import SecretForm
from tests.deliveries import keys
from tests.examples import examples


@pytest.mark.parametrize(
    ("slug", "shown", "key"),
    [
        ("github", b"text", b"text"),
        ("stripe", b"whsec_AAEC", b"whsec_AAEC"),
        ("standard_webhooks", b"whsec_AAEC", b"\0\1\2"),
        ("standard_webhooks", b"AAEC", b"\0\1\2"),
        ("brex", b"AAEC", b"\0\1\2"),
        ("supabase", b"v1,whsec_AAEC", b"\0\1\2"),
        ("openai", b"whsec_AAEC", b"\0\1\2"),
        ("openai", b"plain text", b"plain text"),
        ("polar", b"polar_whs_AAEC", b"polar_whs_AAEC"),
        ("airtable", b"AAEC", b"\0\1\2"),
        ("onfleet", b"00fF", b"\0\xff"),
        ("telegram", b"token", b"token"),
        ("livekit", b"id:se:cret", b"id:se:cret"),
        ("braintree", b"pub:private", b"pub:" + hashlib.sha1(b"private").digest()),
        ("braintree", b"pub:pri:vate", b"pub:" + hashlib.sha1(b"pri:vate").digest()),
    ],
)
def test_decoding(slug, shown, key):
    assert decode_secret(PROVIDERS[slug], shown) == key


@pytest.mark.parametrize(
    ("slug", "shown", "mend"),
    [
        ("github", b"", "empty"),
        ("telegram", b"", "empty"),
        ("standard_webhooks", b"whsec_s3cr3t!", "^the secret of Standard Webhooks is not written in base64, with"),
        ("standard_webhooks", b"whsec_", "base64"),
        ("openai", b"whsec_s3cr3t!", "base64"),
        ("onfleet", b"s3cr3t", "hex"),
        ("onfleet", b"abc", "hex"),
        ("livekit", b"s3cr3t", "first:second"),
        ("livekit", b"s3cr3t:", "first:second"),
        ("livekit", b":s3cr3t", "first:second"),
        ("discord", b"s3cr3t", "public key"),
    ],
)
def test_what_cannot_be_decoded(slug, shown, mend):
    with pytest.raises(ValueError, match=mend) as caught:
        decode_secret(PROVIDERS[slug], shown)
    assert "s3cr3t" not in str(caught.value)


def test_both_parts_are_told_whose_they_are():
    livekit = PROVIDERS["livekit"]
    in_hex = replace(livekit, scheme=replace(livekit.scheme, secret=SecretForm.HEX))
    assert decode_secret(in_hex, b"id:00fF") == b"id:\0\xff"
    with pytest.raises(ValueError, match=r"^the secret of LiveKit is not written in hex"):
        decode_secret(in_hex, b"id:s3cr3t")


def test_a_public_key_is_read_as_its_provider_shows_it_and_is_of_its_kind():
    spki = keys().ed25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert decode_secret(PROVIDERS["discord"], keys().ed25519_raw.hex().encode()) == spki
    with pytest.raises(ValueError, match="is of another kind: the provider signs with ed25519"):
        decode_secret(PROVIDERS["discord"], keys().rsa_pem)


@pytest.mark.parametrize("slug", PROVIDERS)
@examples(10)
@given(shown=st.binary(max_size=40))
def test_decoding_raises_value_errors_only(slug, shown):
    try:
        key = decode_secret(PROVIDERS[slug], shown)
    except ValueError:
        return
    assert key
