"""What a head claims: lists, envelopes, required fields, and the order of the reasons."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.core.signing.evidence import Evidence, EvidenceReader, public_url_of, signature_size
from proxy.core.signing.scheme import Encoding, Listing, Method, Scheme, Timestamp
from proxy.core.signing.signer import sign
from proxy.reasons import Reason
from tests.deliveries import NOW, RAW, Delivery, b64, check_for, head_of, mac, run

A, B = b"aa" * 32, b"bb" * 32
MALFORMED = Reason.SIGNATURE_MALFORMED


def read(scheme, *fields, now=0.0):
    found = EvidenceReader(scheme, None, None).read(head_of(Delivery(list(fields))), now)
    return found.signatures if isinstance(found, Evidence) else found


PAIRS = Scheme((b"s",), listing=Listing(timestamp=b"t"), timestamp=Timestamp())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"t=0,v1=" + A, [bytes.fromhex(A.decode())]),
        (b"v1=" + A + b",t=0,v1=" + B, [bytes.fromhex(A.decode()), bytes.fromhex(B.decode())]),
        (b"t=0,v0=zz,v1=" + A, [bytes.fromhex(A.decode())]),
        (b"t=0,t=1,v1=" + A, MALFORMED),
        (b"t=0,v1=" + A + b",v1=zz", MALFORMED),
        (b"t=0,v1=" + A + b",", MALFORMED),
        (b"t=0, v1=" + A, MALFORMED),
        (b"t=0", MALFORMED),
        (b"t=0,v2=" + A, MALFORMED),
        (b"v1=" + A, Reason.TIMESTAMP_MISSING),
        (b"t=,v1=" + A, Reason.TIMESTAMP_MISSING),
        (b"t=x,v1=" + A, MALFORMED),
        (b"t=1000000000000,v1=" + A, MALFORMED),  # milliseconds, where seconds are signed
        (b"t=1970-01-01T00:00:00Z,v1=" + A, MALFORMED),
        (b"t=301,v1=" + A, Reason.TIMESTAMP_IN_FUTURE),
    ],
)
def test_pairs(value, expected):
    assert read(PAIRS, ("s", value)) == expected


def test_blanks_only_where_the_provider_writes_them():
    scheme = Scheme((b"s",), listing=Listing(timestamp=b"t", blanks=True), timestamp=Timestamp())
    assert read(scheme, ("s", b"t=0, v1=" + A)) == [bytes.fromhex(A.decode())]
    assert read(scheme, ("s", b"t= 0, v1=" + A)) is MALFORMED


def test_positional_lists():
    scheme = Scheme((b"s",), listing=Listing(pair=None, timestamp_first=True), timestamp=Timestamp())
    assert len(read(scheme, ("s", b"0," + A + b"," + B))) == 2
    assert read(scheme, ("s", b"0")) is MALFORMED
    assert read(scheme, ("s", A)) is MALFORMED


def test_a_timestamp_of_its_own_header():
    scheme = Scheme((b"s",), timestamp=Timestamp(b"x-time"))
    assert read(scheme, ("s", A), ("X-Time", b"0")) == [bytes.fromhex(A.decode())]
    assert read(scheme, ("s", A)) is Reason.TIMESTAMP_MISSING
    assert read(scheme, ("s", A), ("X-Time", b"")) is Reason.TIMESTAMP_MISSING
    assert read(scheme, ("s", A), ("X-Time", b"0"), ("X-Time", b"0")) is MALFORMED


def test_the_size_of_a_signature_where_it_is_known():
    assert signature_size(Scheme((b"s",))) == 32
    assert signature_size(Scheme((b"s",), algorithm="sha1")) == 20
    assert signature_size(Scheme((b"s",), method=Method.ED25519)) == 64


def test_several_headers_of_which_one_is_enough():
    scheme = Scheme((b"s-1", b"s-2"))
    assert read(scheme, ("S-2", A)) == [bytes.fromhex(A.decode())]
    assert len(read(scheme, ("S-1", A), ("S-2", B))) == 2
    assert read(scheme, ("S-1", A), ("S-2", b"zz")) is MALFORMED
    assert read(scheme, ("S-1", A), ("S-2", A), ("S-2", A)) is MALFORMED
    assert read(scheme) is Reason.SIGNATURE_MISSING


def test_required_fields_come_first():
    scheme = Scheme((b"s",), required=((b"v", b"1"),))
    assert read(scheme, ("s", A)) is Reason.SIGNATURE_MISSING
    assert read(scheme, ("s", A), ("v", b"2")) is MALFORMED
    assert read(scheme, ("s", A), ("v", b"1"), ("v", b"1")) is MALFORMED
    assert len(read(scheme, ("s", A), ("v", b"1"))) == 1


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"signature":1}', b"{", b"[" * 100_000, b'{"signature":"!"}'])
def test_envelopes_that_hold_nothing(text):
    scheme = Scheme((b"s",), method=Method.ECDSA, encoding=Encoding.BASE64, envelope="signature")
    assert read(scheme, ("s", base64.b64encode(text))) is MALFORMED
    assert read(scheme, ("s", text)) is MALFORMED


def test_an_envelope():
    scheme = Scheme((b"s",), method=Method.ECDSA, encoding=Encoding.BASE64, envelope="signature")
    assert read(scheme, ("s", base64.b64encode(json.dumps({"signature": "AAEC"}).encode()))) == [b"\0\1\2"]


def test_a_head_full_of_signatures_is_not_checked():
    scheme = Scheme((b"s",), listing=Listing())
    assert len(read(scheme, ("s", b",".join([b"v1=" + A] * 32)))) == 32
    assert read(scheme, ("s", b",".join([b"v1=" + A] * 33))) is MALFORMED


def test_the_public_url():
    assert public_url_of("https://hooks.exampleX/", b"/in") == b"https://hooks.exampleX/in"
    assert public_url_of("https://a.example", b"/x?y") == b"https://a.example/x?y"
    assert public_url_of("https://a.example/", b"/x?y") == b"https://a.example/x?y"
    assert public_url_of("https://a.example/z", b"/x?y") == b"https://a.example/z"
    assert public_url_of("https://a.example?z", b"/x?y") == b"https://a.example?z"


@pytest.mark.parametrize("text", [b'{"signature":"\\ud800"}', b'{"signature":"AA\\udfff=="}'])
def test_half_a_character_in_an_envelope_is_no_signature(text):
    scheme = Scheme((b"s",), method=Method.ECDSA, encoding=Encoding.BASE64, envelope="signature")
    assert read(scheme, ("s", base64.b64encode(text))) is MALFORMED


def test_blanks_are_spaces():
    scheme = Scheme((b"s",), listing=Listing(timestamp=b"t", blanks=True), timestamp=Timestamp())
    assert read(scheme, ("s", b"t=0,\tv1=" + A)) is MALFORMED
    scheme = Scheme((b"s",), listing=Listing(pair=None, blanks=True), prefix=b"X")
    assert read(scheme, ("s", b"X" + A + b", X" + A)) == [bytes.fromhex(A.decode())] * 2


def test_a_list_for_each_secret():
    scheme = Scheme((b"s",), listing=Listing(timestamp=b"t", lists=b" "), timestamp=Timestamp())
    both = [bytes.fromhex(A.decode()), bytes.fromhex(B.decode())]
    assert read(scheme, ("s", b"t=0,v1=" + A)) == both[:1]
    assert read(scheme, ("s", b"t=0,v1=" + A + b" t=0,v1=" + B)) == both
    for value in (b"t=0,v1=" + A + b" t=1,v1=" + B, b"t=0,v1=" + A + b" v1=" + B, b"t=0,v1=" + A + b" ", b" "):
        assert read(scheme, ("s", value)) is MALFORMED


@pytest.mark.parametrize(
    ("target", "signed"),
    [
        (b"/in?mail=a%40b.example&u=https%3a%2F%2Fc", b"/in?mail=a@b.example&u=https://c"),
        (b"/in?x=%21%24%27%28%29%2A%2C%3B%3F%2a", b"/in?x=!$'()*,;?*"),
        (b"/in?x=a%26b%3Dc%20%23%25%2B%7B%5B%22", b"/in?x=a%26b%3Dc%20%23%25%2B%7B%5B%22"),
        (b"/in?x=%2540", b"/in?x=%2540"),
    ],
)
def test_hubspot_signs_delimiters_decoded(target, signed):
    """What separates parameters stays as it is, so no two requests that mean something else are signed alike."""
    provider = PROVIDERS["hubspot_v3"]
    text = b"POSThttps://hooks.example.com" + signed + b"{}" + b"%d" % (NOW * 1000)
    fields = [("X-HubSpot-Signature-v3", b64(mac(RAW, text))), ("X-HubSpot-Request-Timestamp", b"%d" % (NOW * 1000))]
    delivery = Delivery(fields, b"{}", target=target)
    assert run(check_for(provider, RAW), delivery) == "0"
    url = "https://hooks.example.com" + target.decode()
    assert run(replace(check_for(provider, RAW), public_url=url), delivery) == "0"
    assert next(value for _, value in sign(provider, RAW, url=url, body=b"{}", now=NOW)) == fields[0][1]
    assert run(check_for(provider, RAW), replace(delivery, target=target.replace(b"%3B", b";") + b"&;")) is MALFORMED
