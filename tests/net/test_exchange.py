"""One exchange: what the upstream sees and when, what the sender is told, and who is cut when somebody fails."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.core.addresses import AddressSet
from proxy.core.body import WITHHELD_BYTES
from proxy.core.policy import BodyMode, Endpoint
from proxy.core.relay import ON_LOOP_BYTES
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import BodyForm, Document
from proxy.net.flow import BUDGET_WAIT_S, GENEROUS_BYTES, LARGE_READ_BYTES
from proxy.net.large_bodies import SpillFile
from proxy.reasons import Phase, Reason
from tests.net.dialogue import HIGH, LIMITS, OK, SIGNATURE, World, chunks, forged, request, route, signature, signed

DELIVERED = Reason.DELIVERED
ANSWERED = b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\n"
WINDOW = LIMITS.hold_window
BIG = bytes(range(256)) * 1000
EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n"


def split(whole: bytes, after: bytes = b"\r\n\r\n") -> tuple[bytes, bytes]:
    at = whole.index(after) + len(after)
    return whole[:at], whole[at:]


def content(heard: bytes) -> bytes:
    """What follows the head; the chunks are taken apart."""
    head, body = split(heard)
    if b"Transfer-Encoding: chunked" not in head:
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return found


# -- hold, tail, free: what leaves, and when


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", [b"/hook", b"/hold"])
def test_nothing_leaves_within_the_window_before_the_verdict(path: bytes, chunked: bool) -> None:
    body = BIG[:WINDOW]
    whole = signed(body, path=path, chunked=chunked)
    world = World()
    sender = world.sender()
    sender.say(whole[:1000], whole[1000:-1])
    assert not world.upstreams
    assert not world.pool.waiting
    sender >> whole[-1:]
    heard = world.upstream.hear()
    assert b"Content-Length: %d\r\n" % len(body) in heard
    assert content(heard) == body
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_hold_sends_nothing_of_a_large_body_before_the_verdict(chunked: bool) -> None:
    whole = signed(BIG, path=b"/hold", chunked=chunked)
    world = World()
    sender = world.sender()
    sender >> whole[:-1]
    assert not world.upstreams
    sender >> whole[-1:]
    heard = world.upstream.hear()
    assert b"Content-Length: %d\r\n" % len(BIG) in heard
    assert content(heard) == BIG
    world.upstream >> OK
    sender << ANSWERED
    assert world.records[0].secret_name == "s1"
    world.over(DELIVERED)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_tail_streams_but_withholds_the_end(chunked: bool) -> None:
    head, body = split(signed(BIG, chunked=chunked))
    world = World()
    sender = world.sender()
    sender >> head
    heard, sent = b"", 0
    for at in range(0, len(body), 5000):
        sender >> body[at : at + 5000]
        sent = min(at + 5000, len(body))
        if world.upstreams and sent < len(body):
            heard += world.upstream.hear()
            assert len(content(heard)) <= sent - (0 if chunked else WITHHELD_BYTES)
            assert len(content(heard)) <= len(BIG) - WITHHELD_BYTES
            assert not heard.endswith(b"0\r\n\r\n")
    heard += world.upstream.hear()
    assert content(heard) == BIG
    assert heard.endswith(b"0\r\n\r\n") is chunked
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_forged_end_resets_the_upstream(chunked: bool) -> None:
    world = World()
    sender = world.sender()
    sender >> forged(BIG, chunked=chunked) + signed()
    assert 0 < len(content(world.upstreams[0].hear())) <= len(BIG) - WITHHELD_BYTES
    assert world.upstreams[0].saw == "reset"
    sender << b"HTTP/1.1 403 Forbidden\r\n*signature_mismatch *\n"
    world.upstream << b"POST *{}"  # the second request went over another connection
    assert len(world.upstreams) == 2
    world.upstream >> OK
    assert (world.records[0].verdict, world.records[0].phase) == ("refused", Phase.BODY)
    world.over(Reason.SIGNATURE_MISMATCH, DELIVERED)


@pytest.mark.parametrize("path", [b"/hook", b"/hold"])
def test_a_forgery_within_the_window_dials_nobody(path: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> forged(path=path)
    sender << b"HTTP/1.1 403 Forbidden\r\n*signature_mismatch *\n"
    assert not world.upstreams
    world.over(Reason.SIGNATURE_MISMATCH)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_free_passes_on_what_comes(chunked: bool) -> None:
    head, body = split(request(b"x" * 3000, path=b"/free", chunked=chunked))
    world = World()
    sender = world.sender()
    sender >> head
    assert not world.upstreams
    sender >> body[:100]
    first = world.upstream.hear()
    assert content(first) == (b"x" * 95 if chunked else b"x" * 100)
    sender >> body[100:]
    heard = first + world.upstream.hear()
    assert content(heard) == b"x" * 3000
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


def test_an_empty_chunked_body() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(b"", chunked=True)
    assert b"Content-Length: 0\r\n" in world.upstream.hear()
    world.upstream >> OK
    sender >> request(b"", path=b"/free", chunked=True)
    assert content(world.upstream.hear()) == b""
    world.upstream >> OK
    world.over(DELIVERED, DELIVERED)


def test_tiny_chunks_are_not_passed_on_one_by_one() -> None:
    world = World()
    sender = world.sender()
    head, _ = split(request(b"x", path=b"/free", chunked=True))
    sender >> head + chunks(b"x" * 9000, 9)
    assert world.upstream.hear().endswith(b"\r\n\r\n2328\r\n" + b"x" * 9000 + b"\r\n0\r\n\r\n")
    world.upstream >> OK
    world.over(DELIVERED)


def test_what_breaks_the_framing_of_a_streamed_body_resets_the_upstream() -> None:
    world = World()
    sender = world.sender()
    whole = signed(BIG, chunked=True)
    sender >> whole[:-4] + b"X"
    assert len(content(world.upstream.hear())) <= len(BIG) - WITHHELD_BYTES
    assert world.upstream.saw == "reset"
    sender << b"HTTP/1.1 400 Bad Request\r\n*Connection: close\r\n*bad_request *\n"
    world.over(Reason.BAD_REQUEST)


def test_a_body_over_the_limit() -> None:
    world = World(route(b"/hook", max_body=100_000))
    declared = world.sender()
    declared >> split(signed(BIG, extra=EXPECT))[0]
    declared << b"HTTP/1.1 413 *Connection: close\r\n*body_too_large *\n"
    cut = world.sender()
    whole = signed(BIG, chunked=True)
    cut.say(*(whole[at : at + 10_000] for at in range(0, len(whole), 10_000)))
    cut << b"HTTP/1.1 413 *Connection: close\r\n*body_too_large *\n"
    assert world.upstream.saw == "reset"
    world.over(Reason.BODY_TOO_LARGE, Reason.BODY_TOO_LARGE)


def test_a_signature_without_a_known_length_is_refused() -> None:
    world = World()
    sender = world.sender()
    sender >> b"POST /hook HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: %b\r\n\r\n" % signature(b"")
    sender << b"HTTP/1.1 411 *length_required *\n"
    world.over(Reason.LENGTH_REQUIRED)


def test_mode_free_under_a_signature_is_tail_all_the_same() -> None:
    """Closed by construction: what the configuration cannot say, the shell does not do."""
    world = World(route(b"/hook", BodyMode.FREE, signature=SIGNATURE))
    sender = world.sender()
    sender >> forged(BIG)
    sender << b"HTTP/1.1 403 *"
    assert len(content(world.upstream.hear())) <= len(BIG) - WITHHELD_BYTES
    assert world.upstream.saw == "reset"
    world.over(Reason.SIGNATURE_MISMATCH)


KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nearly\n"


@pytest.mark.parametrize("mode", [BodyMode.TAIL, BodyMode.HOLD])
@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("cut", [len(KEPT), 20, len(KEPT) - 3])
def test_an_early_answer_on_a_route_that_waits_for_its_upstream_is_the_only_one(
    mode: BodyMode, observe: bool, cut: int
) -> None:
    """The exchange is over inside the call that lets its delivery go."""
    world = World(route(b"/hook", mode, hold_s=5.0, observe=observe))
    sender = world.sender()
    data = signed(BIG)
    sender >> data[:-1]
    if mode is BodyMode.TAIL:
        world.upstream >> KEPT[:cut]
        sender >> data[-1:]
        world.upstream >> KEPT[cut:]
    else:
        sender >> data[-1:]
        world.upstream >> KEPT
    sender << b"HTTP/1.1 200 OK\r\n*early\n"
    world.later(100.0)
    sender << b""
    world.over(DELIVERED)


# -- what the upstream is told


def test_what_was_proved_is_said() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(extra=b"X-GitHub-Delivery: d-1\r\nWebhook-Verified: forged\r\n")
    world.upstream << b"POST *Webhook-Verified: github; secret=s1; id=d-1\r\n*{}"
    world.upstream >> OK
    sender >> request(b"x", path=b"/free", extra=b"Webhook-Verified: forged\r\n")
    assert b"Webhook-Verified" not in world.upstream.hear()
    world.upstream >> OK
    world.over(DELIVERED, DELIVERED)


@pytest.mark.parametrize(
    ("data", "observed"),
    [
        (signed(), None),
        (forged(), Reason.SIGNATURE_MISMATCH),
        (forged(BIG), Reason.SIGNATURE_MISMATCH),
        (forged(BIG, chunked=True), Reason.SIGNATURE_MISMATCH),
        (request(b"x"), Reason.SIGNATURE_MISSING),
        (request(BIG), Reason.SIGNATURE_MISSING),
    ],
)
@pytest.mark.parametrize("mode", [BodyMode.TAIL, BodyMode.HOLD])
def test_observe_passes_everything_and_vouches_for_nothing_unproved(
    data: bytes, observed: Reason | None, mode: BodyMode
) -> None:
    world = World(route(b"/hook", mode, observe=True))
    sender = world.sender()
    sender >> data
    heard = world.upstream.hear()
    assert (b"Webhook-Verified" in heard) is (observed is None)
    assert len(content(heard)) in {1, 2, len(BIG)}
    world.upstream >> OK
    sender << ANSWERED
    assert world.records[0].observed is observed
    assert world.records[0].verdict == ("observed" if observed else "admitted")
    world.over(DELIVERED)


# -- 100 (Continue)


@pytest.mark.parametrize("path", [b"/hook", b"/hold", b"/free"])
def test_100_continue_comes_after_the_admission(path: bytes) -> None:
    head, body = split(signed(path=path, extra=EXPECT))
    world = World()
    sender = world.sender()
    sender >> head
    sender << CONTINUE
    sender >> body
    assert b"Expect" not in world.upstream.hear()
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


@pytest.mark.parametrize(
    "whole",
    [
        signed(extra=EXPECT, path=b"/nowhere"),
        request(b"x", extra=EXPECT),
        request(b"x", extra=EXPECT + b"X-Hub-Signature-256: sha256=0\r\n"),
        request(b"x", extra=b"Expect: 200-ok\r\n"),
    ],
)
def test_no_100_continue_for_who_is_refused(whole: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> split(whole)[0]
    assert sender.hear().startswith((b"HTTP/1.1 403", b"HTTP/1.1 404", b"HTTP/1.1 417"))
    assert sender.saw == "fin"
    assert len(world.records) == 1
    world.over(world.records[0].reason)


@pytest.mark.parametrize(
    "whole",
    [
        signed(extra=EXPECT),  # the body is there already
        signed(extra=EXPECT, minor=0),
        signed(b"", extra=EXPECT),
        request(path=b"/free", method=b"GET", extra=EXPECT),
    ],
    ids=["sent", "1.0", "empty", "none"],
)
def test_no_100_continue_where_nobody_waits_for_it(whole: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> whole
    sender << b""
    world.upstream >> OK
    sender << ANSWERED.replace(b"ok", b"*ok")
    world.over(DELIVERED)


def test_no_100_continue_to_1_0() -> None:
    head, body = split(signed(extra=EXPECT, minor=0))
    world = World()
    sender = world.sender()
    sender >> head
    sender << b""
    sender >> body
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


# -- answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 200 OK\r\n*Content-Length: 5\r\n\r\nhello"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"hello"),
            b"HTTP/1.1 200 OK\r\n*Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\nDate: *GMT\r\n\r\n"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nDate: *GMT\r\n\r\n"),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n*Content-Length: 0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_answers_in_any_cut(answer: bytes, expected: bytes, size: int) -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    for at in range(0, len(answer), size):
        world.upstream >> answer[at : at + size]
    heard = sender.hear()
    if b"chunked" in answer:
        assert content(heard) == b"hello"
        assert heard.endswith(b"0\r\n\r\n")
    else:
        sender.transport.taken = heard
        sender << expected
    assert sender.saw is None
    assert world.pool.idle_connections() == 1
    world.over(DELIVERED)


def test_an_answer_that_ends_with_its_connection_is_chunked_for_1_1() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\n\r\nhel"
    world.upstream >> b"lo"
    world.upstream.finish()
    sender << b"HTTP/1.1 200 OK\r\n*Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert sender.saw is None
    world.over(DELIVERED)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ids=["eof", "chunked"],
)
def test_1_0_gets_content_that_ends_with_the_connection(answer: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> signed(minor=0)
    world.upstream >> answer
    world.upstream.finish()
    sender << b"HTTP/1.1 200 OK\r\nDate: *Connection: close\r\n\r\nhello"
    assert sender.saw == "fin"
    world.over(DELIVERED)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["length", "in a chunk", "between chunks"],
)
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("by", ["finish", "vanish"])
def test_a_truncated_answer_is_visibly_broken(answer: bytes, minor: int, by: str) -> None:
    """By reset: for HTTP/1.0 a tidy end would make it whole (threats R2)."""
    world = World()
    sender = world.sender()
    sender >> signed(minor=minor)
    world.upstream >> answer
    getattr(world.upstream, by)()
    assert sender.saw == "reset"
    assert not sender.hear().endswith(b"0\r\n\r\n")
    [record] = world.records
    assert (record.status, record.phase, record.bytes_out) == (200, Phase.ANSWER_BODY, 5)
    world.over(Reason.UPSTREAM_RESET)


def test_an_answer_whose_chunks_are_broken_is_cut() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXX\r\n"
    assert world.upstream.saw == "reset"
    sender << b"HTTP/1.1 502 *upstream_invalid *\n"  # it came in one read: nothing of it had been passed on
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    world.upstream >> b"XX\r\n"
    assert sender.saw == "reset"
    world.over(Reason.UPSTREAM_INVALID, Reason.UPSTREAM_INVALID)


@pytest.mark.parametrize("minor", [0, 1])
def test_head_has_no_content(minor: int) -> None:
    world = World()
    sender = world.sender()
    sender >> request(path=b"/free", method=b"HEAD", minor=minor)
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    sender << b"HTTP/1.1 200 OK\r\n*Content-Length: 500\r\n*\r\n\r\n" if minor == 0 else b"HTTP/1.1 200 *500\r\n\r\n"
    assert sender.saw == ("fin" if minor == 0 else None)
    assert (world.pool.idle_connections(), world.upstream.saw) == (0, "fin")
    world.over(DELIVERED)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"POST", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"),
        (b"POST", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"POST", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 44\r\n\r\n" + OK),
    ],
    ids=["head", "head without a length", "304", "204", "103"],
)
def test_content_that_may_come_late_finds_no_request_to_answer(method: bytes, answer: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> request(path=b"/free", method=method)
    world.upstream >> answer
    sender << b"HTTP/1.1 *\r\n\r\n*"
    assert world.upstream.saw == "fin"
    sender >> signed()
    assert len(world.upstreams) == 2
    world.upstreams[0] >> b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    sender << b""
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED, DELIVERED)


def test_content_that_must_not_be_is_not_relayed() -> None:
    world = World()
    sender = world.sender()
    sender >> request(path=b"/free", method=b"HEAD")
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    sender << b"HTTP/1.1 200 OK\r\n*Content-Length: 2\r\n\r\n"
    assert world.upstream.saw == "fin"
    sender >> signed()
    assert len(world.upstreams) == 2
    world.upstream >> OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    sender << ANSWERED
    assert world.upstream.saw == "fin"
    world.over(DELIVERED, DELIVERED)


def test_interim_answers_are_swallowed_up_to_a_number() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> CONTINUE * 4
    world.upstream >> b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 4 + OK
    sender << ANSWERED
    sender >> signed()
    world.upstream >> CONTINUE * 9 + OK
    sender << b"HTTP/1.1 502 Bad Gateway\r\n*upstream_invalid *\n"
    assert world.records[1].detail == "interim_flood"
    assert world.upstream.saw == "reset"
    world.over(DELIVERED, Reason.UPSTREAM_INVALID)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"hello, I am no web server",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
    ids=["101", "cl_te", "bare_lf", "0.9", "endless"],
)
def test_an_answer_that_is_none_is_a_502(answer: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> answer
    sender << b"HTTP/1.1 502 Bad Gateway\r\n*upstream_invalid *\n"
    assert sender.saw is None  # the request was whole
    assert world.upstream.saw == "reset"
    assert world.records[0].verdict == "admitted"
    world.over(Reason.UPSTREAM_INVALID)


@pytest.mark.parametrize("by", ["finish", "vanish"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nCont", CONTINUE])
def test_an_upstream_that_goes_before_its_answer_is_a_502_and_nothing_is_resent(by: str, said: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> said
    getattr(world.upstream, by)()
    sender << b"HTTP/1.1 502 Bad Gateway\r\n*upstream_reset *\n"
    assert len(world.upstreams) == 1
    assert world.records[0].phase is Phase.ANSWER_HEAD
    world.over(Reason.UPSTREAM_RESET)


def test_an_upstream_that_goes_while_the_body_streams() -> None:
    head, body = split(signed(BIG))
    for path, verdict in ((b"/hook", ""), (b"/free", "admitted")):
        world = World()
        sender = world.sender()
        sender >> signed(BIG, path=path)[: len(head) + 100_000]
        world.upstream.vanish()
        sender << b"HTTP/1.1 502 *Connection: close\r\n*upstream_reset *\n"
        assert sender.saw == "fin"
        assert world.records[0].verdict == verdict
        world.over(Reason.UPSTREAM_RESET)
    assert body == BIG


# -- early answers


def test_an_early_answer_is_relayed_and_the_sender_told_to_close() -> None:
    head, body = split(request(BIG, path=b"/free"))
    world = World()
    sender = world.sender()
    sender >> head + body[:1000]
    world.upstream >> EARLY
    sender << b"HTTP/1.1 413 Content Too Large\r\n*Connection: close\r\n\r\nno\n"
    assert (sender.saw, world.upstream.saw) == ("fin", "reset")
    sender >> body[1000:] + signed()  # discarded: nothing of it is a request
    assert len(world.upstreams) == 1
    world.over(DELIVERED)


def test_an_early_answer_that_takes_its_time() -> None:
    """The sender need not send the rest, and must be able to: it may read only when it has written all."""
    head, body = split(request(BIG, path=b"/free"))
    world = World()
    sender = world.sender()
    sender >> head + body[:1000]
    world.upstream.take(0)
    sender >> body[1000:200_000]
    assert not sender.is_read
    world.upstream >> b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\n"
    assert sender.is_read
    world.later(30.0)
    world.upstream >> b"n"
    world.later(30.0)
    sender >> body[200_000:]
    world.upstream >> b"o\n"
    sender << b"HTTP/1.1 413 *Connection: close\r\n\r\nno\n"
    assert sender.saw == "fin"
    assert world.upstream.saw == "reset"
    world.over(DELIVERED)


def test_an_early_answer_that_stalls_is_cut() -> None:
    head, body = split(request(BIG, path=b"/free"))
    world = World()
    sender = world.sender()
    sender >> head + body[:1000]
    world.upstream >> EARLY[:-1]
    world.later(42.0)
    assert sender.saw == "reset"
    world.over(Reason.UPSTREAM_TIMEOUT)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "begun"])
def test_an_early_answer_in_tail_is_kept_until_the_verdict(whole: bool) -> None:
    data = signed(BIG)
    world = World()
    sender = world.sender()
    sender >> data[:150_000]
    world.upstream >> (EARLY if whole else EARLY[:-1])
    sender >> data[150_000:-1]
    sender << b""
    world.upstream.hear()
    sender >> data[-1:]
    world.upstream << b""  # an upstream that has answered gets no more of the request
    if not whole:
        world.upstream >> EARLY[-1:]
    sender << b"HTTP/1.1 413 Content Too Large\r\n*\r\n\r\nno\n"
    assert (sender.saw, world.upstream.saw) == (None, "reset")
    sender >> signed()
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED, DELIVERED)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "begun"])
def test_an_early_answer_in_tail_is_dropped_on_refusal(whole: bool) -> None:
    world = World()
    sender = world.sender()
    data = forged(BIG)
    sender >> data[:150_000]
    world.upstream >> (EARLY if whole else EARLY[:-1])
    sender >> data[150_000:]
    sender << b"HTTP/1.1 403 Forbidden\r\n*signature_mismatch *\n"
    assert world.upstream.saw == "reset"
    assert world.records[0].bytes_out == 0
    world.over(Reason.SIGNATURE_MISMATCH)


def test_an_early_answer_ends_the_wait_for_an_upstream_that_reads_no_more() -> None:
    world = World()
    sender = world.sender()
    data = signed(BIG * 2)
    sender >> data[:100_000]
    world.upstream.take(0)
    sender >> data[100_000:300_000]
    sender >> data[300_000:-1]
    assert not sender.is_read
    world.upstream >> EARLY
    assert sender.is_read
    sender >> data[-1:]
    sender << b"HTTP/1.1 413 *\r\n\r\nno\n"
    world.over(DELIVERED)


def test_an_answer_before_our_buffer_is_empty_forbids_a_reuse() -> None:
    """All was written, but it has not left: the rest would stand before the next request."""
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    world.upstream.hear()
    world.upstream.take(100)
    sender >> signed(BIG[:WINDOW])
    world.upstream >> OK
    assert world.upstream.saw == "reset"
    assert world.pool.idle_connections() == 0
    world.over(DELIVERED, DELIVERED)


def test_an_early_answer_while_a_file_is_being_sent() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    world.upstream.hear()
    world.upstream.take(1000)
    sender >> signed(BIG * 4, path=b"/hold")
    world.upstream >> EARLY
    assert world.upstream.saw == "reset"
    sender << ANSWERED + b"HTTP/1.1 413 *\r\n\r\nno\n"
    assert sender.saw is None
    world.over(DELIVERED, DELIVERED)


# -- connections to the upstream


def test_a_stale_connection_is_replaced_before_anything_is_written() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    world.upstream.hear()
    stale = world.upstream
    ours, theirs = socket.socketpair()
    with ours:
        stale.protocol._poll.register(ours, select.POLLIN)
        theirs.close()
        sender >> signed()
    stale << b""
    assert stale.saw == "fin"
    world.upstream << b"POST *{}"
    assert world.pool.lent_connections() == 1
    world.upstream >> OK
    world.over(DELIVERED, DELIVERED)


@pytest.mark.parametrize("by", ["finish", "vanish", "speak"])
def test_an_idle_connection_that_ends_or_speaks_is_gone(by: str) -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    if by == "speak":
        world.upstream >> OK
    else:
        getattr(world.upstream, by)()
    assert world.pool.idle_connections() == 0
    sender >> signed()
    assert len(world.upstreams) == 2
    world.upstream >> OK
    sender << ANSWERED + ANSWERED
    world.over(DELIVERED, DELIVERED)


def test_a_pooled_connection_that_ends_as_we_write_is_a_502() -> None:
    """Nothing is resent: the upstream may have acted on it."""
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    sender >> signed()
    assert len(world.upstreams) == 1
    world.upstream.vanish()
    sender << ANSWERED + b"HTTP/1.1 502 *upstream_reset *\n"
    assert len(world.upstreams) == 1
    world.over(DELIVERED, Reason.UPSTREAM_RESET)


def test_an_unreachable_upstream_is_a_502() -> None:
    world = World()
    world.pool.connects = False
    sender = world.sender()
    sender >> signed()
    sender << b""
    world.pool.refuse()
    sender << b"HTTP/1.1 502 Bad Gateway\r\n*upstream_unreachable *\n"
    assert sender.saw is None
    assert (world.records[0].phase, world.records[0].verdict) == (Phase.CONNECT, "admitted")
    assert world.records[0].upstream == ", ".join(map(str, world.site.policy.routes[0].upstream))
    world.over(Reason.UPSTREAM_UNREACHABLE)


def test_patience_is_for_proved_deliveries() -> None:
    world = World(route(hold_s=30.0), route(b"/free", BodyMode.FREE, signed=False, hold_s=9.0))
    world.pool.connects = False
    proved, streamed, free = world.sender(), world.sender(), world.sender()
    proved >> signed()
    streamed >> signed(BIG)
    free >> request(b"x" * 1000, path=b"/free")[:-1]
    assert [one.patience_s for one in world.pool.waiting] == [30.0, 0.0, 0.0]
    for _ in range(3):
        world.pool.refuse()
    streamed << b"HTTP/1.1 502 *Connection: close\r\n*"
    world.over(*[Reason.UPSTREAM_UNREACHABLE] * 3)


def test_what_waits_longer_than_its_sender_is_not_sent() -> None:
    """GitHub waits ten seconds from the head on, whatever of them the body took."""
    world = World(route(hold_s=8.0, answer_s=10.0))
    world.pool.connects = False
    senders = [world.sender() for _ in range(2)]
    data = signed(b"x" * 4000)
    for sender, took_s in zip(senders, (4.0, 5.5), strict=True):
        sender >> data[:-1]
        world.later(took_s)
        sender >> data[-1:]
    assert [one.patience_s for one in world.pool.waiting] == [5.0, 3.5]
    for _ in senders:
        world.pool.refuse()
    world.over(*[Reason.UPSTREAM_UNREACHABLE] * 2)


def test_an_upstream_that_is_not_ready_gets_nothing_of_what_may_wait() -> None:
    world = World(route(hold_s=8.0), route(b"/now"))
    [endpoint] = world.site.policy.endpoints()
    sender, other = world.sender(), world.sender()
    other >> signed(path=b"/now")
    world.upstream >> OK
    other << ANSWERED
    assert world.pool.idle_connections() == 1
    world.pool.endpoints.checked(endpoint, well=True, failing=True)
    world.pool.connects = False
    sender >> signed()
    assert [one.patience_s for one in world.pool.waiting] == [8.0], "a connection is idle, and is not used"
    other >> signed(path=b"/now")
    world.upstream >> OK
    other << ANSWERED
    world.pool.refuse()
    sender << b"HTTP/1.1 502 *upstream_unreachable*"
    assert world.records[-1].detail == "not_ready"
    world.over(DELIVERED, DELIVERED, Reason.UPSTREAM_UNREACHABLE)


def test_a_503_is_a_reason_to_ask_how_it_is() -> None:
    world = World()
    [endpoint] = world.site.policy.endpoints()
    sender = world.sender()
    sender >> signed()
    assert not world.pool.endpoints[endpoint].doubt.is_set()
    world.upstream >> b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    sender << b"HTTP/1.1 503 Busy\r\n*\r\n\r\n"
    assert world.pool.endpoints[endpoint].doubt.is_set()
    world.over(DELIVERED)


def test_what_waits_for_the_upstream_is_counted_against_the_budget() -> None:
    world = World(route(hold_s=8.0), buffer_budget=3000)
    world.pool.connects = False
    first, second = world.sender(), world.sender()
    first >> signed(b"x" * 2000)
    assert world.site.budget.used == 2000
    second >> signed(b"y" * 2000)
    second << b"HTTP/1.1 503 *overloaded*"
    world.pool.connect()
    world.upstream >> OK
    first << ANSWERED
    assert world.site.budget.used == 0
    world.over(Reason.OVERLOADED, DELIVERED)


def test_a_dial_goes_on_while_the_body_ends() -> None:
    world = World()
    world.pool.connects = False
    sender = world.sender()
    data = signed(BIG, chunked=True)
    sender >> data[:150_000]
    assert not sender.is_read
    assert len(world.pool.waiting) == 1
    world.pool.connect()
    world.settle()
    assert sender.is_read
    sender >> data[150_000:]
    assert content(world.upstream.hear()) == BIG
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


def test_the_body_ends_before_the_dial_does() -> None:
    for chunked in (False, True):
        world = World()
        world.pool.connects = False
        sender = world.sender()
        sender >> signed(BIG[: WINDOW + WITHHELD_BYTES], chunked=chunked)
        world.pool.connect()
        heard = world.upstream.hear()
        assert content(heard) == BIG[: WINDOW + WITHHELD_BYTES]
        world.upstream >> OK
        sender << ANSWERED
        world.over(DELIVERED)


def test_a_connection_that_nobody_waits_for_any_more_goes_to_the_pool() -> None:
    world = World()
    world.pool.connects = False
    sender = world.sender()
    sender >> signed()
    sender.vanish()
    world.pool.connect()
    world.upstream << b""
    assert world.pool.idle_connections() == 1
    again = world.sender()
    again >> signed()
    world.upstream << b"POST *{}"
    world.upstream >> OK
    world.over(Reason.SENDER_GONE, DELIVERED)


def test_a_forgery_that_ends_with_what_would_stream_dials_for_nobody() -> None:
    world = World()
    sender = world.sender()
    sender >> forged(BIG[: WINDOW + WITHHELD_BYTES])
    sender << b"HTTP/1.1 403 *"
    assert not world.upstreams
    world.over(Reason.SIGNATURE_MISMATCH)


# -- pace


@pytest.mark.parametrize("path", [b"/hook", b"/free"])
def test_a_slow_upstream_slows_its_own_sender(path: bytes) -> None:
    world = World()
    sender, other = world.sender(), world.sender()
    data = signed(BIG * 8, path=path)
    sender >> data[:100_000]
    world.upstream.take(0)
    slow = world.upstream
    sender >> data[100_000:]
    assert not sender.is_read
    held = slow.transport.get_write_buffer_size() + sum(map(len, sender.protocol._exchange.relay.gate._held))
    assert held <= GENEROUS_BYTES
    other >> signed()
    world.upstream >> OK
    other << ANSWERED
    slow.take(None)
    assert len(content(slow.hear())) == len(BIG) * 8
    slow >> OK
    sender << ANSWERED
    world.over(DELIVERED, DELIVERED)


@pytest.mark.parametrize("path", [b"/hook", b"/free"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_streams_comes_to_the_byte_however_much_of_it_is_taken(path: bytes, chunked: bool) -> None:
    world = World()
    sender = world.sender()
    body = bytes(range(256)) * 16_000
    data, heard = signed(body, path=path, chunked=chunked), b""
    sender >> data[:400_000]
    for at in range(400_000, len(data), 700_001):
        world.upstream.take(at % 300_007)
        sender >> data[at : at + 700_001]
        world.upstream.take(None)
        heard += world.upstream.hear()
    assert content(heard) == body
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


def test_a_slow_sender_slows_its_own_upstream() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    assert not world.upstream.is_read
    assert sender.transport.get_write_buffer_size() < HIGH + 2 * 64 * 1024
    world.later(25.0)  # the upstream cannot be late while it is not read
    sender.take(900_000)
    assert not world.upstream.is_read
    sender.take(None)
    assert len(sender.hear()) > 1_000_000
    assert world.upstream.is_read
    world.over(DELIVERED)


def test_a_large_file_is_sent_as_the_upstream_takes_it() -> None:
    body = BIG * 8
    world = World()
    sender = world.sender()
    world.pool.connects = False
    sender >> signed(body, path=b"/hold")
    world.pool.connect()
    world.upstream.take(0)
    heard = world.upstream.hear()
    for _ in range(40):
        world.later(1.0)
        world.upstream.take(100_000)
        assert world.upstream.transport.get_write_buffer_size() < 3 * HIGH
        heard += world.upstream.hear()
    assert content(heard) == body
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


# -- verdicts that need the whole body


def whole_world(**changed: object) -> World:
    """A route whose scheme takes the body in one piece."""
    scheme = replace(SIGNATURE.scheme, document=Document("form"), signed="{form}")
    check = SignatureCheck(scheme, SIGNATURE.secrets)
    return World(route(b"/form", BodyMode.HOLD, signature=check), **changed)


def form(size: int, *, good: bool = True) -> bytes:
    body = b"a=" + b"x" * (size - 2)
    signed_text = body.replace(b"=", b"")
    return request(body, path=b"/form", sign=signed_text if good else b"other")


@pytest.mark.parametrize("cut", [None, 1000])
@pytest.mark.parametrize("size", [100, ON_LOOP_BYTES + 1, WINDOW + 50_000])
def test_a_body_that_is_judged_whole(size: int, cut: int | None) -> None:
    world = whole_world()
    for good, reason in ((True, DELIVERED), (False, Reason.SIGNATURE_MISMATCH)):
        sender = world.sender()
        data = form(size, good=good)
        sender.say(*([data] if cut is None else [data[:-cut], data[-cut:]]))
        if good:
            assert content(world.upstream.hear()) == split(data)[1]
            world.upstream >> OK
            sender << ANSWERED
        else:
            sender << b"HTTP/1.1 403*signature_mismatch*"
        assert world.records[-1].reason is reason
    world.over(DELIVERED, Reason.SIGNATURE_MISMATCH)


def test_a_large_one_is_judged_in_a_thread_and_kept_once() -> None:
    world = whole_world()
    world.threads.holds = True
    small, sender = world.sender(), world.sender()
    small >> form(ON_LOOP_BYTES)
    assert not world.threads.held
    data = form(2 * WINDOW)
    sender.say(data[:WINDOW], data[WINDOW:])
    sender << b""
    assert (world.site.budget.used, world.site.spill_space.used) == (0, 2 * WINDOW)
    verification = sender.protocol._exchange.relay.admit.verification
    assert verification._chunks == []
    world.threads.go_on()
    world.settle()
    world.upstream >> OK
    sender << ANSWERED
    world.abandon()


@pytest.mark.parametrize("size", [WINDOW - 1, 2 * WINDOW])
def test_who_goes_while_its_body_is_judged_gives_it_back_when_the_thread_has_read_it(size: int) -> None:
    world = whole_world()
    world.threads.holds = True
    for begun in (True, False):
        sender = world.sender()
        data = form(size)
        sender.say(data[:1000], data[1000:])
        sender.vanish()
        held = world.site.budget.used or world.site.spill_space.used
        assert bool(held) is begun or world.threads.held
    world.threads.go_on()
    world.over(Reason.SENDER_GONE, Reason.SENDER_GONE)


def test_who_waits_too_long_for_a_thread_is_told_to_come_back() -> None:
    world = whole_world()
    world.threads.holds = True
    senders = [world.sender() for _ in range(2)]
    for sender in senders:
        sender >> form(2 * ON_LOOP_BYTES)
    world.later(BUDGET_WAIT_S + 2.0)
    senders[0] << b""
    senders[1] << b"HTTP/1.1 503*overloaded*"
    assert world.records[0].detail == "verification"
    world.threads.go_on()
    world.settle()
    world.upstream >> OK
    senders[0] << ANSWERED
    world.over(Reason.OVERLOADED, DELIVERED)


def test_what_comes_whole_and_waits_for_a_thread_is_counted() -> None:
    world = whole_world(buffer_budget=4 * ON_LOOP_BYTES)
    world.threads.holds = True
    first, second = world.sender(), world.sender("192.0.2.2")
    first >> form(2 * ON_LOOP_BYTES - 200)
    second >> form(2 * ON_LOOP_BYTES - 200)
    second << b"HTTP/1.1 503*overloaded*"
    world.threads.go_on()
    world.settle()
    world.upstream >> OK
    first << ANSWERED
    world.over(Reason.OVERLOADED, DELIVERED)


def test_a_verdict_that_fails_in_its_thread_is_told_as_our_own_failure() -> None:
    world = whole_world()
    world.threads.holds = True
    sender = world.sender()
    sender >> form(2 * WINDOW)
    world.threads.held[0] = (world.threads.held[0][0], lambda: 1 / 0)
    world.threads.go_on()
    sender << b"HTTP/1.1 500*internal_error*"
    assert len(world.loop.complaints) == 1
    world.loop.complaints.clear()
    world.over(Reason.INTERNAL_ERROR)


# -- the budget


def test_who_finds_no_budget_waits_for_it() -> None:
    world = World(route(body_min_rate=0), buffer_budget=2 * WINDOW)
    data = signed(BIG[:WINDOW], extra=EXPECT)
    first, second, third = (world.sender(f"192.0.2.{number}") for number in range(3))
    for sender in (first, second, third):
        sender >> data[:-1]
        sender << CONTINUE
    assert (first.is_read, second.is_read, third.is_read) == (True, True, False)
    assert world.site.budget.used <= 2 * WINDOW
    third >> data[-1:]
    assert not third.is_read
    world.later(10.0)
    first.vanish()
    assert content(world.upstream.hear()) == BIG[:WINDOW]
    world.upstream >> OK
    third << ANSWERED
    second >> data[-1:]
    world.upstream >> OK
    world.over(Reason.SENDER_GONE, DELIVERED, DELIVERED)


def test_what_a_head_announces_takes_nothing() -> None:
    world = World(buffer_budget=2 * WINDOW)
    for number in range(50):
        world.sender(f"192.0.2.{number}") >> signed(BIG)[:600]
    assert world.site.budget.used < 50 * 600
    sender = world.sender("198.51.100.1")
    for piece in (signed()[:-1], signed()[-1:]):
        sender >> piece
    world.upstream >> OK
    sender << ANSWERED
    world.abandon()


def answer_all(world: World) -> None:
    """The application answers what has come to it, as often as something comes."""
    while heard := [end for end in world.upstreams if end.hear()]:
        for end in heard:
            end >> OK


def test_one_group_of_addresses_leaves_room_for_the_others() -> None:
    world = World(route(body_min_rate=0), buffer_budget=16 * WINDOW)
    data = signed(BIG[:WINDOW])
    crowd = [world.sender(f"2001:db8::{number:x}") for number in range(1, 31)]
    for one in crowd:
        one >> data[: WINDOW // 2]
    assert world.site.budget.used <= 2 * WINDOW
    assert sum(one.is_read for one in crowd) < 5
    other = world.sender("2001:db8:0:1::1")
    other.say(data[:-1], data[-1:])
    answer_all(world)
    other << ANSWERED
    for one in crowd:
        one >> data[WINDOW // 2 :]
    answer_all(world)
    for one in crowd:  # they had their turn, one after the other
        one << ANSWERED
    world.over(*[DELIVERED] * 31)


@pytest.mark.parametrize("path", [b"/hook", b"/hold"])
def test_strangers_leave_a_share_of_both_budgets_to_listed_addresses(path: bytes) -> None:
    most = 40 * WINDOW
    listed = AddressSet.parse(["198.51.100.0/24"])
    world = World(buffer_budget=most, spill_budget=most, reserved_share=20, reserved_for=listed)
    data = signed(BIG[: 2 * WINDOW], path=path)
    for number in range(100):
        world.sender(f"203.0.113.{number}") >> data[: WINDOW - 1000 if path == b"/hook" else -1]
    used = world.site.budget.used if path == b"/hook" else world.site.spill_space.used
    assert most * 0.7 < used <= most * 0.8
    friend = world.sender("198.51.100.7")
    friend.say(data[:WINDOW], data[WINDOW:-1], data[-1:])
    world.upstream >> OK
    friend << ANSWERED
    assert world.records[-1].reason is DELIVERED
    world.abandon()


def test_who_waits_too_long_for_the_budget_is_told_to_come_back() -> None:
    world = World(buffer_budget=WINDOW, request_timeout_s=90.0)
    holder, waiter = world.sender(), world.sender()
    holder >> signed(BIG[:WINDOW])[:-1]
    waiter >> signed(BIG[:WINDOW])[:-1]
    world.later(BUDGET_WAIT_S - 1)
    waiter << b""
    world.later(3.0)
    waiter << b"HTTP/1.1 503 Service Unavailable\r\n*Retry-After: 5\r\n*overloaded *\n"
    assert world.records[0].detail == "buffer_budget"
    holder.vanish()
    world.over(Reason.OVERLOADED, Reason.SENDER_GONE)


def test_a_stream_waits_for_its_turn_of_the_loop_after_each_large_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    sender = world.sender()
    pauses: list[int] = []
    data = signed(BIG * 14)
    sender >> data[:600_000]
    pause = sender.transport.pause_reading
    monkeypatch.setattr(sender.transport, "pause_reading", lambda: pauses.append(1) or pause())
    sender >> data[600_000:]
    assert sender.is_read
    assert len(pauses) == (len(data) - 600_000) // LARGE_READ_BYTES
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


def test_a_stream_takes_more_where_there_is_plenty_and_gives_it_back_where_there_is_not() -> None:
    world = World()
    sender = world.sender()
    data = signed(BIG * 12)
    cuts = [data[at : at + 300_000] for at in range(0, len(data), 300_000)]
    sender >> cuts[0]
    sender >> cuts[1]
    assert world.site.budget.used == GENEROUS_BYTES
    world.site.budget.limit = GENEROUS_BYTES
    sender >> cuts[2]
    assert world.site.budget.used < GENEROUS_BYTES
    for cut in cuts[3:]:
        sender >> cut
    world.upstream >> OK
    world.over(DELIVERED)


def test_a_body_that_is_rewritten_before_it_is_hashed_is_read_in_small_pieces() -> None:
    forms = (BodyForm.RAW, BodyForm.ASCII_JSON)
    check = SignatureCheck(replace(SIGNATURE.scheme, body_forms=forms), SIGNATURE.secrets)
    world = World(route(b"/hook", signature=check))
    sender = world.sender()
    sender.say(signed(BIG)[:-1])
    assert 0 < world.site.budget.used < GENEROUS_BYTES
    world.abandon()


def test_a_stream_gives_back_what_it_no_longer_needs() -> None:
    world = World(route(b"/hook", hold_window=1 << 20), buffer_budget=1 << 20)
    sender = world.sender()
    data = signed(BIG * 8)
    sender >> data[: 1 << 20]
    assert world.site.budget.used > 1 << 19
    sender >> data[1 << 20 : -1]
    assert world.site.budget.used < 1 << 18
    sender >> data[-1:]
    world.upstream >> OK
    world.over(DELIVERED)


class FullDisk(SpillFile):
    def write(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.net.site.SpillFile", FullDisk)
    world = World()
    sender = world.sender()
    sender >> signed(BIG, path=b"/hold")
    sender << b"HTTP/1.1 503 *Retry-After: 5\r\nConnection: close\r\n*overloaded *\n"
    assert world.records[0].detail == "spill"
    world.over(Reason.OVERLOADED)


def test_bodies_in_files_have_a_bound_in_all() -> None:
    size = len(signed(BIG, path=b"/hold"))
    world = World(spill_budget=size + size // 2)
    slow = world.sender()
    slow >> signed(BIG, path=b"/hold")[:-1]
    assert len(BIG) > world.site.spill_space.used > 0
    other = world.sender()
    other >> signed(BIG, path=b"/hold")
    other << b"HTTP/1.1 503 *Retry-After: 5\r\nConnection: close\r\n*overloaded *\n"
    assert world.records[0].detail == "spill"
    slow >> signed(BIG, path=b"/hold")[-1:]
    world.upstream >> OK
    assert world.site.spill_space.used == 0
    world.over(Reason.OVERLOADED, DELIVERED)


# -- deadlines


def test_a_body_below_the_minimum_rate() -> None:
    world = World()
    sender = world.sender()
    data = signed(BIG)
    sender >> data[:1000]
    world.later(4.0)
    sender << b""
    for at in range(1000, 8000, 100):
        if sender.saw:
            break
        sender >> data[at : at + 100]
        world.later(1.0)
    sender << b"HTTP/1.1 408 Request Timeout\r\n*Connection: close\r\n*body_timeout *\n"
    assert world.loop.now < 1012
    world.over(Reason.BODY_TIMEOUT)


def test_a_body_that_takes_too_long_at_a_good_rate() -> None:
    world = World()
    sender = world.sender()
    data = signed(BIG)
    for at in range(0, len(BIG), 2000):
        sender >> data[at : at + 2000]
        if sender.saw:
            break
        world.later(1.0)
    assert 60 <= world.loop.now - 1000 <= 62
    assert world.upstream.saw == "reset"
    world.over(Reason.BODY_TIMEOUT)


def test_a_sender_that_we_do_not_read_is_not_late() -> None:
    world = World(route(b"/hook", request_timeout_s=300.0))
    sender = world.sender()
    data = signed(BIG * 12)
    sender >> data[:100_000]
    world.upstream.take(0)
    sender >> data[100_000:]
    world.later(80.0)
    assert sender.saw is None
    world.upstream.take(None)
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


@pytest.mark.parametrize(
    ("stage", "reason", "said"),
    [
        ("sender", Reason.BODY_TIMEOUT, b"HTTP/1.1 408 *"),
        ("upstream", Reason.UPSTREAM_TIMEOUT, b"HTTP/1.1 504 *"),
        ("dial", Reason.UPSTREAM_TIMEOUT, b"HTTP/1.1 504 *"),
    ],
)
def test_the_whole_request_has_a_deadline_and_it_blames_the_right_one(stage: str, reason: Reason, said: bytes) -> None:
    world = World(route(b"/hook", body_timeout_s=500.0, body_min_rate=0))
    world.pool.connects = stage != "dial"
    sender = world.sender()
    data = signed(BIG * 12)
    sender >> data[:100_000]
    if stage == "upstream":
        world.upstream.take(0)
        sender >> data[100_000:]
    world.later(89.0)
    sender << b""
    world.later(3.0)
    sender << said
    assert world.records[0].detail == "request_timeout"
    if stage == "dial":
        world.pool.connect()
    world.over(reason)


def test_an_upstream_that_does_not_answer_is_a_504() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.later(39.0)
    sender << b""
    world.later(3.0)
    sender << b"HTTP/1.1 504 Gateway Timeout\r\n*upstream_timeout *\n"
    assert world.upstream.saw == "reset"
    world.over(Reason.UPSTREAM_TIMEOUT)


def test_an_upstream_that_stalls_in_its_answer_is_cut() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.later(30.0)
    world.upstream >> OK[:-2]
    world.later(30.0)
    world.upstream >> b"o"
    world.later(20.0)
    assert sender.saw is None
    world.later(22.0)
    assert sender.saw == "reset"
    world.over(Reason.UPSTREAM_TIMEOUT)


def test_a_kept_answer_does_not_make_the_upstream_late() -> None:
    world = World()
    sender = world.sender()
    data = signed(BIG)
    sender >> data[:150_000]
    world.upstream >> EARLY[:-1]
    world.later(50.0)
    sender >> data[150_000:]
    world.upstream >> EARLY[-1:]
    sender << b"HTTP/1.1 413 *\r\n\r\nno\n"
    world.over(DELIVERED)


def test_waiting_for_a_connection_is_not_the_upstreams_silence() -> None:
    world = World(route(b"/hook", hold_s=80.0))
    world.pool.connects = False
    sender = world.sender()
    sender >> signed()
    world.later(60.0)
    sender << b""
    world.pool.connect()
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


# -- the sender goes


@pytest.mark.parametrize(
    ("data", "then"),
    [
        (signed(BIG)[:1000], lambda world: None),
        (signed(BIG)[:150_000], lambda world: None),
        (signed(BIG, path=b"/hold")[:150_000], lambda world: None),
        (signed(), lambda world: None),
        (signed(), lambda world: world.upstream >> OK[:-1]),
        (signed(BIG)[:150_000], lambda world: world.upstream >> EARLY),
        (signed(BIG)[:150_000], lambda world: world.upstream >> EARLY[:-1]),
        (signed(BIG * 4, path=b"/hold"), lambda world: None),
    ],
    ids=["window", "stream", "file", "awaiting", "relaying", "kept", "kept begun", "sending a file"],
)
def test_a_sender_that_goes_resets_its_upstream(data: bytes, then: Callable[[World], object]) -> None:
    world = World()
    sender = world.sender()
    sender >> data
    then(world)
    sender.vanish()
    assert all(upstream.saw == "reset" for upstream in world.upstreams)
    world.over(Reason.SENDER_GONE)


def test_a_sender_that_goes_while_it_waits_for_budget() -> None:
    world = World(buffer_budget=WINDOW)
    holder, waiter, next_one = world.sender(), world.sender(), world.sender()
    for sender in (holder, waiter, next_one):
        sender >> signed(BIG[:WINDOW])[:-1]
    waiter.vanish()
    holder.vanish()
    next_one >> signed(BIG[:WINDOW])[-1:]
    world.upstream >> OK
    next_one << ANSWERED
    world.over(Reason.SENDER_GONE, Reason.SENDER_GONE, DELIVERED)


def test_a_sender_that_goes_while_a_connection_is_made() -> None:
    world = World()
    world.pool.connects = False
    sender = world.sender()
    sender >> signed(BIG)[:150_000]
    sender.vanish()
    world.pool.refuse()
    world.over(Reason.SENDER_GONE)


def test_the_record_tells_the_story() -> None:
    world = World(route(b"/hook", upstream=(Endpoint("app", 80),)))
    sender = world.sender()
    sender >> signed(extra=b"X-GitHub-Event: push\r\nX-GitHub-Delivery: d-1\r\nUser-Agent: GitHub\r\n")
    world.loop.now += 0.5
    world.upstream >> OK
    [record] = world.records
    assert (record.request_id, record.peer, record.client) == ("test00000001", "192.0.2.1", "192.0.2.1")
    assert (record.method, record.path, record.host, record.minor) == ("POST", "/hook", "h", 1)
    assert (record.route, record.provider, record.event, record.delivery_id) == ("hook", "github", "push", "d-1")
    assert (record.status, record.verdict, record.secret_name) == (200, "admitted", "s1")
    assert (record.upstream, record.user_agent) == ("http://app:80", "GitHub")
    assert (record.bytes_in, record.bytes_out, record.phase) == (2, 2, Phase.DONE)
    assert record.duration_s == record.upstream_duration_s == 0.5
    world.over(DELIVERED)


def test_a_provider_may_demand_401() -> None:
    world = World(route(b"/hook", refusal_status=401))
    sender = world.sender()
    sender >> forged() + request(b"x")
    sender << b"HTTP/1.1 401 *signature_mismatch *\nHTTP/1.1 401 *signature_missing *\n"
    assert [record.status for record in world.records] == [401, 401]
    world.over(Reason.SIGNATURE_MISMATCH, Reason.SIGNATURE_MISSING)
