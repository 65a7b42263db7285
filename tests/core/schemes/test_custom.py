"""Schemes of one's own: what is described is checked, and every mistake is told at once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.sizes import parse_time
from proxy.core.schemes.custom import provider_from_table
from proxy.core.schemes.provider import Provider
from proxy.core.signing.scheme import Encoding, Listing, Scheme, SecretForm, TimeFormat, Timestamp
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
    provider, problems = provider_from_table("acme", ACME, parse_time)
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
            "prefix": "§",
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
        parse_time,
    )
    assert problems == []
    scheme = Scheme(
        headers=(b"x-a", b"x-b"),
        signed="{id}|{nonce}|{timestamp}|{header:X-C}|{body}",
        algorithm="sha512",
        encoding=Encoding.BASE64,
        prefix="§".encode(),
        listing=Listing(b";", b":", b"s", b"ts", blanks=True),
        timestamp=Timestamp(None, TimeFormat.MILLISECONDS, 60),
        identity=b"x-id",
        nonce=b"x-nonce",
        required=((b"x-version", b"2"),),
        secret=SecretForm.BASE64,
    )
    assert provider == Provider(
        "acme",
        "acme",
        "https://acme.example/docs",
        scheme,
        event_header=b"x-event",
        delivery_header=b"x-id",
        refusal_status=401,
    )


def test_a_positional_list():
    table = {
        "header": "X-S",
        "signed": "{timestamp}.{body}",
        "list": {"pair": "", "signature": "", "timestamp": "first"},
    }
    provider, problems = provider_from_table("acme", table, parse_time)
    assert problems == []
    assert provider.scheme.listing == Listing(b",", None, b"", b"first", timestamp_first=True)
    assert provider.scheme.timestamp == Timestamp()


def test_the_least():
    provider, problems = provider_from_table("acme", {"header": "X-S"}, parse_time)
    assert problems == []
    assert provider == Provider("acme", "acme", "", Scheme((b"x-s",)))
    provider, _ = provider_from_table("acme", {"header": "X-S", "list": {}}, parse_time)
    assert provider.scheme.listing == Listing()


@pytest.mark.parametrize(
    ("tolerance", "seconds"),
    [
        ("1ms", 0.001),
        ("0s", 0),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("999999999h", 999999999 * 3600),
        (0, 0),
        (60, 60),
    ],
)
def test_tolerances(tolerance, seconds):
    provider, _ = provider_from_table("acme", ACME | {"timestamp": {"header": "X", "tolerance": tolerance}}, parse_time)
    assert provider.scheme.timestamp == Timestamp(b"x", tolerance_s=seconds)


@pytest.mark.parametrize("tolerance", ["5 minutes", "1w", "-1s", "s", "300", "", -1, 1.5, True, []])
def test_what_is_no_tolerance(tolerance):
    provider, problems = provider_from_table(
        "acme", ACME | {"timestamp": {"header": "X", "tolerance": tolerance}}, parse_time
    )
    assert provider is None
    [(key, what, mend)] = problems
    assert (key, mend) == ("timestamp.tolerance", 'write a number and its unit: tolerance = "300s"')
    assert re.search("is not a time|has no unit", what)


NAME_IT = 'header names no header; write the header of the signature: header = "X-Acme-Signature"'
KEYS_OF_A_TABLE = (
    "header, algorithm, encoding, prefix, signed, timestamp, list, id, nonce, secret_encoding, required, event_header, "
    "delivery_header, refusal_status, docs"
)
SLOTS = "body, header, id, method, nonce, param, path, query, target, timestamp, url"
TEMPLATE = 'write what is signed, such as signed = "{timestamp}.{body}"'
NAME_ALONE = '; write the name alone, of letters, digits and "-", such as "X-Acme-Signature"'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heador": "X"}, "heador is not a key of this table; did you mean 'header'?"),
        ({"zzz": 1}, f"zzz is not a key of this table; known keys are {KEYS_OF_A_TABLE}"),
        ({"header": None}, NAME_IT),
        ({"header": []}, NAME_IT),
        ({"header": "X Acme:"}, "header is not the name of a header" + NAME_ALONE),
        ({"algorithm": "sha265"}, "algorithm 'sha265' is not known here; did you mean 'sha256'?"),
        ({"algorithm": "md5"}, "algorithm 'md5' is not known here; use one of sha1, sha256, sha384, sha512"),
        ({"encoding": 7},
         "encoding '7' is not known here; use one of hex, hex_upper, hex_any_case, base64, base64url, hex_or_base64"),
        ({"prefix": 1}, 'prefix is not a text; write prefix = "..."'),
        ({"signed": "{timestamp}"}, "signed does not hold {body}, so anybody could replace it; add {body}"),
        ({"signed": "{body}"},
         "signed does not hold {timestamp}, so it proves nothing; add it, or leave timestamp out"),
        ({"signed": "{timestamp}{form}{body}"},
         f"signed {{form}} cannot be used here; use {SLOTS}"),
        ({"signed": "{timestamp}{id}{body}"}, 'id is missing although it is signed; name its header: id = "..."'),
        ({"timestamp": None}, 'timestamp is missing although it is signed; write timestamp = { header = "..." }'),
        ({"timestamp": {}}, "timestamp is nowhere; name its header, or its item of the list: list.timestamp"),
        ({"timestamp": {"header": "X", "fromat": "ms"}},
         "timestamp.fromat is not a key of this table; did you mean 'format'?"),
        ({"timestamp": {"header": "X", "format": "hours"}},
         "timestamp.format 'hours' is not known here; use one of s, ms, s_or_ms, rfc3339, iso_utc, any"),
        ({"list": {"timestamp": "t"}},
         "timestamp.header is given although the list has the timestamp; leave one of them out"),
        ({"list": {"separator": ""}}, 'list.separator is empty; write what stands between two items: separator = ","'),
        ({"list": {"signature": ""}}, 'list.signature is empty; write the key of the signature: signature = "v1"'),
        ({"list": {"blanks": "yes"}}, "list.blanks is neither true nor false; write blanks = true"),
        ({"list": {"seperator": ","}}, "list.seperator is not a key of this table; did you mean 'separator'?"),
        ({"required": {"X-V": 1}}, "required.X-V is not a text; write the value that the header must have"),
        ({"refusal_status": 418}, "refusal_status '418' is not known here; use one of 400, 401, 403, 404"),
        ({"secret_encoding": "rot13"},
         "secret_encoding 'rot13' is not known here; use one of raw, hex, base64, whsec"),
        ({"header": ["X-A", ""]}, NAME_IT),
        ({"header": ["X-A", "X B"]}, "header is not the name of a header" + NAME_ALONE),
        ({"id": "X Id"}, "id is not the name of a header" + NAME_ALONE),
        ({"docs": 7}, 'docs is not a text; write docs = "..."'),
        ({"event_header": 1}, 'event_header is not a text; write event_header = "..."'),
        ({"delivery_header": "é"}, "delivery_header is not the name of a header" + NAME_ALONE),
        ({"list": {"pair": 7}}, 'list.pair is not a text; write pair = "..."'),
        ({"list": 7}, "list is not a table; write list = { ... }"),
        ({"required": 7}, "required is not a table; write required = { ... }"),
        ({"required": {"X V": "1"}}, "required.X V is not the name of a header" + NAME_ALONE),
        ({"required": {"X-V": ""}}, "required.X-V is not a text; write the value that the header must have"),
        ({"signed": "{timestamp}{nonce}{body}"},
         'nonce is missing although it is signed; name its header: nonce = "..."'),
        ({"signed": "{timestamp}{body}{body}"},
         f"signed {{body}} stands twice; a body passes once; {TEMPLATE}"),
        ({"algorithm": True}, "algorithm 'True' is not known here; use one of sha1, sha256, sha384, sha512"),
        ({"refusal_status": True}, "refusal_status 'True' is not known here; use one of 400, 401, 403, 404"),
        ({"signed": "{"},
         f"signed a lone '{{' at character 1: write it twice; {TEMPLATE}"),
        ({"algorithm": "x" * 61}, f"algorithm {'x' * 60!r} is not known here; use one of sha1, sha256, sha384, sha512"),
    ],
)  # fmt: skip
def test_mistakes(change, told):
    table = {name: value for name, value in (ACME | change).items() if value is not None}
    provider, problems = provider_from_table("acme", table, parse_time)
    assert provider is None
    assert [f"{key} {what}; {mend}" for key, what, mend in problems] == [told]


@pytest.mark.parametrize(
    ("signed", "pair"),
    [
        ("{id}{body}", "{id}{body}"),
        ("{id}{timestamp}{body}", "{id}{timestamp}"),
        ("{timestamp}.{header:X-A}{header:X-B}.{body}", "{header:X-A}{header:X-B}"),
        ("{timestamp}.{target}{body}", "{target}{body}"),
        ("{timestamp}.{body}{id}", "{body}{id}"),
        ("{timestamp}.{param:a}{body}", "{param:a}{body}"),
    ],
)
def test_nothing_may_be_moved_from_one_part_to_another(signed, pair):
    table = ACME | {"signed": signed, "id": "X-Id"}
    if "{timestamp}" not in signed:
        del table["timestamp"]
    provider, problems = provider_from_table("acme", table, parse_time)
    assert provider is None
    assert problems[0][:2] == (
        "signed",
        f"has nothing fixed in {pair}, so a sender can move characters from one to the other",
    )


def test_what_is_wrong_otherwise_is_told_first():
    _, problems = provider_from_table("acme", ACME | {"signed": "{timestamp}{id}{body}", "encoding": "x"}, parse_time)
    assert {key for key, _, _ in problems} == {"encoding", "id"}


def test_all_mistakes_at_once():
    _, problems = provider_from_table("acme", {"algoritm": "x", "encoding": "x", "signed": "{"}, parse_time)
    assert {key for key, _, _ in problems} == {"algoritm", "encoding", "signed", "header"}
    _, problems = provider_from_table("acme", ACME | {"signed": "{timestamp}{form}{lines}{body}"}, parse_time)
    assert [what for _, what, _ in problems] == ["{form} cannot be used here", "{lines} cannot be used here"]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=4), max_size=2)
)
KEYS = st.sampled_from(
    ["header", "algorithm", "encoding", "signed", "timestamp", "list", "required", "refusal_status", "x"]
)
INNER = st.dictionaries(st.sampled_from(["header", "tolerance", "format", "pair", "blanks", "timestamp", "é"]), VALUES)


@given(st.dictionaries(KEYS, st.one_of(VALUES, INNER)))
def test_no_table_raises(table):
    provider, problems = provider_from_table("acme", table, parse_time)
    assert (provider is None) == bool(problems)
