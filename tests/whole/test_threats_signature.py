"""Ways past the signature, S1 to S13 of docs/threat-model.md, on real sockets."""

from __future__ import annotations

import gzip
import hmac
import json
import socket
from time import time

import pytest

from tests.whole.recorder import Received, RecordingUpstream
from tests.whole.scripted import SILENCE
from tests.whole.stage import CONFIDENTIAL, KEY, MAX_BODY, SLACK_KEY, TOKEN, WINDOW, Stage, delivery, head
from tests.whole.wire import Answer, github, request

BODY = b'{"ref":"refs/heads/main"}'
SIGNED = github(KEY, BODY)
RIGHT = SIGNED["X-Hub-Signature-256"]
WRONG = "sha256=" + "0" * 64
UNSIGNED = {name: value for name, value in SIGNED.items() if name != "X-Hub-Signature-256"}
WITHHELD = 16 * 1024
BIG = bytes(range(256)) * 400  # 100 KiB: six windows

BODIES = {
    "json": BODY,
    "double_key": b'{"a":1,"a":2}',
    "gzip": gzip.compress(BODY, mtime=0),
    "utf_16": '{"a":"é"}'.encode("utf-16"),
    "not_utf_8": b"\xff\xfe\x80\x00",
    "line_ends": b"a\r\nb\nc\rd\r\n\r\n",
    "looks_like_chunks": b"5\r\nhello\r\n0\r\n\r\n",
    "looks_like_a_request": delivery(),
    "form": b"payload=%7B%22a%22%3A1%7D&x=+&y=%2B",
    "empty": b"",
    "one_window": b"x" * WINDOW,
    "streamed": BIG,
}


@pytest.mark.parametrize("size", [0, 1, 4096], ids=["length", "chunks_of_1", "chunks_of_4096"])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("route", ["/github", "/hold"])
def test_s1_what_was_hashed_is_what_arrives(stage: Stage, route: str, name: str, size: int) -> None:
    content = BODIES[name]
    if size == 1 and len(content) > 1000:
        size = 777
    fields = github(KEY, content) | {"Content-Encoding": "gzip", "Content-Type": "application/json; charset=utf-16"}
    got = stage.passes(request("POST", route, fields, content, chunk_size=size))
    assert got.content == content
    assert (got.get(b"Content-Encoding"), got.get(b"Content-Type")) == (b"gzip", b"application/json; charset=utf-16")
    assert got.get(b"X-Hub-Signature-256") == fields["X-Hub-Signature-256"].encode()


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        pytest.param(BODY, gzip.compress(BODY, mtime=0), id="decompressed"),
        pytest.param(BODY, BODY + b"\n", id="newline_added"),
        pytest.param(BODY + b"\n", BODY, id="newline_removed"),
        pytest.param(b"a\nb", b"a\r\nb", id="line_ends"),
        pytest.param('{"a":"é"}'.encode(), '{"a":"é"}'.encode("latin-1"), id="charset"),
        pytest.param(b'{"a":1}', b'{ "a": 1 }', id="json_written_anew"),
        pytest.param(b"a=b c", b"a=b+c", id="form_decoded"),
        pytest.param(BODY, b"\xef\xbb\xbf" + BODY, id="byte_order_mark"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="chunks_hashed_undecoded"),
        pytest.param(b"", BODY, id="nothing_signed"),
        pytest.param(BODY, b"", id="nothing_sent"),
    ],
)
def test_s1_another_reading_of_the_body_does_not_count(stage: Stage, signed: bytes, sent: bytes) -> None:
    for size in (0, 3):
        stage.refuses_each(
            request("POST", "/github", github(KEY, signed), sent, chunk_size=size), 403, "signature_mismatch"
        )


def refused_for_its_signature(stage: Stage, fields: list[tuple[str, str]], words: set[str]) -> None:
    data = request("POST", "/github", fields, BODY)
    with stage.nothing_arrives(), stage.client() as client:
        answer = client.ask(data)
    assert answer.word in words
    stage.holds(answer, 400 if answer.word == "bad_request" else 403, answer.word)


NAME = "X-Hub-Signature-256"
MALFORMED, MISMATCH, MISSING = {"signature_malformed"}, {"signature_mismatch"}, {"signature_missing"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param([(NAME, RIGHT), (NAME, WRONG)], MALFORMED, id="right_then_wrong"),
        pytest.param([(NAME, WRONG), (NAME, RIGHT)], MALFORMED, id="wrong_then_right"),
        pytest.param([(NAME, RIGHT), (NAME, RIGHT)], MALFORMED, id="right_twice"),
        pytest.param([(NAME, RIGHT), (NAME.lower(), RIGHT)], MALFORMED, id="twice_in_another_case"),
        pytest.param([(NAME, ""), (NAME, RIGHT)], MALFORMED | MISSING, id="empty_then_right"),
        pytest.param([(NAME, f"{RIGHT}, {WRONG}")], MALFORMED, id="list"),
        pytest.param([(NAME, f"{WRONG},{RIGHT}")], MALFORMED, id="list_turned"),
        pytest.param([(NAME, f"{RIGHT};{RIGHT}")], MALFORMED, id="semicolon"),
        pytest.param([(NAME, f"{RIGHT} {RIGHT}")], MALFORMED, id="space"),
        pytest.param([(NAME, f'"{RIGHT}"')], MALFORMED, id="quoted"),
        pytest.param([(NAME, RIGHT[:7] + RIGHT[7:].upper() + "00")], MALFORMED, id="too_long"),
        pytest.param([(NAME, RIGHT[:-1])], MALFORMED, id="too_short"),
        pytest.param([(NAME, RIGHT.replace("=", " = "))], MALFORMED, id="blanks_around_the_equals_sign"),
        pytest.param([(NAME, RIGHT.replace("sha256", "sha512"))], MALFORMED, id="another_algorithm"),
        pytest.param([(NAME, RIGHT.replace("sha256", "none"))], MALFORMED, id="algorithm_none"),
        pytest.param([(NAME, RIGHT[7:])], MALFORMED, id="no_prefix"),
        pytest.param([(NAME, "sha256=")], MALFORMED, id="prefix_alone"),
        pytest.param([(NAME, "sha256=" + "g" * 64)], MALFORMED, id="not_hex"),
        pytest.param([(NAME, "sha256=" + "\uff10" * 64)], MALFORMED, id="digits_of_another_alphabet"),
        pytest.param([(NAME, "sha1=" + hmac.new(KEY, BODY, "sha1").hexdigest())], MALFORMED, id="downgraded"),
        pytest.param([("X-Hub-Signature", "sha1=" + hmac.new(KEY, BODY, "sha1").hexdigest())], MISSING, id="old_field"),
        pytest.param([("X_Hub_Signature_256", RIGHT)], MISSING, id="underscores"),
        pytest.param([("X-Hub_Signature-256", RIGHT)], MISSING, id="one_underscore"),
        pytest.param([("X-Hub-Signature-256-", RIGHT)], MISSING, id="another_name"),
        pytest.param([("Cookie", f"{NAME}={RIGHT}")], MISSING, id="cookie"),
        pytest.param([("Authorization", RIGHT)], MISSING, id="authorization"),
        pytest.param([("Connection", NAME), ("X_Hub_Signature_256", RIGHT)], MISSING, id="underscores_and_connection"),
        pytest.param([(NAME, "")], MISSING, id="empty"),
        pytest.param([(NAME, WRONG), ("X_Hub_Signature_256", RIGHT)], MISMATCH, id="wrong_and_underscores_right"),
    ],
)
def test_s2_exactly_one_signature_in_its_form(stage: Stage, lines: list[tuple[str, str]], words: set[str]) -> None:
    lines = [(name, value.encode().decode("latin-1")) for name, value in lines]
    refused_for_its_signature(stage, [*UNSIGNED.items(), *lines], words)


def test_s2_a_folded_signature_is_no_signature(stage: Stage) -> None:
    folded = f"{NAME}:\r\n {RIGHT}".encode()
    lines = [f"{name}: {value}".encode() for name, value in UNSIGNED.items()]
    data = b"\r\n".join([b"POST /github HTTP/1.1", b"Host: a", b"Content-Length: 25", *lines, folded, b"", BODY])
    stage.refuses(data, 400, "bad_request", "obs_fold")


def test_s2_a_signature_in_the_query_is_none(stage: Stage) -> None:
    data = request("POST", f"/github?X-Hub-Signature-256={RIGHT}&signature={RIGHT[7:]}", UNSIGNED, BODY)
    stage.refuses_each(data, 403, "signature_missing")


LISTED = (
    *("X-Hub-Signature-256", "x-hub-signature-256", "close, X-Hub-Signature-256", "keep-alive,X-HUB-SIGNATURE-256 "),
    *("Host", "Content-Length", "Content-Type", "Authorization", "Cookie", "User-Agent", "X-GitHub-Event"),
    *(
        "X-Forwarded-For",
        "X-Forwarded-Proto, X-Request-Id",
        "Webhook-Verified",
        ",, ,",
        "close, close",
        "\x80",
        '"X-A"',
    ),
)


@pytest.mark.parametrize("listed", LISTED)
def test_s3_connection_takes_nothing_away(stage: Stage, listed: str) -> None:
    kept = {"Authorization": "Bearer a", "Cookie": "a=b", "X-GitHub-Hook-ID": "1"}
    got = stage.passes(request("POST", "/github", SIGNED | kept | {"Connection": listed}, BODY))
    for name, value in {**SIGNED, **kept, "Host": "hooks.example.com", "Content-Length": "25"}.items():
        assert got.get_all(name.encode()) == [value.encode()]
    assert got.get_all(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert got.get(b"Webhook-Verified") == b"github; secret=secret-1; id=d-1"
    assert got.get(b"X-Request-Id")
    assert got.get(b"Connection") is None


@pytest.mark.parametrize(
    "value",
    [
        b"\xff" * 71,
        b"sha256=" + b"\xe9" * 64,
        b"sha256=" + "é".encode() * 32,
        b"sha256=\xc0\x80",
        b"\xa0" + RIGHT.encode(),
    ],
    ids=repr,
)
def test_s4_a_signature_over_ascii_is_refused_and_never_a_fault(stage: Stage, value: bytes) -> None:
    refused_for_its_signature(stage, [*UNSIGNED.items(), (NAME, value.decode("latin-1"))], MALFORMED)


@pytest.mark.parametrize("value", ["\xff", "tok-5f1d0c2a9\xe2", "%ff", "%00", "%zz", "é"])
def test_s4_a_token_over_ascii_is_refused_and_never_a_fault(stage: Stage, value: str) -> None:
    with stage.nothing_arrives():
        answer = stage.ask(request("POST", f"/query?token={value}", {}, BODY))
    assert answer.status in {400, 403}
    assert stage.line_of(answer)["webhook.reason"] in {"bad_request", "token_mismatch"}


@pytest.mark.parametrize("route", ["/github", "/hold"])
@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        pytest.param({"Content-Length": "26"}, BODY, id="one_byte_missing"),
        pytest.param({"Content-Length": "1000"}, BODY, id="much_missing"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"19\r\n" + BODY + b"\r\n", id="last_chunk_missing"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"19\r\n" + BODY + b"\r\n0\r\n", id="last_line_missing"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"19\r\n" + BODY + b"\r\n0\r\n\r", id="last_byte_missing"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"1a\r\n" + BODY, id="chunk_incomplete"),
    ],
)
def test_s5_a_right_signature_over_half_a_message(
    stage: Stage, route: str, framing: dict[str, str], sent: bytes
) -> None:
    with stage.nothing_arrives(), stage.client() as client:
        client.send(request("POST", route, SIGNED | framing) + sent)
        client.sock.shutdown(socket.SHUT_WR)
        answer = client.answer()
        assert client.ended() == b""
    stage.holds(answer, 400, "bad_request", "truncated")


def test_s6_each_request_is_verified_by_itself(stage: Stage) -> None:
    unsigned = request("POST", "/github", UNSIGNED, BODY)
    forged = request("POST", "/github", github(b"guess", BODY), BODY)
    stage.upstream.forget()
    with stage.client() as client:
        assert client.ask(delivery()).status == 200
        assert client.ask(unsigned).word == "signature_missing"
        assert client.ask(forged).word == "signature_mismatch"
        client.send(delivery() + unsigned + forged + delivery() + unsigned)
        words = [client.answer().word for _ in range(5)]
    assert words == ["ok", "signature_missing", "signature_mismatch", "ok", "signature_missing"]
    assert [one.get(b"X-Hub-Signature-256") is not None for one in stage.upstream.seen] == [True] * 3


METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "post", "Post", "PURGE", "PROPFIND", "X" * 200, "POST!")


@pytest.mark.parametrize("method", METHODS)
def test_s7_no_method_skips_the_check(stage: Stage, method: str) -> None:
    with stage.nothing_arrives():
        answer = stage.ask(request(method, "/github", SIGNED | {"X-HTTP-Method-Override": "POST"}), method=method)
    assert (answer.status, answer.get(b"Allow")) == (405, b"POST")
    assert stage.line_of(answer)["webhook.reason"] == "method_not_allowed"


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override"]
)
def test_s7_overrides_are_dropped(stage: Stage, name: str) -> None:
    got = stage.passes(request("POST", "/github", SIGNED | {name: "DELETE"}, BODY))
    assert got.method == b"POST"
    assert not [field for field, _ in got.fields if b"method" in field.lower()]


GUARDED_UPSTREAM = (
    *("/open/../github", "/open/..;/github", "/open/..;x=1/github", "/open/%2e%2e/github", "/open/.%2e/github"),
    *("/open/..%2fgithub", "/open/..%5cgithub", "/open\\..\\github", "/open/%252e%252e/github", "/open/./../github"),
    *("/open//../github", "//github", "/open;/../github", "/open/%c0%ae%c0%ae/github", "/open/%ef%bc%8e./github"),
    *("/open/..%00/github", "/open/..%20/github", "/open/%2e%2e%2fgithub", "/open/x/../../github", "/./github"),
    *(
        "/open#/../github",
        "/open%23/../github",
        "/open/%u002e./github",
        "/open/..",
        "/open/%2e",
        "/g%69thub",
        "/open/..",
    ),
)


@pytest.mark.parametrize("target", GUARDED_UPSTREAM)
def test_s8_no_open_path_means_a_guarded_one(stage: Stage, target: str) -> None:
    stage.refuses(request("POST", target, {}, BODY), 400, "bad_request")


@pytest.mark.parametrize("target", ["/opengithub", "/OPEN", "/Open/github", "/open.php", "/ope", "/open-", "/open%20"])
def test_s8_paths_are_whole_segments_in_their_case(stage: Stage, target: str) -> None:
    stage.refuses_each(request("POST", target, {}, BODY), 404, "path_not_matched")


@pytest.mark.parametrize("size", [0, 1000], ids=["length", "chunked"])
@pytest.mark.parametrize(("route", "length"), [("/github", 2), ("/github", WINDOW), ("/hold", 2), ("/hold", len(BIG))])
def test_s9_no_byte_goes_up_before_the_verdict(stage: Stage, route: str, length: int, size: int) -> None:
    content = BIG[:length]
    whole = request("POST", route, github(KEY, content), content, chunk_size=size)
    with stage.client() as client:
        with stage.nothing_arrives():
            client.send(whole[:-1])
        stage.upstream.forget()
        assert client.ask(whole[-1:]).status == 200
        [got] = stage.upstream.wait_complete()
    assert got.content == content
    forged = request("POST", route, github(b"guess", content), content, chunk_size=size)
    stage.refuses_each(forged, 403, "signature_mismatch")


def begun(upstream: RecordingUpstream) -> bool:
    return bool(upstream.seen) and upstream.seen[0].length > 0


def broken(upstream: RecordingUpstream) -> bool:
    return bool(upstream.seen) and upstream.seen[0].broken_off


def check_aborted(stage: Stage) -> Received:
    """The upstream has the beginning of one request, was reset, and has never had its end."""
    stage.upstream.wait(broken)
    [got] = stage.upstream.seen
    assert got.reset
    assert 0 < got.length <= len(BIG) - WITHHELD
    stage.fence()
    return got


@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
@pytest.mark.parametrize("end", ["forged", "vanished", "reset", "framing"])
def test_s9a_beyond_the_window_an_end_that_is_not_proved_is_a_reset(stage: Stage, end: str, size: int) -> None:
    key = b"guess" if end == "forged" else KEY
    whole = request("POST", "/github", github(key, BIG), BIG, chunk_size=size)
    if end == "framing":
        whole = whole[:-1] + b"X" if size else whole[:-1]
    stage.upstream.forget()
    with stage.client() as client:
        client.send(whole[:-1])
        stage.upstream.wait(begun)
        if end == "vanished":
            client.sock.close()
        elif end == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sock.close()
        elif end == "forged":
            stage.holds(client.ask(whole[-1:]), 403, "signature_mismatch")
        elif size:
            stage.holds(client.ask(whole[-1:]), 400, "bad_request", "bad_trailer")
        else:
            client.sock.shutdown(socket.SHUT_WR)
            stage.holds(client.answer(), 400, "bad_request", "truncated")
    check_aborted(stage)


@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
def test_s9c_no_claim_before_the_verdict(stage: Stage, size: int) -> None:
    """An application that acts on a head would take the claim for the proof; here the signature is all zeros."""
    stage.upstream.forget()
    with stage.client() as client:
        client.send(request("POST", "/github", SIGNED | {"X-Hub-Signature-256": WRONG}, BIG, chunk_size=size)[:-1])
        stage.upstream.wait(begun)
        assert stage.upstream.seen[0].get(b"Webhook-Verified") is None


@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
@pytest.mark.parametrize(("route", "body"), [("/github", BODY), ("/hold", BIG)], ids=["window", "held"])
def test_s9c_a_claim_means_that_the_whole_body_was_judged(stage: Stage, route: str, body: bytes, size: int) -> None:
    got = stage.passes(request("POST", route, github(KEY, body), body, chunk_size=size))
    assert got.content == body
    assert got.get(b"Webhook-Verified") == b"github; secret=secret-1; id=d-1"


@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
def test_s9c_a_body_that_streams_has_no_claim(stage: Stage, size: int) -> None:
    """However right it is: its head left before the verdict. One that comes in a single read is judged whole."""
    data = request("POST", "/github", github(KEY, BIG), BIG, chunk_size=size)
    stage.upstream.forget()
    with stage.client() as client:
        client.send(data[:-1])
        stage.upstream.wait(begun)
        assert client.send(data[-1:]).answer().status == 200
    [got] = stage.upstream.wait_complete()
    assert got.content == BIG
    assert got.get(b"Webhook-Verified") is None


EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nearly\n"


def play_early(stage: Stage, key: bytes, size: int) -> tuple[bytes, Answer]:
    """A streamed body whose upstream has answered before its end; (what the sender saw until then, its answer)."""
    whole = request("POST", "/judged", github(key, BIG), BIG, chunk_size=size)
    stage.scripted.play(EARLY, SILENCE, on="head")
    with stage.client() as client:
        client.send(whole[:-1])
        stage.scripted.wait(lambda upstream: upstream.seen)
        client.sock.settimeout(0.1)
        try:
            before = client.sock.recv(100)
        except TimeoutError:
            before = b""
        client.sock.settimeout(15)
        return before, client.ask(whole[-1:])


@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
def test_s9b_no_answer_before_the_verdict(stage: Stage, size: int) -> None:
    before, answer = play_early(stage, b"guess", size)
    assert before == b""
    stage.holds(answer, 403, "signature_mismatch")
    [first] = stage.scripted.seen
    assert not first.complete
    before, answer = play_early(stage, KEY, size)
    assert before == b""
    assert (answer.status, answer.content) == (200, b"early\n")
    [second] = stage.scripted.seen
    assert second.connection != first.connection
    stage.scripted.behave()
    assert stage.ask(delivery(target="/judged")).content == b"fine none\n"
    assert stage.scripted.seen[-1].connection not in {first.connection, second.connection}


@pytest.mark.parametrize(
    ("seconds", "word"), [(-310, "timestamp_too_old"), (310, "timestamp_in_future"), (-(10**9), "timestamp_too_old")]
)
def test_s10_a_signature_has_its_time(stage: Stage, seconds: int, word: str) -> None:
    def fields(at: int) -> dict[str, str]:
        signature = hmac.new(SLACK_KEY, f"v0:{at}:".encode() + BODY, "sha256").hexdigest()
        return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": f"v0={signature}"}

    at = int(time())
    stage.refuses_each(request("POST", "/slack", fields(at + seconds), BODY), 403, word)
    moved = fields(at + seconds) | {"X-Slack-Request-Timestamp": str(at)}
    stage.refuses_each(request("POST", "/slack", moved, BODY), 403, "signature_mismatch")
    assert stage.passes(request("POST", "/slack", fields(at), BODY)).content == BODY


@pytest.mark.parametrize(
    "end", [b"0\n\r\n", b"0\r\n\n", b"0\r\nX\r\n\r\n", b"0;\x01\r\n\r\n", b"-0\r\n\r\n", b"0\r\n\r\r"]
)
@pytest.mark.parametrize("route", [b"/github", b"/hold"])
def test_s10a_no_verdict_before_the_framing_has_ended(stage: Stage, route: bytes, end: bytes) -> None:
    start = head(b"Transfer-Encoding: chunked", content=BODY, target=route)
    stage.refuses(start + b"19\r\n" + BODY + b"\r\n" + end, 400, "bad_request")


@pytest.mark.parametrize(
    ("target", "fields", "status", "word"),
    [
        pytest.param("/github", UNSIGNED, 403, "signature_missing", id="unsigned"),
        pytest.param("/github", SIGNED | {NAME: "sha256=x"}, 403, "signature_malformed", id="malformed"),
        pytest.param("/nowhere", SIGNED, 404, "path_not_matched", id="path"),
        pytest.param("/query?token=guess", {}, 403, "token_mismatch", id="token"),
        pytest.param("/github", SIGNED | {"Content-Length": str(MAX_BODY + 1)}, 413, "body_too_large", id="length"),
        pytest.param("/github/..", SIGNED, 400, "bad_request", id="target"),
        pytest.param("/github", SIGNED | {"Transfer-Encoding": "x"}, 400, "bad_request", id="framing"),
    ],
)
def test_s11_no_continue_where_the_head_is_refused(
    stage: Stage, target: str, fields: dict[str, str], status: int, word: str
) -> None:
    data = request("POST", target, {"Content-Length": "2000", "Expect": "100-continue"} | fields)
    with stage.nothing_arrives(), stage.client() as client:
        answer = client.ask(data)
        assert answer.get(b"Connection") == b"close"
        client.send(b"x" * 2000 + delivery(name="behind"))
        assert client.ended() == b""
    stage.holds(answer, status, word)


def test_s12_nothing_that_is_secret_is_told(stage: Stage) -> None:
    content = CONFIDENTIAL * 3
    fields = github(KEY, content) | {
        "Authorization": f"Bearer {CONFIDENTIAL.decode()}",
        "Cookie": CONFIDENTIAL.decode(),
    }
    stage.passes(request("POST", "/github", fields, content))
    for key, wrong in ((KEY, content + b"!"), (b"guess", content)):
        stage.refuses_each(
            request("POST", "/github", fields | github(key, content), wrong + b"?"), 403, "signature_mismatch"
        )
    stage.refuses(head(b"Transfer-Encoding: chunked") + content, 400, "bad_request")
    stage.refuses(b"POST /" + CONFIDENTIAL + b"\n\n", 400, "bad_request")
    query = request("POST", f"/query?token={CONFIDENTIAL.decode()}", {}, content)
    stage.refuses_each(query, 403, "token_mismatch")
    assert stage.passes(request("POST", f"/query?token={TOKEN.decode()}&a=b", {}, b"x")).target == b"/query?a=b"
    log = stage.hookward.out.text + stage.hookward.err.text
    for secret in (CONFIDENTIAL, KEY, TOKEN, SLACK_KEY, fields[NAME].encode(), RIGHT[7:].encode()):
        assert secret.decode() not in log


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        pytest.param(request("GET", "/github/..", {"Content-Length": "9999999"}), 400, "bad_request", id="path_form"),
        pytest.param(request("GET", "/nowhere", {"Content-Length": "9999999"}), 404, "path_not_matched", id="path"),
        pytest.param(request("GET", "/github", {"Content-Length": "9999999"}), 405, "method_not_allowed", id="method"),
        pytest.param(request("POST", "/github", {"Content-Length": "9999999"}), 413, "body_too_large", id="length"),
        pytest.param(request("POST", "/github", {}), 411, "length_required", id="no_length"),
        pytest.param(request("POST", "/github", {"Content-Length": "9999"}), 403, "signature_missing", id="missing"),
        pytest.param(
            request("POST", "/github", {"Content-Length": "9999", NAME: "x"}),
            403,
            "signature_malformed",
            id="malformed",
        ),
        pytest.param(request("POST", "/query", {"Content-Length": "9999"}), 403, "token_missing", id="token"),
    ],
)
def test_s13_cheap_checks_come_first_and_without_the_body(stage: Stage, data: bytes, status: int, word: str) -> None:
    with stage.nothing_arrives(), stage.client() as client:
        stage.holds(client.ask(data), status, word)


def test_the_log_is_one_line_for_each(stage: Stage) -> None:
    for line in stage.hookward.out.lines:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["webhook.reason"]
