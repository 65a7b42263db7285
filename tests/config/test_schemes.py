"""Schemes of one's own: what is described is checked, and every mistake is told at once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.parse import Source, parse_tables
from proxy.config.problems import Problems
from proxy.config.schemes import read_scheme
from proxy.core.schemes.provider import Provider
from proxy.core.signing.scheme import Encoding, Listing, Scheme, SecretForm, TimeFormat, Timestamp
from proxy.errors import dotted
from tests.deliveries import BODY, NOW, RAW, Delivery, check_for, hexa, mac, run


def scheme_of(table):
    """The provider of a table, and its mistakes as (key, what, mend)."""
    problems = Problems()
    top = parse_tables({"scheme": {"acme": table}}, Source("h.toml"), problems)
    read = top.named("scheme")
    provider = read_scheme("acme", read["acme"]) if read else None
    return provider, [(dotted(one.place.key[2:]), one.what, one.mend) for one in problems.found]


ACME = {
    "header": "X-Acme-Signature",
    "algorithm": "sha256",
    "encoding": "hex",
    "prefix": "sha256=",
    "signed": "{timestamp}.{body}",
    "timestamp": {"header": "X-Acme-Timestamp", "tolerance": "300s"},
}


def test_the_example_of_the_manual():
    provider, problems = scheme_of(ACME)
    assert problems == []
    assert provider.slug == "acme"
    stamp = str(NOW).encode()
    fields = [("X-Acme-Signature", b"sha256=" + hexa(mac(RAW, stamp + b"." + BODY))), ("X-Acme-Timestamp", stamp)]
    check = check_for(provider, RAW)
    assert run(check, Delivery(fields)) == "0"
    assert run(check, Delivery(fields), NOW + 300) == "0"
    assert run(check, Delivery(fields), NOW + 301).word == "timestamp_too_old"


def test_every_key():
    provider, problems = scheme_of(
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
        }
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
        "https://acme.example/docs",
        scheme,
        title="acme",
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
    provider, problems = scheme_of(table)
    assert problems == []
    assert provider.scheme.listing == Listing(b",", None, b"", b"first", timestamp_first=True)
    assert provider.scheme.timestamp == Timestamp()


def test_the_least():
    provider, problems = scheme_of({"header": "X-S"})
    assert problems == []
    assert provider == Provider("acme", "", Scheme((b"x-s",)), title="acme")
    provider, _ = scheme_of({"header": "X-S", "list": {}})
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
    provider, _ = scheme_of(ACME | {"timestamp": {"header": "X", "tolerance": tolerance}})
    assert provider.scheme.timestamp == Timestamp(b"x", tolerance_s=seconds)


@pytest.mark.parametrize("tolerance", ["5 minutes", "1w", "-1s", "s", "300", "", -1, 1.5, True, []])
def test_what_is_no_tolerance(tolerance):
    provider, problems = scheme_of(ACME | {"timestamp": {"header": "X", "tolerance": tolerance}})
    assert provider is None
    [(key, what, mend)] = problems
    assert (key, mend) == ("timestamp.tolerance", 'write a time such as "8s", "500ms", "5m" or "1h"')
    assert re.search("is not a time|has no unit", what)


KEYS_HERE = (
    "header, algorithm, encoding, prefix, signed, timestamp, list, id, nonce, secret_encoding, required, event_header, "
    "event_place, "
    "delivery_header, refusal_status, docs"
)
ENCODINGS = "hex, hex_upper, hex_any_case, base64, base64url, hex_or_base64"
FORMATS = "s, ms, s_or_ms, rfc3339, iso_utc, any"
SLOTS = "body, header, id, method, nonce, param, path, query, target, timestamp, url"
TEMPLATE = 'write what is signed, such as signed = "{timestamp}.{body}"'
NAME_IT = 'write a name such as "X-Gitlab-Token"'
QUOTE = "write it in quotes"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heador": "X"}, "heador unknown key; did you mean 'header'?"),
        ({"zzz": 1}, f"zzz unknown key; keys here: {KEYS_HERE}"),
        ({"header": None}, ' names no header; write the header of the signature: header = "X-Acme-Signature"'),
        ({"header": []}, "header is an empty list; remove the key, or name at least one"),
        ({"header": "X Acme:"}, f"header 'X Acme:' is not the name of a header; {NAME_IT}"),
        ({"algorithm": "sha265"},
         "algorithm 'sha265' is none of sha1, sha256, sha384, sha512; did you mean 'sha256'?"),
        ({"algorithm": "md5"},
         "algorithm 'md5' is none of sha1, sha256, sha384, sha512; write one of: sha1, sha256, sha384, sha512"),
        ({"encoding": 7}, f"encoding this is none of {ENCODINGS}; write one of: {ENCODINGS}"),
        ({"prefix": 1}, f"prefix is not a text; {QUOTE}"),
        ({"signed": "{timestamp}"}, "signed does not hold {body}, so a client could replace it; add {body}"),
        ({"signed": "{body}"},
         "signed does not hold {timestamp}, so it proves nothing; add it, or leave timestamp out"),
        ({"signed": "{timestamp}{form}{body}"}, f"signed {{form}} cannot be used here; use {SLOTS}"),
        ({"signed": "{timestamp}{id}{body}"},
         ' `id` is missing although it is signed; name its header: id = "..."'),
        ({"timestamp": None},
         ' `timestamp` is missing although it is signed; write timestamp = { header = "..." }'),
        ({"timestamp": {}}, "timestamp is nowhere; name its header, or its item of the list: list.timestamp"),
        ({"timestamp": {"header": "X", "fromat": "ms"}}, "timestamp.fromat unknown key; did you mean 'format'?"),
        ({"timestamp": {"header": "X", "format": "hours"}},
         f"timestamp.format 'hours' is none of {FORMATS}; write one of: {FORMATS}"),
        ({"list": {"timestamp": "t"}},
         "timestamp.header is given although the list has the timestamp; leave one of them out"),
        ({"list": {"separator": ""}}, 'list.separator is empty; write what stands between two items: separator = ","'),
        ({"list": {"signature": ""}}, 'list.signature is empty; write the key of the signature: signature = "v1"'),
        ({"list": {"blanks": "yes"}}, "list.blanks is neither true nor false; write true or false"),
        ({"list": {"seperator": ","}}, "list.seperator unknown key; did you mean 'separator'?"),
        ({"required": {"X-V": 1}}, "required 'X-V' is not a text; write the value that the header must have"),
        ({"refusal_status": 418}, "refusal_status is no status of a refusal; use one of 400, 401, 403, 404"),
        ({"secret_encoding": "rot13"},
         "secret_encoding 'rot13' is none of raw, hex, base64, whsec; write one of: raw, hex, base64, whsec"),
        ({"header": ["X-A", ""]},
         "header[1] is empty, too long or has control characters; write 1 to 256 printable characters"),
        ({"header": ["X-A", "X B"]}, f"header[1] 'X B' is not the name of a header; {NAME_IT}"),
        ({"id": "X Id"}, f"id 'X Id' is not the name of a header; {NAME_IT}"),
        ({"docs": 7}, f"docs is not a text; {QUOTE}"),
        ({"event_header": 1}, f"event_header is not a text; {QUOTE}"),
        ({"delivery_header": "é"}, f"delivery_header 'é' is not the name of a header; {NAME_IT}"),
        ({"list": {"pair": 7}}, f"list.pair is not a text; {QUOTE}"),
        ({"list": 7}, "list is not a table; keys here: separator, pair, signature, timestamp, blanks"),
        ({"required": 7}, 'required is not a table; write { "X-Version" = "2" }'),
        ({"required": {"X V": "1"}}, f"required 'X V' is not the name of a header; {NAME_IT}"),
        ({"required": {"X-V": ""}}, "required 'X-V' is not a text; write the value that the header must have"),
        ({"signed": "{timestamp}{nonce}{body}"},
         ' `nonce` is missing although it is signed; name its header: nonce = "..."'),
        ({"signed": "{timestamp}{body}{body}"},
         f"signed {{body}} stands twice; a body passes once; {TEMPLATE}"),
        ({"refusal_status": True}, "refusal_status is no status of a refusal; use one of 400, 401, 403, 404"),
        ({"signed": "{"}, f"signed a lone '{{' at character 1: write it twice; {TEMPLATE}"),
    ],
)  # fmt: skip
def test_mistakes(change, told):
    table = {name: value for name, value in (ACME | change).items() if value is not None}
    _, problems = scheme_of(table)
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
    provider, problems = scheme_of(table)
    assert provider is None
    assert problems[0][:2] == (
        "signed",
        f"has nothing fixed in {pair}, so a sender can move characters from one to the other",
    )


def test_what_is_wrong_otherwise_is_told_first():
    _, problems = scheme_of(ACME | {"signed": "{timestamp}{id}{body}", "encoding": "x"})
    assert {key for key, _, _ in problems} == {"encoding", ""}


def test_all_mistakes_at_once():
    _, problems = scheme_of({"algoritm": "x", "encoding": "x", "signed": "{", "id": 5})
    assert {key for key, _, _ in problems} == {"algoritm", "encoding", "signed", "id", ""}
    _, problems = scheme_of(ACME | {"signed": "{timestamp}{form}{lines}{body}"})
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
    provider, problems = scheme_of(table)
    assert provider is not None or problems
