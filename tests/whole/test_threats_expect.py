"""Expectations, methods and versions, E1 to E6 of docs/threat-model.md; and D5 to D8, what has no end or no number."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.scripted import SILENCE
from tests.whole.stage import KEY, MAX_BODY, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Stage, delivery, head
from tests.whole.wire import Answer, Client, ClosedError, github, request

BODY = b"hello"
SIGNED = github(KEY, BODY)
TE = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "value",
    [
        *("gold", "100-continue, gold", "gold, 100-continue", "100-continue,", "100-continue;a=b", "100", "200-ok", ""),
        *(
            "100-continue 100-continue",
            "y 100-continue",
            "100-continue, 100-continue",
            '"100-continue"',
            "100_continue",
        ),
        *("10 0-continue", "é", "\x80100-continue"),
    ],
    ids=ascii,
)
def test_e1_other_expectations(stage: Stage, value: str) -> None:
    stage.refuses(request("POST", "/github", SIGNED | {"Expect": value}, BODY), 417, "expectation_failed", "expect")


@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        pytest.param(b"Expect: 100-continue\r\nExpect: 100-continue", 417, "expectation_failed", id="twice"),
        pytest.param(b"Expect: 100-continue\r\nexpect: x", 417, "expectation_failed", id="two_that_differ"),
        pytest.param(b"Expect:\r\n 100-continue", 400, "bad_request", id="folded"),
        pytest.param(b"Expect : 100-continue", 400, "bad_request", id="space_before_colon"),
        pytest.param(b"Expect: 100-\rcontinue", 400, "bad_request", id="bare_cr"),
        pytest.param(b"Expect: 100-continue\n", 400, "bad_request", id="bare_lf"),
        pytest.param(b"Expect: \x0b100-continue", 400, "bad_request", id="control_byte"),
    ],
)
def test_e1_expectations_in_disguise(stage: Stage, line: bytes, status: int, word: str) -> None:
    stage.refuses(head(line, b"Content-Length: 5", content=BODY) + BODY, status, word)


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "100-CONTINUE"])
@pytest.mark.parametrize(
    "framing", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}], ids=["length", "chunked"]
)
def test_e2_we_answer_an_expectation_ourselves(stage: Stage, framing: dict[str, str], value: str) -> None:
    stage.upstream.forget()
    with stage.client() as client:
        for _ in range(3):
            client.send(request("POST", "/github", SIGNED | framing | {"Expect": value}))
            assert client.interim().status == 100
            answer = client.ask(BODY if "Content-Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
            assert (answer.status, answer.interim) == (200, [])
    assert [(one.content, one.get(b"Expect")) for one in stage.upstream.seen] == [(BODY, None)] * 3


def test_e2_a_final_answer_instead_of_continue_leaves_nothing_behind(stage: Stage) -> None:
    """The gadget of CVE-2024-24791: an upstream that answers before the body, and a body that then is a request."""
    stage.scripted.play(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\n", SILENCE, on="head")
    body = delivery(name="smuggled")
    fields = {"Expect": "100-continue", "Content-Length": str(len(body))}
    with stage.nothing_arrives(), stage.client() as client:
        client.send(request("POST", "/scripted", fields))
        assert client.interim().status == 100
        client.send(body[:1])
        assert client.answer().get(b"Connection") == b"close"
        client.send(body[1:] + delivery(name="behind"))
        assert client.ended() == b""
    assert [b"Expect" in one.head for one in stage.scripted.seen] == [False]


def test_e2_without_a_body_there_is_nothing_to_continue(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", "/open", {"Expect": "100-continue"}))
        assert (answer.status, answer.interim) == (200, [])
        answer = client.ask(request("POST", "/open", {"Expect": "100-continue"}, b""))
        assert (answer.status, answer.interim) == (200, [])


@pytest.mark.parametrize("value", [b"100-continue", b"gold"])
def test_e3_http_1_0_is_told_nothing_in_between(stage: Stage, value: bytes) -> None:
    stage.upstream.forget()
    with stage.client() as client:
        client.send(head(b"Content-Length: 5", b"Expect: " + value, content=BODY, version=b"1.0") + BODY[:-1])
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(15)
        answer = client.ask(BODY[-1:])
        assert (answer.status, answer.interim) == (200, [])
    [got] = stage.upstream.seen
    assert got.get(b"Expect") is None


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "TRACK"])
@pytest.mark.parametrize("target", ["/open", "/github", "/nowhere"])
def test_e4_tunnels_and_echoes(stage: Stage, method: str, target: str) -> None:
    answer = stage.refuses(request(method, target, SIGNED), 405, "method_not_allowed", "method")
    assert answer.get(b"Allow")


@pytest.mark.parametrize("target", ["hooks.example.com:443", "127.0.0.1:22", "http://hooks.example.com/open", "*", "/"])
def test_e4_connect_in_all_forms(stage: Stage, target: str) -> None:
    stage.refuses(request("CONNECT", target, {}), 405, "method_not_allowed", "method")


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "MKCOL", "LOCK", "BREW", "get", "Get", "M-SEARCH", "A" * 300])
def test_e4_methods_that_the_route_does_not_have(stage: Stage, method: str) -> None:
    answer = stage.refuses_each(request(method, "/open", {}), 405, "method_not_allowed")
    assert answer.get(b"Allow") == b"GET, HEAD, OPTIONS, POST, PUT"


@pytest.mark.parametrize(
    "connection", [b"", b"Connection: keep-alive\r\n", b"Connection: Keep-Alive\r\nKeep-Alive: 5\r\n"]
)
def test_e5_http_1_0_gets_one_answer(stage: Stage, connection: bytes) -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n4\r\n all\r\n0\r\nX-Late: 1\r\n\r\n"
    for content, answer in ((b"hi all", chunks), (b"fine none\n", None)):
        if answer is None:
            stage.scripted.behave()
        else:
            stage.scripted.play(answer)
        with stage.nothing_arrives(), stage.client() as client:
            got = client.ask(b"GET /scripted HTTP/1.0\r\n" + connection + b"\r\n" + delivery(name="behind"))
            assert client.ended() == b""
        check_answer_to_http_1_0(got, content)


def check_answer_to_http_1_0(got: Answer, content: bytes) -> None:
    assert (got.status, got.content, got.version) == (200, content, b"HTTP/1.1")
    assert got.get(b"Transfer-Encoding") is None
    assert got.get(b"Connection") == b"close"
    assert got.get(b"X-Late") is None


def test_d5_heads_without_an_end(stage: Stage) -> None:
    endless = {
        "head_too_large": [
            b"POST /github HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 10_000,
            b"POST /github HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 100_000,
            b"POST /github HTTP/1.1\r\nHost: a\r\n" + b"X" * 100_000,
            b"P" * 100_000,
            b"POST /github HTTP/1.1\r\nHost: a\r\nX-A:" + b" " * 100_000,
            head(b"X-A: " + b"b" * MAX_HEAD, b"Content-Length: 5") + BODY,
            head(b"X" * 300 + b": b", b"Content-Length: 5") + BODY,
        ],
        "target_too_long": [
            b"POST /" + b"a" * 100_000,
            b"POST /github?" + b"a" * MAX_TARGET + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST http://a/" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        "bad_request": [b"\r\n" * 10_000],
    }
    statuses = {"head_too_large": 431, "target_too_long": 414, "bad_request": 400}
    for word, cases in endless.items():
        for data in cases:
            stage.refuses(data, statuses[word], word)


def test_d5_the_limits_to_the_byte(stage: Stage) -> None:
    start = request("POST", "/github", SIGNED | {"X-A": ""}, BODY)[: -len(BODY)]
    for more, status in ((MAX_HEAD - len(start), 200), (MAX_HEAD + 1 - len(start), 431)):
        data = request("POST", "/github", SIGNED | {"X-A": "a" * more}, BODY)
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            with stage.client() as client:
                for piece in pieces[:-1]:
                    client.sock.send(piece)
                assert client.ask(pieces[-1]).status == status
    room = MAX_TARGET - len("/github?")
    for size, status in ((room, 200), (room + 1, 414)):
        assert stage.ask(request("POST", "/github?" + "a" * size, SIGNED, BODY)).status == status


@pytest.mark.parametrize("many", [MAX_FIELDS, MAX_FIELDS + 1, 400])
@pytest.mark.parametrize("name", ["X-{}", "X", "Cookie", "X-Hub-Signature-256"])
def test_d7_fields_without_number(stage: Stage, many: int, name: str) -> None:
    count = many - 2
    fields = [(name.format(number), "") for number in range(count)]
    data = request("POST", "/open", fields, BODY)
    if many == MAX_FIELDS:
        assert stage.ask(data).status == 200
    else:
        stage.refuses(data, 431, "head_too_large")


@pytest.mark.parametrize("target", [b"/github", b"/hold", b"/open"])
def test_d6_floods_of_chunk_framing(stage: Stage, target: bytes) -> None:
    start = head(TE, content=BODY, target=target)
    verdict = "admitted" if target == b"/open" else "refused"
    extended = b"1;a=" + b"b" * 200 + b"\r\nx\r\n"
    crumbs = b"1\r\nx\r\n"
    for flood, detail in ((extended * 200, "chunk_overhead"), (crumbs * 20_000, "chunk_overhead")):
        with stage.client() as client:
            answer = client.ask(start + flood)
            assert client.ended() == b""
        stage.holds(answer, 400, "bad_request", detail, verdict=verdict)
    for end in (b"X: y\r\n" * 100, b"X: " + b"y" * 10_000):
        answer = stage.ask(start + b"0\r\n" + end)
        stage.holds(answer, 431, "head_too_large", "trailers", verdict=verdict)
    stage.holds(stage.ask(start + b"5" * 2000), 400, "bad_request", "bad_chunk", verdict=verdict)


@pytest.mark.parametrize("target", ["/github", "/hold", "/open", "/query?token=tok-5f1d0c2a9b"])
def test_d8_declared_over_the_limit(stage: Stage, target: str) -> None:
    fields = SIGNED | {"Content-Length": str(MAX_BODY + 1), "Expect": "100-continue"}
    stage.refuses(request("POST", target, fields), 413, "body_too_large")
    exact = request("POST", target, github(KEY, b"x" * MAX_BODY), b"x" * MAX_BODY)
    assert stage.ask(exact).status == 200
    more = b"x" * (MAX_BODY + 1)
    with stage.client() as client:
        answer = client.ask(request("POST", target, github(KEY, more), more, chunk_size=60_000))
        assert client.ended() == b""
    verdict = "refused" if target in {"/github", "/hold"} else "admitted"
    stage.holds(answer, 413, "body_too_large", "chunk_size", verdict=verdict)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hookward, RecordingUpstream]]:
    """A listener that demands PROXY headers, from 127.0.0.9 alone."""
    folder: Path = tmp_path_factory.mktemp("proxied")
    with RecordingUpstream() as upstream:
        (folder / "hookward.toml").write_text(
            f"""
            listen = ["127.0.0.1:0"]
            upstream = "{upstream.url}"
            proxy_protocol = "require"
            trusted_proxies = ["127.0.0.9"]
            [limits]
            head_timeout = "300ms"
            [route.open]
            path = "/open"
            allow = ["192.0.2.0/24"]
            """
        )
        hookward = Hookward("--config", str(folder / "hookward.toml"))
        yield hookward, upstream
        hookward.stop()


V1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H4B4BHH", 12, 192, 0, 2, 1, 127, 0, 0, 1, 4000, 443)
POST = request("POST", "/open", {}, BODY)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_e6_a_proxy_header_of_a_trusted_peer(proxied: tuple[Hookward, RecordingUpstream], header: bytes) -> None:
    hookward, upstream = proxied
    upstream.forget()
    with Client(hookward.address, source="127.0.0.9") as client:
        assert client.ask(header + POST).status == 200
        # The connection has its address once and for all: a second header is no request.
        assert client.ask(header).status == 400
        assert client.ended() == b""
    [got] = upstream.seen
    assert got.get_all(b"X-Forwarded-For") == [b"192.0.2.1"]


@pytest.mark.parametrize(
    ("source", "data"),
    [
        pytest.param("127.0.0.1", V1 + POST, id="untrusted_v1"),
        pytest.param("127.0.0.1", V2 + POST, id="untrusted_v2"),
        pytest.param("127.0.0.1", POST, id="untrusted_without"),
        pytest.param("127.0.0.9", POST, id="missing"),
        pytest.param("127.0.0.9", V1.replace(b"192.0.2.1", b"203.0.113.9") + POST, id="address_not_allowed"),
        pytest.param("127.0.0.9", V1.replace(b"192.0.2.1", b"192.0.2.1.1") + POST, id="no_address"),
        pytest.param("127.0.0.9", V1.replace(b"\r\n", b"\n") + POST, id="bare_lf"),
        pytest.param("127.0.0.9", V1.replace(b"TCP4", b"TCP9") + POST, id="unknown_family"),
        pytest.param("127.0.0.9", b" " + V1 + POST, id="space_before"),
        pytest.param("127.0.0.9", b"PROXY " + b"x" * 500, id="v1_oversized"),
        pytest.param("127.0.0.9", V2[:12] + b"\x31\x11" + V2[14:] + POST, id="v2_version_3"),
        pytest.param("127.0.0.9", V2[:14] + b"\xff\xff" + b"\x00" * 70_000, id="v2_oversized"),
        pytest.param("127.0.0.9", V2[:14] + b"\x00\x04" + V2[16:20] + POST, id="v2_too_short"),
    ],
)
def test_e6_any_other_proxy_header_is_reset(
    proxied: tuple[Hookward, RecordingUpstream], source: str, data: bytes
) -> None:
    hookward, upstream = proxied
    upstream.forget()
    with contextlib.suppress(ConnectionError), Client(hookward.address, source=source) as client:
        client.send(data)
        assert client.ended() == b""
    with Client(hookward.address, source="127.0.0.9") as client:
        assert client.ask(V1 + POST).status == 200
    assert len(upstream.seen) == 1


def test_pipelined_continue_is_answered_in_its_turn(stage: Stage) -> None:
    expecting = request("POST", "/github", SIGNED | {"Expect": "100-continue", "Content-Length": "5"})
    with stage.client() as client:
        client.send(delivery() + expecting)
        assert client.interim().status == 200
        assert client.interim().status == 100
        assert client.ask(BODY).status == 200
        client.send(expecting[:-2])
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)


def test_no_answer_of_ours_repeats_the_request(stage: Stage) -> None:
    for data in (b"<script>alert(1)</script> / HTTP/1.1\r\n\r\n", b"GET /<script> HTTP/1.1\r\nHost: a\r\n\r\n"):
        with stage.client() as client:
            answer = client.ask(data)
            assert re.fullmatch(rb"bad_request [0-9a-z]+\n", answer.content)
            assert b"script" not in answer.head
            with pytest.raises(ClosedError):
                client.answer()
