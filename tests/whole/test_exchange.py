"""One exchange after the other: keep-alive, pipelining, 100-continue, HEAD, what crosses and what does not, and what an
upstream may do wrong.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, ClosedError, github, once, request

BODY = b'{"zen":"Keep it logically awesome."}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture
def upstream(lasting_upstream: RecordingUpstream) -> RecordingUpstream:
    lasting_upstream.renew()
    return lasting_upstream


@pytest.fixture
def hookward(start_once: Callable[..., Hookward], upstream: RecordingUpstream, folder: Path) -> Hookward:
    return start_once("--config", configuration(folder, upstream.url), secrets=(SECRET, b"t0ken-in-url-4711"))


def configuration(folder: Path, url: str) -> Path:
    (folder / "token").write_bytes(b"t0ken-in-url-4711\n")
    (folder / "github.secret").write_bytes(SECRET)
    for name in ("token", "github.secret"):
        (folder / name).chmod(0o600)
    path = folder / "hookward.toml"
    path.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        upstream = "{url}"
        [limits]
        upstream_timeout = "1s"
        [route.github]
        path = "/github"
        methods = ["POST", "HEAD"]
        provider = "github"
        secrets = [ {{ name = "2026-q4", from = "file:{folder}/github.secret" }} ]
        [route.query]
        path = "/query"
        token = {{ query = "token", secrets = ["file:{folder}/token"] }}
        [route.open]
        path = "/open"
        methods = ["GET", "HEAD", "POST"]
        allow = ["127.0.0.0/8"]
        """
    )
    return path


def signed(target: str = "/github", content: bytes = BODY, **fields: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return request("POST", target, github(SECRET, content) | named, content)


def test_keep_alive(hookward: Hookward, upstream: RecordingUpstream) -> None:
    with Client(hookward.address) as client:
        for _ in range(20):
            assert client.ask(signed()).status == 200
    upstream.wait_complete(20)
    assert upstream.connections == 1


def test_connection_close_is_honoured(hookward: Hookward) -> None:
    with Client(hookward.address) as client:
        answer = client.ask(signed(Connection="close"))
        assert answer.get(b"Connection") == b"close"
        assert client.ended() == b""


def test_http_1_0_gets_length_or_close(hookward: Hookward, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    with Client(hookward.address) as client:
        answer = client.ask(b"GET /open HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.content) == (200, b"hi")
        assert answer.get(b"Transfer-Encoding") is None
        assert client.ended() == b""


def test_pipelining_answers_in_order_and_judges_each(hookward: Hookward, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = lambda one: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + one.content[:1]
    with Client(hookward.address) as client:
        client.send(b"".join(signed(content=b"%d" % number) for number in range(8)))
        assert [client.answer().content for _ in range(8)] == [b"%d" % number for number in range(8)]
        unsigned = request("POST", "/github", {}, b"9")
        client.send(signed(content=b"8") + unsigned)
        assert client.answer().content == b"8"
        assert client.answer().word == "signature_missing"
    assert len(upstream.wait_complete(9)) == 9


def test_continue_comes_after_the_head_is_admitted(hookward: Hookward, upstream: RecordingUpstream) -> None:
    fields = github(SECRET, BODY) | {"Expect": "100-continue", "Content-Length": str(len(BODY))}
    with Client(hookward.address) as client:
        client.send(request("POST", "/github", fields))
        assert client.interim().status == 100
        assert client.ask(BODY).status == 200
    [got] = upstream.wait_complete()
    assert got.get(b"Expect") is None


def test_head_has_no_content(hookward: Hookward, upstream: RecordingUpstream) -> None:
    with Client(hookward.address) as client:
        for _ in range(2):
            answer = client.ask(request("HEAD", "/open"), method="HEAD")
            assert (answer.status, answer.get(b"Content-Length")) == (200, b"3")
        client.send(request("HEAD", "/open", {"Connection": "close"}))
        assert client.answer(method="HEAD").status == 200
        assert client.ended() == b""


def test_what_crosses_is_what_was_sent(hookward: Hookward, upstream: RecordingUpstream) -> None:
    assert once(hookward.address, signed("/github/deep?a=1&b=%20&&c", X_Custom_Name="Val  ue")).status == 200
    [got] = upstream.wait_complete()
    assert (got.method, got.target, got.content) == (b"POST", b"/github/deep?a=1&b=%20&&c", BODY)
    for name, value in github(SECRET, BODY).items():
        assert (name.encode(), value.encode()) in got.fields
    assert (b"X-Custom-Name", b"Val  ue") in got.fields
    assert got.get(b"Host") == b"hooks.example.com"


def test_forwarding_and_provenance_are_ours(hookward: Hookward, upstream: RecordingUpstream) -> None:
    forged = {
        "X_Forwarded_For": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X_Real_IP": "203.0.113.9",
        "X_Forwarded_Proto": "gopher",
        "X_Forwarded_Host": "evil",
        "Webhook_Verified": "github; secret=forged",
        "X_Request_Id": "a b",
        "X_Original_URL": "/admin",
        "Proxy": "http://evil",
        "Upgrade": "h2c",
        "Connection": "keep-alive, Upgrade, X-Hub-Signature-256, X-Drop",
        "X_Drop": "1",
        "TE": "trailers",
    }
    answer = once(hookward.address, signed(**forged))
    assert answer.status == 200
    [got] = upstream.wait_complete()
    assert got.get_all(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert got.get_all(b"X-Forwarded-Proto") == [b"http"]
    assert got.get_all(b"X-Forwarded-Host") == [b"hooks.example.com"]
    assert got.get_all(b"Webhook-Verified") == [b"github; secret=2026-q4; id=d-1"]
    [request_id] = got.get_all(b"X-Request-Id")
    assert b" " not in request_id
    for gone in (b"Forwarded", b"X-Real-IP", b"X-Original-URL", b"Proxy", b"Upgrade", b"X-Drop", b"TE"):
        assert got.get(gone) is None, gone
    assert got.get(b"X-Hub-Signature-256") is not None


def test_a_query_token_is_stripped_and_redacted(hookward: Hookward, upstream: RecordingUpstream) -> None:
    answer = once(hookward.address, request("POST", "/query?a=1&token=t0ken-in-url-4711&b=2", {}, BODY))
    assert answer.status == 200
    [got] = upstream.wait_complete()
    assert got.target == b"/query?a=1&b=2"
    assert b"4711" not in got.head
    line = hookward.line_of(got.get(b"X-Request-Id"))
    assert (line["http.route"], line["url.path"]) == ("query", "/query")


def test_the_log_line_names_what_happened(hookward: Hookward, upstream: RecordingUpstream) -> None:
    answer = once(hookward.address, signed())
    [got] = upstream.wait_complete()
    line = hookward.line_of(got.get(b"X-Request-Id"))
    wanted = {
        "http.route": "github",
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "http.request.method": "POST",
        "url.path": "/github",
        "http.response.status_code": 200,
        "webhook.verdict": "admitted",
        "webhook.reason": "delivered",
        "webhook.provider": "github",
        "webhook.event": "push",
        "webhook.delivery_id": "d-1",
        "webhook.secret_name": "2026-q4",
    }
    assert {key: line.get(key) for key in wanted} == wanted
    assert 0 <= line["http.server.request.duration"] < 10
    assert answer.get(b"X-App") == b"yes"


class TestUpstreamFaults:
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
            b"<html>hello</html>\r\n\r\n",
        ],
        ids=["version", "both_lengths", "two_lengths", "bare_lf", "obs_fold", "switching", "status", "http_0_9"],
    )
    def test_invalid_answer(self, hookward: Hookward, upstream: RecordingUpstream, answer: bytes) -> None:
        upstream.manner.answer = answer
        got = once(hookward.address, signed())
        assert (got.status, got.word) == (502, "upstream_invalid")

    def test_unreachable(self, start: Callable[..., Hookward], tmp_path: Path) -> None:
        with RecordingUpstream() as gone:
            hookward = start("--config", configuration(tmp_path, gone.url))
        got = once(hookward.address, signed())
        assert (got.status, got.word) == (502, "upstream_unreachable")

    def test_reset_before_the_answer(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.reset_after = 0
        got = once(hookward.address, signed())
        assert (got.status, got.word) == (502, "upstream_reset")
        assert upstream.connections <= 2

    def test_a_delivery_is_never_sent_twice(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        with Client(hookward.address) as client:
            assert client.ask(signed()).status == 200
            upstream.manner.answer = b""
            upstream.manner.close = True
            assert client.ask(signed()).status == 502
        assert len(upstream.complete) == 2

    def test_timeout(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.when = "never"
        got = once(hookward.address, signed())
        assert (got.status, got.word) == (504, "upstream_timeout")

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ],
        ids=["length", "chunked"],
    )
    def test_a_truncated_answer_is_visibly_broken(
        self, hookward: Hookward, upstream: RecordingUpstream, answer: bytes
    ) -> None:
        upstream.manner.answer = answer
        upstream.manner.close = True
        with Client(hookward.address) as client, pytest.raises((ClosedError, ConnectionResetError)):
            client.ask(signed())

    def test_an_answer_that_ends_with_the_connection(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.answer = b"HTTP/1.1 200 OK\r\n\r\nall of it"
        upstream.manner.close = True
        assert once(hookward.address, signed()).content == b"all of it"

    def test_bytes_after_an_answer_poison_nothing(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.answer = lambda one: (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        )
        with Client(hookward.address) as client:
            assert [client.ask(signed()).content for _ in range(3)] == [b"ok"] * 3
        assert upstream.connections == 3

    def test_interim_answers_are_swallowed(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.answer = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        )
        with Client(hookward.address) as client:
            assert client.ask(signed()).status == 202
            assert client.ask(signed()).status == 202

    def test_hop_by_hop_fields_of_an_answer_stay_here(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.answer = (
            b"HTTP/1.1 204 No Content\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n"
            b"Upgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
        )
        got = once(hookward.address, signed())
        names = [name.lower() for name, _ in got.fields]
        assert not {b"x-secret", b"keep-alive", b"upgrade"} & set(names)
        assert names.count(b"set-cookie") == 2


def test_the_sender_may_half_close(hookward: Hookward) -> None:
    with Client(hookward.address) as client:
        client.send(signed())
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 200


def test_content_length_is_kept_where_it_was_sent(hookward: Hookward, upstream: RecordingUpstream) -> None:
    once(hookward.address, signed())
    [got] = upstream.wait_complete()
    assert got.get_all(b"Content-Length") == [str(len(BODY)).encode()]
    assert got.get(b"Transfer-Encoding") is None
