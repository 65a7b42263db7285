"""Schemes of one's own: what is described is checked, and every mistake is told at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes.custom import provider_from_table
from proxy.core.signing.scheme import Encoding, Listing, SecretForm, TimeFormat, Timestamp
from tests.deliveries import BODY, NOW, RAW, Delivery, check_for, hexa, mac, run

ACME = {
    "header": "X-Acme-Signature",
    "algorithm": "sha256",
    "encoding": "hex",
    "prefix": "sha256=",
    "signed": "{timestamp}.{body}",
    "timestamp": {"header": "X-Acme-Timestamp", "tolerance": "300s"},
}


def test_the_example_of_the_manual():
    provider, problems = provider_from_table("acme", ACME)
    assert problems == []
    assert provider.slug == "acme"
    stamp = str(NOW).encode()
    fields = [
        ("X-Acme-Signature", b"sha256=" + hexa(mac(RAW, stamp + b"." + BODY))),
        ("X-Acme-Timestamp", stamp),
    ]
    check = check_for(provider, RAW)
    assert run(check, Delivery(fields)) == "0"
    assert run(check, Delivery(fields), NOW + 300) == "0"
    assert run(check, Delivery(fields), NOW + 301).word == "timestamp_too_old"


def test_every_key():
    provider, problems = provider_from_table(
        "acme",
        {
            "header": ["X-A", "X-B"],
            "algorithm": "sha512",
            "encoding": "base64",
            "signed": "{id}|{nonce}|{timestamp}|{header:X-C}|{body}",
            "timestamp": {"format": "ms", "tolerance": 60},
            "list": {"separator": ";", "pair": ":", "signature": "s", "timestamp": "ts", "blanks": True},
            "id": "X-Id",
            "nonce": "X-Nonce",
            "secret_encoding": "base64",
            "required": {"X-Version": "2"},
            "event_header": "X-Event",
            "delivery_header": "X-Id",
            "refusal_status": 401,
            "docs": "https://acme.example/docs",
        },
    )
    assert problems == []
    scheme = provider.scheme
    assert scheme.headers == (b"x-a", b"x-b")
    assert scheme.encoding is Encoding.BASE64
    assert scheme.listing == Listing(b";", b":", b"s", b"ts", blanks=True)
    assert scheme.timestamp == Timestamp(None, TimeFormat.MILLISECONDS, 60)
    assert scheme.required == ((b"x-version", b"2"),)
    assert scheme.secret is SecretForm.BASE64
    assert (provider.event_header, provider.delivery_header, provider.refusal_status) == (b"x-event", b"x-id", 401)


def test_a_positional_list():
    table = {
        "header": "X-S",
        "signed": "{timestamp}.{body}",
        "list": {"pair": "", "signature": "", "timestamp": "first"},
    }
    provider, problems = provider_from_table("acme", table)
    assert problems == []
    assert provider.scheme.listing.timestamp_first
    assert provider.scheme.timestamp == Timestamp()


@pytest.mark.parametrize(
    ("change", "key", "mend"),
    [
        ({"heador": "X"}, "heador", "did you mean 'header'?"),
        ({"zzz": 1}, "zzz", "known keys are"),
        ({"header": None}, "header", "write the header"),
        ({"header": []}, "header", "write the header"),
        ({"header": "X Acme:"}, "header", "name alone"),
        ({"algorithm": "sha265"}, "algorithm", "did you mean 'sha256'?"),
        ({"algorithm": "md5"}, "algorithm", "use one of"),
        ({"encoding": 7}, "encoding", "use one of"),
        ({"prefix": 1}, "prefix", "prefix = "),
        ({"signed": "{tmestamp}.{body}"}, "signed", "write what is signed"),
        ({"signed": "{timestamp}"}, "signed", "add {body}"),
        ({"signed": "{body}"}, "signed", "leave timestamp out"),
        ({"signed": "{timestamp}{form}{body}"}, "signed", "use body"),
        ({"signed": "{timestamp}{id}{body}"}, "id", "name its header"),
        ({"timestamp": "300s"}, "timestamp", "{ ... }"),
        ({"timestamp": None}, "timestamp", "write timestamp"),
        ({"timestamp": {}}, "timestamp", "name its header"),
        ({"timestamp": {"header": "X", "tolerance": "5 minutes"}}, "timestamp.tolerance", "a number and its unit"),
        ({"timestamp": {"header": "X", "tolerance": True}}, "timestamp.tolerance", "a number and its unit"),
        ({"timestamp": {"header": "X", "fromat": "ms"}}, "timestamp.fromat", "did you mean 'format'?"),
        ({"timestamp": {"header": "X", "format": "hours"}}, "timestamp.format", "use one of"),
        ({"list": {"timestamp": "t"}}, "timestamp.header", "leave one of them out"),
        ({"list": {"separator": ""}}, "list.separator", "between two items"),
        ({"list": {"signature": ""}}, "list.signature", "key of the signature"),
        ({"list": {"blanks": "yes"}}, "list.blanks", "blanks = true"),
        ({"list": {"seperator": ","}}, "list.seperator", "did you mean 'separator'?"),
        ({"required": {"X-V": 1}}, "required.X-V", "value that the header must have"),
        ({"refusal_status": 418}, "refusal_status", "use one of"),
        ({"secret_encoding": "rot13"}, "secret_encoding", "use one of"),
    ],
)
def test_mistakes(change, key, mend):
    table = {name: value for name, value in (ACME | change).items() if value is not None}
    provider, problems = provider_from_table("acme", table)
    assert provider is None
    assert [(where, text) for where, _, text in problems if where == key and mend in text]


def test_all_mistakes_at_once():
    _, problems = provider_from_table("acme", {"algoritm": "x", "encoding": "x", "signed": "{"})
    assert {key for key, _, _ in problems} == {"algoritm", "encoding", "signed", "header"}


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=4), max_size=2)
)
KEYS = st.sampled_from(
    ["header", "algorithm", "encoding", "signed", "timestamp", "list", "required", "refusal_status", "x"]
)
INNER = st.dictionaries(st.sampled_from(["header", "tolerance", "format", "pair", "blanks", "timestamp", "é"]), VALUES)


@given(st.dictionaries(KEYS, st.one_of(VALUES, INNER)))
def test_no_table_raises(table):
    provider, problems = provider_from_table("acme", table)
    assert (provider is None) == bool(problems)
