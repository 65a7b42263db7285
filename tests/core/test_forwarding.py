"""What crosses, what does not, and that nothing a sender writes can pass for ours."""

from __future__ import annotations

import h11
import pytest

from proxy.core.forwarding import (
    FORWARDING,
    HOP_BY_HOP,
    OURS_OR_UNSAFE,
    Provenance,
    answer_head,
    clean_request_id,
    hop_by_hop_named,
    upstream_head,
)
from proxy.core.request_head import read_request_head
from proxy.core.response_head import read_response_head
from proxy.http1 import Framing, RequestHead, ResponseHead, field
from tests.policies import HEAD_LIMITS

DATE = b"Mon, 23 Nov 2026 10:00:00 GMT"
OURS = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id"]


def head(*lines: str, method: str = "POST", length: str = "Content-Length: 5") -> RequestHead:
    text = "\r\n".join(
        [f"{method} /hook?a=1 HTTP/1.1", "Host: hooks.example.com", *lines, *([length] if length else [])]
    )
    read = read_request_head(text.encode("latin-1") + b"\r\n\r\n", HEAD_LIMITS)
    assert read is not None
    return read[0]


def provenance(*, trusted: bool = False, verified: bytes = b"") -> Provenance:
    return Provenance(client=b"192.0.2.7", scheme=b"https", request_id=b"id-1", trusted=trusted, verified=verified)


def sent(request: RequestHead, *, length: int | None = 5, **options: object) -> list[tuple[str, str]]:
    """The fields that go out, read back by h11."""
    guarded = options.pop("guarded", frozenset())
    data = upstream_head(request, request.target, provenance(**options), length, guarded)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (request.method, request.target)
    return [(name.decode(), value.decode()) for name, value in event.headers.raw_items()]


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name.lower()]


def test_end_to_end_fields_cross_as_they_were_written() -> None:
    lines = [
        "X-GitHub-Event: push",
        "x-odd-CASE: a  b",
        "User-Agent: GitHub-Hookshot/1",
        "Accept: */*",
        "Accept: text/x",
    ]
    fields = sent(head(*lines))
    assert [f"{name}: {value}" for name, value in fields[1 : len(lines) + 1]] == lines
    assert fields[0] == ("Host", "hooks.example.com")


def test_what_we_add() -> None:
    fields = sent(head(), verified=b"github; secret=a; id=b")
    assert fields[1:] == [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "hooks.example.com"),
        ("X-Request-Id", "id-1"),
        ("Webhook-Verified", "github; secret=a; id=b"),
        ("Content-Length", "5"),
    ]


@pytest.mark.parametrize(
    "name", sorted((HOP_BY_HOP | FORWARDING | OURS_OR_UNSAFE) - {b"content-length", b"transfer-encoding", b"expect"})
)
def test_what_never_crosses(name: bytes) -> None:
    title = name.decode().title()
    fields = sent(head(f"{title}: forged"))
    assert "forged" not in [value for _, value in fields]
    assert len(values(fields, title)) == (1 if title.lower() in {own.lower() for own in OURS} else 0)


def test_fields_named_in_connection_are_dropped_but_not_those_that_somebody_relies_on() -> None:
    lines = ["Connection: close, X-Hop, X-Hub-Signature-256, Host, Content-Type, X-Acme-Sig", "X-Hop: 1"]
    kept = ["X-Hub-Signature-256: sha256=0", "Content-Type: a/b", "X-Acme-Sig: 1"]
    fields = sent(head(*lines, *kept), guarded=frozenset({b"x-acme-sig"}))
    assert [values(fields, name) for name in ("X-Hop", "Connection")] == [[], []]
    for line in kept:
        name, _, value = line.partition(": ")
        assert values(fields, name) == [value]
    assert values(fields, "Host") == ["hooks.example.com"]


def test_what_a_provider_begins_its_names_with_is_not_stripped() -> None:
    line = "X-GitHub-Something-New: 1"
    fields = sent(head(f"Connection: {line.partition(':')[0]}, X-Hop", line, "X-Hop: 1"))
    assert values(fields, "X-GitHub-Something-New") == ["1"]
    assert values(fields, "X-Hop") == []


def test_connection_in_two_lines() -> None:
    fields = sent(head("Connection: keep-alive", "Connection: X-Hop", "X-Hop: 1"))
    assert values(fields, "X-Hop") == []


def test_what_connection_names_does_not_depend_on_what_stands_beside_it() -> None:
    fields = sent(head("Keep-Alive: close", "Connection: X-Hop", "X-Hop: 1"))
    assert values(fields, "X-Hop") == values(fields, "Keep-Alive") == []


@pytest.mark.parametrize("name", ["X-Forwarded-User", "x-forwarded-access-token", "X-FORWARDED-Client-Cert"])
def test_whatever_begins_like_a_forwarding_field_needs_a_trusted_proxy(name: str) -> None:
    assert values(sent(head(f"{name}: forged")), name) == []
    assert values(sent(head(f"{name}: said"), trusted=True), name) == ["said"]


def test_http_1_0_without_host_is_given_the_upstreams_own() -> None:
    read = read_request_head(b"GET /a HTTP/1.0\r\n\r\n", HEAD_LIMITS)
    assert read is not None
    written = upstream_head(read[0], b"/a", provenance(), 0, authority=b"app:8000")
    assert written.startswith(b"GET /a HTTP/1.1\r\nHost: app:8000\r\nX-Forwarded-For: ")
    assert b"X-Forwarded-Host" not in written
    assert upstream_head(read[0], b"/a", provenance(), 0).startswith(b"GET /a HTTP/1.1\r\nHost: \r\nX-Forwarded-For: ")


def test_a_trusted_proxy_is_believed_and_extended() -> None:
    lines = ["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: http"]
    fields = sent(head(*lines, "X-Forwarded-Host: a.example", "X-Forwarded-Port: 81"), trusted=True)
    assert values(fields, "X-Forwarded-For") == ["198.51.100.1, 10.0.0.1, 192.0.2.7"]
    assert values(fields, "X-Forwarded-Proto") == ["http"]
    assert values(fields, "X-Forwarded-Host") == ["a.example"]
    assert values(fields, "X-Forwarded-Port") == ["81"]


def test_not_even_a_trusted_proxy_writes_nonsense() -> None:
    fields = sent(head("X-Forwarded-Proto: gopher", "X-Forwarded-Host: a b", "Webhook-Verified: x"), trusted=True)
    assert values(fields, "X-Forwarded-Proto") == ["https"]
    assert values(fields, "X-Forwarded-Host") == ["hooks.example.com"]
    assert values(fields, "Webhook-Verified") == []


@pytest.mark.parametrize(
    ("length", "framing"),
    [(5, [("Content-Length", "5")]), (0, [("Content-Length", "0")]), (None, [("Transfer-Encoding", "chunked")])],
)
def test_the_framing_is_ours(length: int | None, framing: list[tuple[str, str]]) -> None:
    fields = sent(head(length="Transfer-Encoding: chunked"), length=length)
    assert [(name, value) for name, value in fields if name in {"Content-Length", "Transfer-Encoding"}] == framing


def test_a_request_without_content_gets_no_length() -> None:
    fields = sent(head(method="GET", length=""), length=0)
    assert values(fields, "Content-Length") == values(fields, "Transfer-Encoding") == []


@pytest.mark.parametrize("value", [b"a b", b"a\r\nX: 1", b"", b"x" * 65, "é".encode(), None])
def test_request_ids_that_are_not_taken(value: bytes | None) -> None:
    assert clean_request_id(value) is None


def test_a_request_id_that_is_taken() -> None:
    assert clean_request_id(b"Root.1-abc_9") == b"Root.1-abc_9"


def test_names_in_connection() -> None:
    present = (b"x-a", b"x-b", b"x-c", b"authorization")
    assert hop_by_hop_named(b"close, \tX-A ,X-B,x-d", frozenset(), present) == {b"x-a", b"x-b"}
    assert hop_by_hop_named(b"authorization, x-a", frozenset({b"x-a"}), present) == frozenset()


def answer(*lines: str, status: int = 200, method: bytes = b"POST") -> ResponseHead:
    text = "\r\n".join([f"HTTP/1.1 {status} Fine", *lines]) + "\r\n\r\n"
    read = read_response_head(text.encode(), method)
    assert read is not None
    return read[0]


def written(head: ResponseHead, framing: Framing, *, close: bool = False) -> list[tuple[str, str]]:
    lines = answer_head(head, framing, DATE, close=close)[:-4].decode().split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def test_an_answer_keeps_its_fields_and_loses_hop_by_hop_ones() -> None:
    got = answer(
        "Set-Cookie: a=1", "Set-Cookie: b=2", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Content-Length: 2"
    )
    fields = written(got, Framing.LENGTH)
    assert values(fields, "Set-Cookie") == ["a=1", "b=2"]
    assert [values(fields, name) for name in ("X-Hop", "Keep-Alive", "Connection")] == [[], [], []]
    assert values(fields, "Date") == [DATE.decode()]
    assert values(fields, "Content-Length") == ["2"]


def test_an_answer_with_two_connection_lines() -> None:
    fields = written(answer("Connection: close", "Connection: X-Hop", "X-Hop: 1", "Content-Length: 0"), Framing.LENGTH)
    assert values(fields, "X-Hop") == []


def test_an_answers_own_date_is_kept() -> None:
    assert values(written(answer("Date: yesterday", "Content-Length: 0"), Framing.LENGTH), "Date") == ["yesterday"]


@pytest.mark.parametrize(
    ("framing", "close", "expected"),
    [
        (Framing.CHUNKED, False, [("Transfer-Encoding", "chunked")]),
        (Framing.EOF, True, [("Connection", "close")]),
        (Framing.NONE, False, []),
    ],
)
def test_the_framing_of_an_answer_is_ours(framing: Framing, close: bool, expected: list[tuple[str, str]]) -> None:
    got = answer("Transfer-Encoding: chunked")
    fields = written(got, framing, close=close)
    assert [(name, value) for name, value in fields if name != "Date"] == expected


def test_head_keeps_the_length_as_metadata_and_204_has_none() -> None:
    assert values(written(answer("Content-Length: 7", method=b"HEAD"), Framing.NONE), "Content-Length") == ["7"]
    assert values(written(answer(status=204), Framing.NONE), "Content-Length") == []


def test_the_bytes_of_an_answer() -> None:
    given = ResponseHead(200, b"Fine", 1, [field(b"X-a", b"b")], Framing.LENGTH, 5, keep_alive=True)
    written = b"HTTP/1.1 200 Fine\r\nX-a: b\r\nDate: %b\r\nContent-Length: 5\r\n\r\n" % DATE
    assert answer_head(given, Framing.LENGTH, DATE, close=False) == written
    nameless = ResponseHead(404, b"", 1, [], Framing.LENGTH, 0, keep_alive=True)
    assert answer_head(nameless, Framing.LENGTH, DATE, close=False).startswith(b"HTTP/1.1 404 Not Found\r\n")
    empty = ResponseHead(204, b"", 1, [], Framing.NONE, 5, keep_alive=True)
    assert b"Content-Length" not in answer_head(empty, Framing.NONE, DATE, close=False)


@pytest.mark.parametrize("size", [10, 2000])
def test_an_answer_that_comes_again_is_written_the_same_with_the_date_of_now(size: int) -> None:
    got = answer("Content-Length: 0", f"X-A: {'a' * size}")
    assert got.again == (size == 10)
    first, second = (answer_head(got, Framing.LENGTH, date, close=False) for date in (b"one", b"two"))
    assert second == first.replace(b"Date: one", b"Date: two")
    assert answer_head(got, Framing.LENGTH, b"two", close=True) == second[:-2] + b"Connection: close\r\n\r\n"


def test_the_bytes_of_a_request_without_a_host() -> None:
    read = read_request_head(b"GET /a HTTP/1.0\r\nA: 1\r\nB: 2\r\n\r\n", HEAD_LIMITS)
    assert read is not None
    written = b"GET /a HTTP/1.1\r\nHost: app:80\r\nA: 1\r\nB: 2\r\n"
    written += b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
    assert upstream_head(read[0], b"/a", provenance(), 0, authority=b"app:80") == (
        written + b"X-Request-Id: id-1\r\n\r\n"
    )


def test_a_trusted_proxy_that_says_little() -> None:
    fields = sent(head(), trusted=True)
    assert values(fields, "X-Forwarded-For") == ["192.0.2.7"]
    for proto, told in (("http", "http"), ("https", "https"), ("HTTPS", "http"), ("gopher", "http")):
        plain = Provenance(client=b"192.0.2.7", scheme=b"http", request_id=b"id-1", trusted=True, verified=b"")
        written = upstream_head(head(f"X-Forwarded-Proto: {proto}"), b"/hook", plain, 5)
        assert b"\r\nX-Forwarded-Proto: %b\r\n" % told.encode() in written
