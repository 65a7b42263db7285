"""What the upstream may do wrong, R1 to R11 of docs/threat-model.md: the sender gets a documented 502 or 504, or its
connection visibly breaks; that upstream connection is not used again; and the next exchanges get their own answers.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.whole.process import Hookward
from tests.whole.scripted import CLOSE, FLOOD, RESET, SILENCE, ScriptedUpstream, Step, fine, in_pieces
from tests.whole.stage import KEY, Stage
from tests.whole.wire import PATIENCE_S, Answer, Client, ClosedError, github, request

OK = b"HTTP/1.1 200 OK\r\n"


def question(case: str = "first", method: str = "POST", **fields: str) -> bytes:
    content = b"{}" if method == "POST" else None
    return request(method, "/scripted", {"X-Case": case} | fields, content)


def unharmed(stage: Stage, number: int = 3) -> None:
    """Each of the next exchanges gets its own answer, and none goes over a connection that has misbehaved."""
    spoilt = {one.connection for one in stage.scripted.seen}
    stage.scripted.play()
    with stage.client() as client:
        for case in map(str, range(number)):
            assert client.ask(question(case)).content == b"fine %b\n" % case.encode()
    assert not spoilt & {one.connection for one in stage.scripted.seen}


@contextmanager
def fails(
    stage: Stage, word: str, *, or_word: str = "", status: int = 502, detail: str | None = None
) -> Iterator[Callable[..., Answer]]:
    """The question of the block is answered so, and asked once: a delivery is never repeated."""

    def ask(data: bytes | None = None) -> Answer:
        with stage.client() as client:
            answer = client.ask(data or question())
            assert answer.status == status
            assert answer.word in {word, or_word}
            line = stage.line_of(answer)
            assert (line["webhook.reason"], line["webhook.ended_by"]) == (answer.word, "upstream")
            assert (line["http.response.status_code"], line["severity"]) == (status, "ERROR")
            if detail is not None:
                assert line["webhook.detail"] == detail
            # The sender's connection is as good as ever: it was read whole, and answered whole.
            assert answer.get(b"Connection") is None
            assert client.ask(request("GET", "/open")).status == 200
        return answer

    yield ask
    assert len(stage.scripted.seen) <= 1
    unharmed(stage)


BAD_ANSWERS: dict[str, tuple[bytes, str]] = {
    "both_lengths": (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "cl_te"),
    "both_lengths_turned": (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "cl_te"),
    "two_lengths": (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "framing_repeated"),
    "two_equal_lengths": (OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "framing_repeated"),
    "list_of_lengths": (OK + b"Content-Length: 1, 1\r\n\r\nx", "bad_content_length"),
    "length_with_a_sign": (OK + b"Content-Length: +1\r\n\r\nx", "bad_content_length"),
    "length_below_zero": (OK + b"Content-Length: -1\r\n\r\nx", "bad_content_length"),
    "length_in_hex": (OK + b"Content-Length: 0x1\r\n\r\nx", "bad_content_length"),
    "empty_length": (OK + b"Content-Length:\r\n\r\nx", "bad_content_length"),
    "length_that_overflows": (OK + b"Content-Length: 18446744073709551617\r\n\r\nx", "bad_content_length"),
    "two_codings": (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "framing_repeated"),
    "other_coding": (OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "bad_transfer_encoding"),
    "gzip_coding": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "bad_transfer_encoding"),
    "identity": (OK + b"Transfer-Encoding: identity\r\n\r\nx", "bad_transfer_encoding"),
    "coding_in_1_0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "te_in_http10"),
    "bad_chunk_size": (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "bad_chunk"),
    "chunk_lf": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", "bare_lf"),
    "chunk_extension": (OK + b"Transfer-Encoding: chunked\r\n\r\n1;\x00\r\nx\r\n0\r\n\r\n", "bad_chunk"),
    "chunk_end": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxX0\r\n\r\n", "bad_chunk"),
    "bare_lf": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare_lf"),
    "one_bare_lf": (OK + b"X-A: b\nContent-Length: 0\r\n\r\n", "bare_lf"),
    "bare_cr": (OK + b"X-A: b\rc\r\nContent-Length: 0\r\n\r\n", "bare_cr"),
    "obs_fold": (OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "obs_fold"),
    "nul": (OK + b"X-A: \x00\r\nContent-Length: 0\r\n\r\n", "nul"),
    "control_byte": (OK + b"X-A: \x1b[2J\r\nContent-Length: 0\r\n\r\n", "control_byte"),
    "space_before_colon": (OK + b"Content-Length : 0\r\n\r\n", "space_before_colon"),
    "no_colon": (OK + b"nonsense\r\n\r\n", "no_colon"),
    "empty_name": (OK + b": x\r\n\r\n", "bad_field_name"),
    "http_0_9": (b"<html>hello</html>", "bad_status_line"),
    "http_2": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "http_1_2": (b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "other_protocol": (b"ICY 200 OK\r\n\r\n", "bad_status_line"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "bad_status_line"),
    "tls_alert": (b"\x15\x03\x01\x00\x02\x02\x46", "bad_status_line"),
    "http_2_settings": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "bad_status_line"),
    "leading_crlf": (b"\r\n" + fine(b"first"), "bad_status_line"),
    "status_of_two_digits": (b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "status_of_four_digits": (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "status_600": (b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "status_999": (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "status_0": (b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "status_with_a_sign": (b"HTTP/1.1 +20 Odd\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "no_status": (b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "two_spaces": (b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", "bad_status_line"),
    "phrase_with_a_cr": (b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", "bare_cr"),
    "a_request": (b"POST /github HTTP/1.1\r\nHost: a\r\n\r\n", "bad_status_line"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_r1_answers_that_are_none(stage: Stage, name: str) -> None:
    answer, detail = BAD_ANSWERS[name]
    stage.scripted.play(answer)
    with fails(stage, "upstream_invalid", detail=detail) as ask:
        ask()
    if b"\r\n\r\n" not in answer[:-4]:
        # Byte by byte it is refused as well; behind a good head there would be an answer that breaks.
        stage.scripted.play(*in_pieces(answer))
        with fails(stage, "upstream_invalid", detail=detail) as ask:
            ask()


def until_reset(client: Client) -> bytes:
    """What comes until the connection is reset."""
    received = client.reader.buffer
    try:
        while piece := client.sock.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        return received
    raise AssertionError(f"a tidy end after {received!r}")


def check_broken(stage: Stage, client: Client) -> None:
    """The answer that has begun never ends: the connection is reset, and no other request is served on it."""
    received = until_reset(client)
    assert received.count(b"HTTP/1.1") <= 1
    assert b"\r\n0\r\n\r\n" not in received
    assert b"evil" not in received
    unharmed(stage)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
BROKEN: dict[str, tuple[Step, ...]] = {
    "length_closed": (OK + b"Content-Length: 10\r\n\r\nhalf", CLOSE),
    "length_reset": (OK + b"Content-Length: 10\r\n\r\nhalf", RESET),
    "length_without_content": (OK + b"Content-Length: 10\r\n\r\n", CLOSE),
    "chunked_closed": (CHUNKED, CLOSE),
    "chunked_reset": (CHUNKED, RESET),
    "chunk_begun": (CHUNKED + b"4\r\nha", CLOSE),
    "size_begun": (CHUNKED + b"4", CLOSE),
    "last_chunk_without_its_end": (CHUNKED + b"0\r\n", CLOSE),
    "last_byte_missing": (CHUNKED + b"0\r\n\r", CLOSE),
    "trailer_begun": (CHUNKED + b"0\r\nX-Late: 1\r\n", CLOSE),
    "until_the_end_reset": (OK + b"\r\nhalf", RESET),
}


@pytest.mark.parametrize("name", BROKEN)
def test_r2_truncated_answers_are_visibly_broken(stage: Stage, name: str) -> None:
    *steps, last = BROKEN[name]
    begun = threading.Event()
    stage.scripted.play(*steps, begun.wait, last)
    with stage.client() as client:
        client.send(question() + request("GET", "/open"))
        assert client.reader.until(b"\r\n\r\n").startswith(OK)
        begun.set()
        check_broken(stage, client)


LATE_FAULTS: dict[str, bytes] = {
    "size": b"xyz\r\n",
    "negative": b"-1\r\n",
    "bare_lf": b"4\nevil\r\n",
    "no_end": b"4\r\nevil4\r\nevil\r\n",
    "extension": b"4;\x01\r\nevil\r\n",
    "trailer": b"0\r\nX : y\r\n\r\n",
    "trailer_lf": b"0\r\n\n",
    "overhead": b"1;" + b"a" * 200 + b"\r\nx\r\n",
    "an_answer": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("name", LATE_FAULTS)
def test_r1_malformed_chunks_behind_good_ones(stage: Stage, name: str) -> None:
    fault = LATE_FAULTS[name] * (200 if name == "overhead" else 1)
    begun = threading.Event()
    stage.scripted.play(CHUNKED, begun.wait, fault, SILENCE)
    with stage.client() as client:
        client.send(question() + request("GET", "/open"))
        client.reader.until(b"half\r\n")
        begun.set()
        check_broken(stage, client)
    stage.scripted.play(CHUNKED + fault, SILENCE)
    with fails(stage, "upstream_invalid") as ask:
        ask()


EXTRA: dict[str, tuple[bytes, bytes]] = {
    "length": (OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    "no_content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not_modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", b""),
    "length_0": (OK + b"Content-Length: 0\r\n\r\n", b""),
}
POISON = OK + b"Content-Length: 6\r\n\r\npoison"


@pytest.mark.parametrize(
    "beyond", [POISON, b"\r\n", b"x", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["answer", "crlf", "x", "1xx"]
)
@pytest.mark.parametrize("apart", [False, True], ids=["at_once", "apart"])
@pytest.mark.parametrize("name", EXTRA)
def test_r3_bytes_beyond_an_answer_are_nobodys(stage: Stage, name: str, apart: bool, beyond: bytes) -> None:
    answer, content = EXTRA[name]
    # Apart they come a moment later, and before the next request: later still, nobody could tell them from its answer.
    sent = threading.Event()
    stage.scripted.play(*((answer, beyond) if apart else (answer + beyond,)), sent.set, SILENCE)
    with stage.client() as client:
        assert client.ask(question()).content == content
        assert sent.wait(PATIENCE_S)
        unharmed(stage)
        assert client.ask(question("again")).content == b"fine again\n"


def test_r3_bytes_on_an_idle_connection_are_nobodys(stage: Stage) -> None:
    for idle in ((POISON, SILENCE), (CLOSE,), (RESET,), (b"\r\n", SILENCE)):
        stage.scripted.play()
        with stage.client() as client:
            for number in range(2):
                # The first request's connection is idle; then the upstream speaks, or goes, on its own.
                sent = threading.Event()
                stage.scripted.play(fine(b"first"), *idle[:-1], sent.set, idle[-1])
                client.ask(question())
                assert sent.wait(PATIENCE_S)
                if idle[-1] is not SILENCE:
                    stage.scripted.wait(lambda upstream: not upstream.stands(upstream.seen[0].connection))
                unharmed(stage, 2)
                assert client.ask(question(f"{number}")).content == b"fine %d\n" % number


@pytest.mark.parametrize("greeting", [POISON, b"220 smtp.example.com ESMTP\r\n", b"x"], ids=["answer", "smtp", "x"])
def test_r3_an_upstream_that_speaks_first(stage: Stage, greeting: bytes) -> None:
    """Heard before the request leaves, it is nobody's. Heard later it cannot be told from an answer to that request."""
    for _ in range(5):
        stage.scripted.drop()
        stage.scripted.play(greeting, SILENCE, on="connect")
        answer = stage.ask(question())
        assert answer.status == 502 or answer.content == b"poison"
        assert len(stage.scripted.seen) <= 1
    stage.scripted.drop()
    unharmed(stage)


@pytest.mark.parametrize(
    ("method", "answer", "status"),
    [
        pytest.param("HEAD", OK + b"Content-Length: 4\r\n\r\nevil", 200, id="head"),
        pytest.param("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 200, id="head_chunked"),
        pytest.param("HEAD", OK + b"\r\nevil", 200, id="head_until_the_end"),
        pytest.param("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", 204, id="204"),
        pytest.param("POST", b"HTTP/1.1 204 No Content\r\n\r\nevil", 204, id="204_undeclared"),
        pytest.param(
            "POST", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n", 204, id="204_chunked"
        ),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", 304, id="304"),
        pytest.param("POST", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\n" + fine(b"first"), 200, id="1xx"),
    ],
)
def test_r4_content_where_there_is_none(stage: Stage, method: str, answer: bytes, status: int) -> None:
    stage.scripted.play(answer, *([SILENCE] if b"evil" in answer else []))
    with stage.client() as client:
        got = client.ask(question(method=method), method=method)
        assert got.status == status
        assert b"evil" not in got.content
        assert got.get(b"Transfer-Encoding") is None or method == "HEAD"
        if status == 204:
            assert got.get(b"Content-Length") is None
        assert client.ask(request("GET", "/open")).status == 200
    if b"evil" in answer:
        unharmed(stage)


@pytest.mark.parametrize(
    ("method", "head", "status"),
    [
        pytest.param("HEAD", OK + b"Content-Length: 44\r\n\r\n", 200, id="head"),
        pytest.param("HEAD", OK + b"Content-Length: 0\r\n\r\n", 200, id="head_of_nothing"),
        pytest.param("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, id="head_chunked"),
        pytest.param("HEAD", OK + b"\r\n", 200, id="head_until_the_end"),
        pytest.param("HEAD", b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, id="head_304"),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n", 304, id="304"),
        pytest.param("GET", b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", 304, id="304_chunked"),
        pytest.param("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n", 204, id="204"),
        pytest.param("POST", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", 204, id="204_chunked"),
        pytest.param("POST", b"HTTP/1.1 103 Hints\r\nContent-Length: 44\r\n\r\n" + fine(b"first"), 200, id="1xx"),
    ],
)
def test_r4_content_that_comes_late_is_no_answer(stage: Stage, method: str, head: bytes, status: int) -> None:
    """The content that such a head announces would be read as the answer to whatever request comes next."""
    late = threading.Event()
    stage.scripted.play(head, late.wait, POISON, SILENCE)
    with stage.client() as client:
        assert client.ask(question(method=method), method=method).status == status
        unharmed(stage)
        late.set()
        assert client.ask(question("again")).content == b"fine again\n"


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("interim", [INTERIM, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 199 Odd\r\n\r\n"])
def test_r5_interim_answers_end_here(stage: Stage, interim: bytes, count: int) -> None:
    stage.scripted.play(interim * count + fine(b"first"))
    with stage.client() as client:
        for data in (question(), question(Expect="x").replace(b"Expect: x\r\n", b"")):
            answer = client.ask(data)
            assert (answer.content, answer.interim) == (b"fine first\n", [])
    with stage.client() as client:
        answer = client.ask(b"GET /scripted HTTP/1.0\r\n\r\n")
        assert (answer.content, answer.interim) == (b"fine first\n", [])


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((INTERIM * 9 + fine(b"first"),), id="one_too_many"),
        pytest.param(in_pieces(INTERIM * 9, len(INTERIM)), id="one_by_one"),
        pytest.param((FLOOD, INTERIM), id="endless"),
    ],
)
def test_r5_a_flood_of_interim_answers(stage: Stage, steps: tuple[Step, ...]) -> None:
    stage.scripted.play(*steps)
    with fails(stage, "upstream_invalid", detail="interim_flood") as ask:
        ask()


@pytest.mark.parametrize("fields", [b"", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Content-Length: 0\r\n"])
def test_r5_nobody_switches_protocols(stage: Stage, fields: bytes) -> None:
    stage.scripted.play(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n" + POISON)
    with fails(stage, "upstream_invalid", detail="switching_protocols") as ask:
        ask()


@pytest.mark.parametrize("end", [SILENCE, CLOSE, RESET], ids=lambda act: act.name)
@pytest.mark.parametrize("status", [200, 413, 100])
def test_r6_an_early_answer_stops_the_request(stage: Stage, status: int, end: Step) -> None:
    content = b"x" * 200_000
    early = b"HTTP/1.1 %d Early\r\nContent-Length: 6\r\n\r\nearly\n" % status
    if status == 100:
        early = b"HTTP/1.1 100 Continue\r\n\r\n" + early.replace(b"100", b"200")
    stage.scripted.play(early, end, on="head")
    with stage.client() as client:
        client.send(request("POST", "/scripted", {"Content-Length": str(len(content))}) + content[:1000])
        answer = client.answer()
        assert (answer.content, answer.get(b"Connection")) == (b"early\n", b"close")
        with pytest.raises((ClosedError, ConnectionError)):
            client.ask(content[1000:] + request("GET", "/open"))
    [one] = stage.scripted.seen
    assert not one.complete
    unharmed(stage)


@pytest.mark.parametrize("cut", [0, 3], ids=["whole", "begun"])
@pytest.mark.parametrize("size", [0, 5000], ids=["length", "chunked"])
def test_r6a_one_request_has_one_answer(stage: Stage, size: int, cut: int) -> None:
    """The answer is here before the end of a delivery that might have waited for its upstream: it is over at once."""
    content = bytes(range(256)) * 800  # 200 KiB: more than the window
    whole = request("POST", "/patient", github(KEY, content, delivery=f"r6a-{size}-{cut}"), content, chunk_size=size)
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nearly\n"
    sent, proved = threading.Event(), threading.Event()
    stage.scripted.play(early[: len(early) - cut], sent.set, proved.wait, early[len(early) - cut :], SILENCE, on="head")
    with stage.client() as client:
        client.send(whole[:-1])
        assert sent.wait(PATIENCE_S)
        stage.fence()  # what the upstream has said was read before this was answered
        client.send(whole[-1:])
        proved.set()
        assert client.answer().content == b"early\n"
        behind = client.ask(request("GET", "/nowhere"))
        assert (behind.status, behind.word) == (404, "path_not_matched")
        stage.line_of(behind)
    wanted = f"r6a-{size}-{cut}"
    lines = [line for line in stage.hookward.log() if line.get("webhook.delivery_id") == wanted]
    assert [line["webhook.reason"] for line in lines] == ["delivered"]
    unharmed(stage)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((OK + b"X-A: " + b"b" * 70_000,), id="one_field"),
        pytest.param((OK, FLOOD, b"X-A: b\r\n"), id="fields_without_end"),
        pytest.param((OK, FLOOD, b"b" * 500), id="a_name_without_end"),
        pytest.param((OK + b"X-A: ", FLOOD, b"b" * 500), id="a_value_without_end"),
        pytest.param((b"HTTP/1.1 200 ", FLOOD, b"b" * 500), id="a_phrase_without_end"),
        pytest.param((OK + b"X-A: b\r\n" * 201 + b"Content-Length: 0\r\n\r\n",), id="201_fields"),
    ],
)
def test_r7_heads_without_an_end(stage: Stage, steps: tuple[Step, ...]) -> None:
    stage.scripted.play(*steps)
    with fails(stage, "upstream_invalid", detail="head_too_large") as ask:
        ask()


SILENT: dict[str, tuple[Step, ...]] = {
    "no_answer": (SILENCE,),
    "half_a_status_line": (b"HTTP/1.1 20", SILENCE),
    "half_a_head": (OK + b"X-A: b\r\n", SILENCE),
    "interim_only": (INTERIM, SILENCE),
}


def test_r8_no_answer_in_time(stage: Stage) -> None:
    with ExitStack() as stack:
        clients = []
        for name, steps in SILENT.items():
            stage.scripted.play(*steps)
            clients.append(stack.enter_context(stage.client()).send(question(name)))
            stage.scripted.wait(lambda upstream: upstream.seen and upstream.seen[0].complete)
        for client in clients:
            answer = client.answer()
            assert (answer.status, answer.word) == (504, "upstream_timeout")
            assert stage.line_of(answer)["webhook.phase"] == "answer_head"
    unharmed(stage)


def test_r8_an_answer_that_stalls_is_cut(stage: Stage) -> None:
    stalled = (
        OK + b"Content-Length: 10\r\n\r\nhalf",
        CHUNKED,
        CHUNKED + b"4\r\nha",
        CHUNKED + b"0\r\n",
        OK + b"\r\nhalf",
    )
    with ExitStack() as stack:
        clients: list[Client] = []
        for number, answer in enumerate(stalled):
            stage.scripted.play(answer, SILENCE)
            client = stack.enter_context(stage.client())
            client.send(question(str(number)))
            client.reader.until(b"half")
            clients.append(client)
        assert [client.was_reset() for client in clients] == [True] * len(stalled)
    [line, *_] = stage.hookward.logged(
        {"webhook.reason": "upstream_timeout", "webhook.phase": "answer_body"}, len(stalled)
    )
    assert line["http.response.status_code"] == 200
    unharmed(stage)


def test_r9_fields_between_two_stay_here(stage: Stage) -> None:
    stage.scripted.play(
        b"HTTP/1.1 200 OK\r\nConnection: X-Own, keep-alive, Set-Cookie\r\nX-Own: evil\r\nx-own: evil\r\n"
        b"Keep-Alive: evil\r\n"
        b"Proxy-Authenticate: evil\r\nProxy-Connection: evil\r\nTE: evil\r\nTrailer: evil\r\nUpgrade: evil\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: then\r\nServer: app\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = stage.ask(question())
    assert b"evil" not in answer.head
    assert [value for name, value in answer.fields if name == b"Date"] == [b"then"]
    assert answer.get(b"Server") == b"app"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CHUNKED + b"3\r\n it\r\n0\r\nX-Late: 1\r\n\r\n", id="chunked"),
        pytest.param(OK + b"Content-Length: 7\r\n\r\nhalf it", id="length"),
        pytest.param(OK + b"\r\nhalf it", id="until_the_end"),
    ],
)
def test_r10_an_answer_for_each_version(stage: Stage, answer: bytes) -> None:
    for version, framed in ((b"1.0", False), (b"1.1", True)):
        stage.scripted.play(*in_pieces(answer), CLOSE)
        with stage.client() as client:
            got = client.ask(b"GET /scripted HTTP/%b\r\nHost: a\r\n\r\n" % version)
            assert got.content == b"half it"
            assert got.get(b"X-Late") is None
            assert (got.get(b"Transfer-Encoding") is not None) <= framed
            if not framed:
                assert client.ended() == b""
            else:
                assert client.ask(request("GET", "/open")).status == 200


@pytest.mark.parametrize("end", [CLOSE, RESET], ids=lambda act: act.name)
@pytest.mark.parametrize("on", ["request", "head"])
def test_r11_a_delivery_is_never_sent_twice(stage: Stage, on: str, end: Step) -> None:
    stage.scripted.play()
    with stage.client() as client:
        assert client.ask(question()).status == 200
        stage.scripted.play(end, on=on)
        answer = client.ask(question("lost"))
        assert (answer.status, answer.word) == (502, "upstream_reset")
        assert len(stage.scripted.seen) == 1
        unharmed(stage)
        assert client.ask(question("next")).content == b"fine next\n"


@pytest.mark.parametrize("end", [CLOSE, RESET], ids=lambda act: act.name)
def test_r11_a_connection_that_closed_while_idle_is_replaced(stage: Stage, end: Step) -> None:
    for _ in range(10):
        stage.scripted.play(fine(b"first"), end)
        assert stage.ask(question()).status == 200
        stage.scripted.wait(lambda upstream: not upstream.stands(upstream.seen[0].connection))
        stage.scripted.play()
        assert stage.ask(question("next")).content == b"fine next\n"


@pytest.mark.parametrize(
    ("promise", "kept"), [(b"timeout=60", True), (b"timeout=1", False), (b"timeout=0, max=9", False)]
)
def test_r11_an_upstream_says_how_long_it_keeps_a_connection(stage: Stage, promise: bytes, kept: bool) -> None:
    """Less a second: who promises no more than that is not sent a second request."""
    stage.scripted.play(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: %b\r\n\r\nok" % promise)
    for _ in range(3):
        assert stage.ask(question()).content == b"ok"
    connections = {one.connection for one in stage.scripted.seen}
    assert len(connections) == (1 if kept else 3)
    stage.scripted.drop()


def test_r11_an_idle_connection_is_used_no_longer_than_the_route_says(configured: Callable[..., Hookward]) -> None:
    with ScriptedUpstream() as scripted:
        hookward = configured(
            f"""
            upstream = "{scripted.url}"
            [route.never]
            path = "/never"
            open = true
            upstream_idle_timeout = "0s"
            [route.often]
            path = "/often"
            open = true
            upstream_idle_timeout = "1h"
            """
        )
        with Client(hookward.address) as client:
            for target, connections in (("/often", 1), ("/never", 3)):
                scripted.play()
                for _ in range(3):
                    assert client.ask(request("POST", target, {"X-Case": "a"}, b"{}")).status == 200
                assert len({one.connection for one in scripted.seen}) == connections


RESETS: dict[str, tuple[tuple[Step, ...], str]] = {
    "as_it_connects": ((RESET,), "connect"),
    "closed_as_it_connects": ((CLOSE,), "connect"),
    "with_the_head": ((RESET,), "head"),
    "closed_with_the_head": ((CLOSE,), "head"),
    "with_the_request": ((RESET,), "request"),
    "closed_with_the_request": ((CLOSE,), "request"),
    "in_the_status_line": ((b"HTTP/1.1 20", RESET), "request"),
    "in_the_head": ((OK + b"X-A: b\r\n", RESET), "request"),
    "closed_in_the_head": ((OK + b"Content-Length: 0\r\n", CLOSE), "request"),
    "after_an_interim_answer": ((INTERIM, RESET), "request"),
}


@pytest.mark.parametrize("name", RESETS)
def test_resets_at_each_phase(stage: Stage, name: str) -> None:
    steps, on = RESETS[name]
    for data in (question(), request("POST", "/judged", github(KEY, b"{}"), b"{}")):
        stage.scripted.drop()
        stage.scripted.play(*steps, on=on)
        # Which word it is hangs on whether the connection was seen to stand at all.
        word = "upstream_unreachable" if on == "connect" else "upstream_reset"
        with fails(stage, word, or_word="upstream_reset") as ask:
            ask(data)


def test_split_heads(stage: Stage) -> None:
    stage.scripted.play(*in_pieces(INTERIM + OK + b"X-A: b\r\nContent-Length: 5\r\n\r\n"), *in_pieces(b"whole"))
    with stage.client() as client:
        for _ in range(3):
            answer = client.ask(question())
            assert (answer.content, answer.get(b"X-A")) == (b"whole", b"b")
    assert len({one.connection for one in stage.scripted.seen}) == 1


def test_a_vanished_sender_leaves_nothing_at_the_upstream(stage: Stage) -> None:
    stage.scripted.play(SILENCE)
    with stage.client() as closing, stage.client() as resetting:
        for number, client in enumerate((closing, resetting), 1):
            client.send(question())
            stage.scripted.wait(lambda upstream, number=number: sum(one.complete for one in upstream.seen) == number)
        resetting.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stage.scripted.wait(lambda upstream: not any(upstream.stands(one.connection) for one in upstream.seen))
    unharmed(stage)


def test_what_is_told_of_a_fault_is_ours(stage: Stage) -> None:
    stage.scripted.play(b"HTTP/1.1 200 OK\r\nX-A: secret-of-the-application\r\n folded\r\n\r\n")
    with fails(stage, "upstream_invalid") as ask:
        answer = ask()
    assert re.fullmatch(rb"upstream_invalid [0-9a-z]+\n", answer.content)
    assert "secret-of-the-application" not in stage.hookward.out.text
