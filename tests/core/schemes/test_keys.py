"""From the secret as it is shown to the key."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS, decode_secret
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
    ],
)
def test_decoding(slug, shown, key):
    assert decode_secret(PROVIDERS[slug], shown) == key


@pytest.mark.parametrize(
    ("slug", "shown", "mend"),
    [
        ("github", b"", "empty"),
        ("telegram", b"", "empty"),
        ("standard_webhooks", b"whsec_s3cr3t!", "base64"),
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


@pytest.mark.parametrize("slug", PROVIDERS)
@examples(10)
@given(shown=st.binary(max_size=40))
def test_decoding_raises_value_errors_only(slug, shown):
    try:
        key = decode_secret(PROVIDERS[slug], shown)
    except ValueError:
        return
    assert key
