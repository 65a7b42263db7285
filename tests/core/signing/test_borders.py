"""No two deliveries have the same signed text: nothing can be moved over the border between two signed parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import (
    BodyForm,
    Encoding,
    Method,
    Scheme,
    Secret,
    SecretForm,
    TimeFormat,
    Timestamp,
    parse_time,
)
from proxy.core.signing.template import Part, Slot, compile_template, escape_json, open_borders, stands_beside_another
from tests.deliveries import ORIGIN, Delivery, hexa, mac, run
from tests.examples import examples

KEY = b"a key of the tests"
ISO = b"2025-11-24T16:00:00"
#: A CRC-32 stands for the body, and is known not to; the query is escaped twice, which ``test_template`` looks at.
LOSSY = {"paypal", "contentful"}
TEMPLATES = sorted(
    slug
    for slug, provider in PROVIDERS.items()
    if provider.scheme is not None
    and provider.scheme.document is None
    and provider.scheme.claims is None
    and provider.scheme.signed != "{body}"
    and slug not in LOSSY
)
TARGET = re.compile(rb"/[A-Za-z0-9._-]*(?:\?[\x21\x22\x24-\x7e]*)?")
VALUE = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
NAME = {"id": "X-Id", "nonce": "X-Nonce", "timestamp": "X-Time"}


def plain(scheme: Scheme) -> Scheme:
    """The same signed text, signed and sent in the simplest way."""
    form = scheme.timestamp.format if scheme.timestamp is not None else TimeFormat.SECONDS
    listed = scheme.listing if scheme.listing is not None and scheme.listing.needed else None
    return replace(
        scheme,
        headers=(b"x-signature",),
        method=Method.HMAC,
        algorithm="sha256",
        encoding=Encoding.BASE64 if listed else Encoding.HEX,
        prefix=b"",
        listing=listed,
        timestamp=None if scheme.timestamp is None else Timestamp(None if listed else b"x-time", form, None),
        identity=b"x-id",
        nonce=b"x-nonce",
        required=(),
        envelope=None,
        two_part=False,
        key_digest=None,
        secret=SecretForm.RAW,
        body_forms=(scheme.body_forms[0],),
    )


def readings(parts: tuple[Part, ...], text: bytes, scheme: Scheme) -> Iterator[dict[Slot, bytes]]:
    """Every way to take ``text`` apart."""
    if not parts:
        if not text:
            yield {}
        return
    first, rest = parts[0], parts[1:]
    if isinstance(first, bytes):
        if text.startswith(first):
            yield from readings(rest, text[len(first) :], scheme)
        return
    ends = [len(text)] if not rest else range(len(text) + 1)
    for end in ends:
        if may_be(first, text[:end], scheme):
            for others in readings(rest, text[end:], scheme):
                yield {first: text[:end], **others}


def may_be(slot: Slot, value: bytes, scheme: Scheme) -> bool:
    if slot.kind == "timestamp":
        assert scheme.timestamp is not None
        return 9 < len(value) < 40 and parse_time(scheme.timestamp.format, value) is not None
    if slot.kind == "method":
        return value in (b"POST", b"PUT", b"PUTS")
    if slot.kind == "url":
        return value.startswith(ORIGIN.encode()) and TARGET.fullmatch(value, len(ORIGIN)) is not None
    if slot.kind in ("target", "path"):
        return TARGET.fullmatch(value) is not None and (slot.kind == "target" or b"?" not in value)
    if slot.kind == "key_id":
        return not value
    return slot.kind == "body" or VALUE.fullmatch(value) is not None


def delivered(reading: dict[Slot, bytes], text: bytes, scheme: Scheme) -> Delivery | None:
    """The request that is read so; None where two parts of it cannot be in one request."""
    by_kind = {slot.kind: value for slot, value in reading.items()}
    body, method = by_kind.get("body", b""), by_kind.get("method", b"POST")
    query = b"&".join(b"%b=%b" % (slot.name.encode(), value) for slot, value in reading.items() if slot.kind == "param")
    path = by_kind.get("path", b"/in")
    target = (
        by_kind.get("url", b"")[len(ORIGIN) :] or by_kind.get("target") or (b"%b?%b" % (path, query) if query else path)
    )
    signature = hexa(mac(KEY, text))
    if scheme.listing is not None:
        return None
    fields = [("X-Signature", signature)]
    for slot, value in reading.items():
        if slot.kind in NAME:
            fields.append((NAME[slot.kind], value))
        elif slot.kind == "header":
            fields.append((slot.name, value))
    if scheme.body_forms == (BodyForm.JSON_STRING,):
        return None
    return Delivery(fields, body, KEY, method=method, target=target)


def accepted(scheme: Scheme, text: bytes) -> list[Delivery]:
    check = SignatureCheck(scheme, (Secret("k", KEY),), None, ORIGIN)
    found = []
    for reading in readings(compile_template(scheme.signed), text, scheme):
        delivery = delivered(reading, text, scheme)
        if delivery is not None and isinstance(run(check, delivery), str):
            found.append(delivery)
    return found


#: What looks like another part, and the separators that providers use.
PIECES = st.sampled_from(
    [b"{}", b'{"a":', b"[1]", b"}", b"]", b'"', b"1", b"0", b"5Z", b"a", b".", b"|", b":", b";", b"\n", b" ", b"-",
     b"v0:", b"?x=1", b"&", b"=", b"1764000000", b"1764000000000", ISO, ISO + b"Z", ISO + b".5Z",
     b"Mon, 24 Nov 2025 16:00:00 GMT", ORIGIN.encode(), ORIGIN.encode() + b"/in", b"/in", b"POST", b"PUT", b"S"]
)  # fmt: skip
LOOSE = st.lists(PIECES, max_size=4).map(b"".join)
TIMES = st.sampled_from([b"1764000000", b"1764000000123", ISO + b"Z", ISO, ISO + b".5Z", ISO + b"+01:00", b"176400000"])
BODIES = st.one_of(
    LOOSE, st.tuples(LOOSE, LOOSE).map(lambda two: b'{"a":"%b"}%b' % two), LOOSE.map(lambda one: b"{%b}" % one)
)


def texts(scheme: Scheme) -> st.SearchStrategy[bytes]:
    """Signed texts, genuine ones among them."""
    made = {
        "body": BODIES,
        "timestamp": TIMES,
        "method": st.sampled_from([b"POST", b"PUT", b"PUTS"]),
        "url": st.tuples(st.sampled_from([b"/in", b"/in?x=1"]), LOOSE).map(lambda two: ORIGIN.encode() + b"".join(two)),
        "target": LOOSE.map(lambda one: b"/in" + one),
        "path": st.just(b"/in"),
        "key_id": st.just(b""),
    }
    parts = compile_template(scheme.signed)
    return st.tuples(*(st.just(one) if isinstance(one, bytes) else made.get(one.kind, LOOSE) for one in parts)).map(
        b"".join
    )


@pytest.mark.parametrize("slug", TEMPLATES)
@examples(25)
@given(data=st.data())
def test_a_signed_text_of_a_provider_reads_in_one_way(slug: str, data: st.DataObject) -> None:
    provider = PROVIDERS[slug]
    assert provider.scheme is not None
    assert list(open_borders(provider.scheme, whole_url=False)) == []
    scheme = plain(provider.scheme)
    text = data.draw(texts(scheme))
    assert len(accepted(scheme, text)) <= 1, text


SLOTS = ["{timestamp}", "{id}", "{nonce}", "{method}", "{url}", "{target}", "{path}", "{header:X-C}", "{param:p}"]
LITERALS = st.sampled_from(["", "", "", ".", ":", "|", "\n", ";a", "Z", "0", "-"])
FORMATS = [form for form in TimeFormat if form is not TimeFormat.ANY]


@st.composite
def schemes(draw: st.DrawFn) -> Scheme:
    """Schemes of one's own, as ``[scheme.NAME]`` describes them, that ``check`` takes."""
    slots = draw(st.lists(st.sampled_from(SLOTS), unique=True, max_size=3))
    # The request's own words for the same thing would contradict each other.
    assume(sum(slot in ("{url}", "{target}", "{path}") for slot in slots) + ("{param:p}" in slots) <= 1)
    slots.insert(draw(st.integers(0, len(slots))), "{body}")
    signed = draw(LITERALS) + "".join(slot + draw(LITERALS) for slot in slots)
    stamp = Timestamp(b"x-time", draw(st.sampled_from(FORMATS)), None) if "{timestamp}" in slots else None
    scheme = Scheme((b"x-signature",), signed=signed, timestamp=stamp, identity=b"x-id", nonce=b"x-nonce")
    assume(not list(open_borders(scheme, whole_url=False)))
    return scheme


@examples(150)
@given(data=st.data())
def test_a_template_that_check_takes_reads_in_one_way(data: st.DataObject) -> None:
    scheme = data.draw(schemes())
    text = data.draw(texts(scheme))
    assert len(accepted(scheme, text)) <= 1, (scheme.signed, text)


def test_a_border_of_hygraph_does_not_move() -> None:
    """Its body is a JSON string in a JSON object: only a quotation mark that is not escaped ends it."""
    for one, other in pairwise([b'","EnvironmentName":"', b'"', b"\\", b'\\"', b"\\\\"]):
        assert b'"' not in escape_json(one).replace(b'\\"', b"").replace(b"\\\\", b"")
        assert escape_json(one) != escape_json(other)


@pytest.mark.parametrize(
    ("signed", "form", "pairs"),
    [
        ("{timestamp}{body}", TimeFormat.SECONDS, []),
        ("{timestamp}{body}", TimeFormat.MILLISECONDS, []),
        ("{timestamp}{body}", TimeFormat.RFC3339, []),
        ("{timestamp}{body}", TimeFormat.SECONDS_OR_MILLISECONDS, ["{timestamp}{body}"]),
        ("{timestamp}{body}", TimeFormat.ISO_UTC, ["{timestamp}{body}"]),
        ("{timestamp}{body}", TimeFormat.ANY, ["{timestamp}{body}"]),
        ("{timestamp}.{body}", TimeFormat.ISO_UTC, ["{timestamp}."]),
        ("{timestamp}:{body}", TimeFormat.ISO_UTC, []),
        ("{body}{timestamp}", TimeFormat.SECONDS, []),
        ("{body}{timestamp}", TimeFormat.ANY, ["{body}{timestamp}"]),
        ("{body}.{timestamp}", TimeFormat.ANY, [".{timestamp}"]),
        ("{id}{body}", TimeFormat.SECONDS, ["{id}{body}"]),
        ("{id}{timestamp}{body}", TimeFormat.SECONDS, ["{id}{timestamp}", "{timestamp}{body}"]),
        ("{id}{timestamp}{body}", TimeFormat.RFC3339, []),
        ("{id}.{timestamp}{body}", TimeFormat.SECONDS, []),
        ("{header:X-A}{header:X-B}.{body}", TimeFormat.SECONDS, ["{header:X-A}{header:X-B}"]),
        ("{param:a}{nonce}|{body}", TimeFormat.SECONDS, ["{param:a}{nonce}"]),
        ("{method}{url}\n{body}", TimeFormat.SECONDS, []),
        ("{method}{body}", TimeFormat.SECONDS, ["{method}{body}"]),
        ("{url}{body}", TimeFormat.SECONDS, ["{url}{body}"]),
        ("{target}{body}", TimeFormat.SECONDS, ["{target}{body}"]),
        ("{body}{url}", TimeFormat.SECONDS, ["{body}{url}"]),
    ],
)
def test_what_is_open_is_named(signed: str, form: TimeFormat, pairs: list[str]) -> None:
    scheme = Scheme((b"s",), signed=signed, timestamp=Timestamp(b"t", form), identity=b"i", nonce=b"n")
    assert list(open_borders(scheme, whole_url=False)) == pairs
    without = [pair for pair in pairs if "{url}" not in pair]
    assert list(open_borders(scheme, whole_url=True)) == without


def test_a_time_beside_another_part() -> None:
    assert [
        slug for slug, one in PROVIDERS.items() if one.scheme is not None and stands_beside_another(one.scheme)
    ] == ["airwallex", "box", "discord", "hubspot_v3", "klaviyo", "mailgun", "sendgrid", "twitch", "zendesk"]
