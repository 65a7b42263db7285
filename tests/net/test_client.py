"""A sender's connection: heads, order, refusals, closing, and everything that a sender can leave undone."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from proxy.core.addresses import AddressSet
from proxy.core.budget import RateRule
from proxy.core.policy import BodyMode
from proxy.core.relay import Relay
from proxy.http1 import Piece
from proxy.net.flow import LINGER_BYTES
from proxy.reasons import Phase, Reason
from tests.net.dialogue import OK, World, forged, policy, request, route, signed

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\n*\r\n\r\npath_not_matched *\n"
BAD = b"HTTP/1.1 400 Bad Request\r\n*Connection: close\r\n*\r\n\r\nbad_request *\n"
ANSWERED = b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"
DELIVERED, SENDER_GONE, BAD_REQUEST = Reason.DELIVERED, Reason.SENDER_GONE, Reason.BAD_REQUEST
NOWHERE = request(path=b"/nowhere")


# -- one request after the other


def test_a_connection_serves_one_request_after_the_other() -> None:
    world = World()
    sender = world.sender()
    for _ in range(3):
        sender >> signed(b"{}")
        world.upstream << b"POST /hook HTTP/1.1\r\n*\r\n\r\n{}"
        world.upstream >> OK
        sender << b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"
    assert len(world.upstreams) == 1
    assert sender.saw is None
    world.over(DELIVERED, DELIVERED, DELIVERED)


def test_any_cut_of_a_request_is_the_same_request() -> None:
    whole = signed(b'{"a": 1}', chunked=True) + signed(b"[]")
    for size in (1, 2, 7, 100):
        world = World()
        sender = world.sender()
        sender.say(*(whole[i : i + size] for i in range(0, len(whole), size)))
        world.upstream << b'POST /hook HTTP/1.1\r\n*Content-Length: 8\r\n\r\n{"a": 1}'
        world.upstream >> OK
        sender << ANSWERED
        world.upstream << b"POST /hook HTTP/1.1\r\n*Content-Length: 2\r\n\r\n[]"
        world.upstream >> OK
        sender << ANSWERED
        world.over(DELIVERED, DELIVERED)


def test_pipelined_requests_wait_for_their_turn() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(b"1") + signed(b"2") + forged(b"3") + signed(b"4")
    world.upstream << b"POST *\r\n\r\n1"
    assert not sender.is_read
    sender << b""
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    sender << b"HTTP/1.1 200 OK*one"
    world.upstream << b"POST *\r\n\r\n2"
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
    sender << b"HTTP/1.1 200 OK*twoHTTP/1.1 403 Forbidden*signature_mismatch *\n"
    world.upstream << b"POST *\r\n\r\n4"
    world.upstream >> OK
    sender << ANSWERED
    assert sender.is_read
    world.over(DELIVERED, DELIVERED, Reason.SIGNATURE_MISMATCH, DELIVERED)


def test_what_comes_while_an_answer_is_awaited_waits_unread() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(b"1")
    sender >> signed(b"2")
    assert not sender.is_read
    sender >> b"\n" * 100_000
    assert sum(map(len, sender.transport.inbox)) == 100_000
    world.upstream << b"POST *\r\n\r\n1"
    world.upstream >> OK
    world.upstream << b"POST *\r\n\r\n2"
    world.upstream >> OK
    sender << ANSWERED + ANSWERED + BAD
    world.over(DELIVERED, DELIVERED, BAD_REQUEST)


def test_pipelined_refusals_take_turns() -> None:
    """Neither the stack nor one turn of the loop grows with what a sender pipelines."""
    world = World()
    sender = world.sender()
    sender.transport.inbox.append(NOWHERE * 1000)
    sender.transport.deliver()
    for count in (1, 2, 3):
        assert len(world.records) == count
        world.loop.ready.popleft()()
    sender << NOT_FOUND * 3 + b"*"
    world.over(*[Reason.PATH_NOT_MATCHED] * 1000)


@pytest.mark.parametrize(
    "bad", [b"POST / HTTP/1.1\nHost: h\n\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n", b"GET /\r\n\r\n"]
)
def test_nothing_is_parsed_after_a_framing_error(bad: bytes) -> None:
    world = World()
    sender = world.sender()
    sender >> bad + signed(b"{}")
    assert sender.hear().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))
    assert sender.saw == "fin"
    sender >> signed(b"{}")
    sender << b""
    assert not world.upstreams
    [record] = world.records
    assert (record.phase, record.verdict) == (Phase.HEAD, "refused")
    world.over(record.reason)


def test_connect_and_trace_are_told_what_would_do() -> None:
    world = World()
    sender = world.sender()
    sender >> b"TRACE /hook HTTP/1.1\r\nHost: h\r\n\r\n"
    sender << b"HTTP/1.1 405 Method Not Allowed\r\n*Allow: POST\r\n*"
    world.over(Reason.METHOD_NOT_ALLOWED)


def test_a_refused_method_names_those_of_the_path() -> None:
    world = World()
    sender = world.sender()
    sender >> b"DELETE /hook HTTP/1.1\r\nHost: h\r\n\r\n"
    sender << b"HTTP/1.1 405 Method Not Allowed\r\n*Allow: GET, HEAD, POST\r\n*method_not_allowed *\n"
    assert sender.saw is None
    world.over(Reason.METHOD_NOT_ALLOWED)


def test_a_refusal_by_the_head_keeps_the_connection_where_the_body_is_there() -> None:
    world = World()
    sender = world.sender()
    sender >> request(b"abc", path=b"/nowhere") + signed(b"{}")
    sender << NOT_FOUND
    world.upstream << b"POST *\r\n\r\n{}"
    world.upstream >> OK
    sender << ANSWERED
    world.over(Reason.PATH_NOT_MATCHED, DELIVERED)


@pytest.mark.parametrize(
    "unread",
    [
        b"Content-Length: 3\r\n\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ],
    ids=["length", "chunked", "expect"],
)
def test_a_refusal_by_the_head_closes_where_the_body_is_not(unread: bytes) -> None:
    """The rest of a body must never be taken for a request (threats F11), and no 100 invites it (S11)."""
    world = World()
    sender = world.sender()
    sender >> b"POST /nowhere HTTP/1.1\r\nHost: h\r\n" + unread
    sender << b"HTTP/1.1 404 Not Found\r\n*Connection: close\r\n*path_not_matched *\n"
    assert sender.saw == "fin"
    sender >> b"c" + signed(b"{}")
    sender << b""
    world.over(Reason.PATH_NOT_MATCHED)


def test_head_is_refused_without_content() -> None:
    world = World()
    sender = world.sender()
    sender >> request(path=b"/nowhere", method=b"HEAD")
    sender << b"HTTP/1.1 404 Not Found\r\n*Content-Length: *\r\n\r\n"
    world.over(Reason.PATH_NOT_MATCHED)


def test_1_0_is_answered_and_closed() -> None:
    world = World()
    sender = world.sender()
    sender >> request(b"x", path=b"/free", minor=0, extra=b"Connection: keep-alive\r\n")
    world.upstream << b"POST /free HTTP/1.1\r\nHost: h\r\n*\r\n\r\nx"
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert sender.saw == "fin"
    world.over(DELIVERED)


def test_1_0_without_host_gets_the_upstreams_name() -> None:
    world = World()
    sender = world.sender()
    sender >> b"POST /free HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"
    got = world.upstream.hear()
    assert got.startswith(b"POST /free HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert b"X-Forwarded-Host" not in got
    world.upstream >> OK
    world.over(DELIVERED)


def test_the_last_of_many_requests_says_so() -> None:
    world = World(max_requests_per_connection=2)
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK
    assert b"Connection: close" not in sender.hear()
    sender >> signed()
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert sender.saw == "fin"
    world.over(DELIVERED, DELIVERED)


def test_connection_close_with_more_behind_it_lingers() -> None:
    """Closing with unread bytes would be a reset, and a reset may overtake the answer."""
    world = World()
    sender = world.sender()
    sender >> signed(extra=b"Connection: close\r\n") + NOWHERE
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert sender.saw == "fin"
    assert not sender.transport.closing
    sender.finish()
    assert sender.transport.lost
    world.over(DELIVERED)


def test_our_answer_to_a_whole_request_ends_the_connection_at_once() -> None:
    """Nothing is unread, so there is nothing to wait for."""
    world = World()
    sender = world.sender()
    sender >> forged(extra=b"Connection: close\r\n")
    sender << b"HTTP/1.1 403 *Connection: close\r\n*"
    assert sender.saw == "fin"
    assert sender.transport.lost
    world.over(Reason.SIGNATURE_MISMATCH)


def test_our_answer_to_a_part_of_a_request_lingers() -> None:
    world = World()
    sender = world.sender()
    sender >> forged(b"x" * 100, path=b"/nowhere", extra=b"Connection: close\r\n")[:-1]
    sender << b"HTTP/1.1 404 *Connection: close\r\n*"
    assert sender.saw == "fin"
    assert not sender.transport.closing
    sender.finish()
    world.over(Reason.PATH_NOT_MATCHED)


def test_a_500_lingers_while_what_came_behind_its_request_is_not_read() -> None:
    """What was read of it is dropped by then; that the rest waits in the kernel only the pause tells."""
    world = World()
    sender = world.sender()
    sender >> signed(extra=b"Connection: close\r\n") + NOWHERE
    sender.protocol.failed(ZeroDivisionError())
    sender << b"HTTP/1.1 500 *Connection: close\r\n*"
    assert sender.saw == "fin"
    assert not sender.transport.closing
    sender.finish()
    world.loop.complaints.clear()
    world.over(Reason.INTERNAL_ERROR)


# -- the sender's end of its side


def test_half_close_after_the_request_still_gets_the_answer() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    sender.finish()
    assert sender.saw is None
    world.upstream >> OK
    sender << ANSWERED
    assert sender.saw == "fin"  # nothing more can come: no need to wait for the keep-alive timeout
    world.over(DELIVERED)


def test_half_close_under_tls_ends_the_connection() -> None:
    world = World()
    sender = world.sender(secure=True)
    sender >> signed()
    sender.finish()
    assert world.upstream.saw == "reset"
    world.over(SENDER_GONE)


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"Content-Length: 9\r\n\r\nhalf", b"\r\nhalf"]
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_half_an_answer_never_looks_whole_to_a_client_that_ended_its_side_of_tls(head: bytes, version: bytes) -> None:
    world = World()
    sender = world.sender(secure=True)
    sender >> signed().replace(b"HTTP/1.1", b"HTTP/" + version)
    world.upstream >> b"HTTP/1.1 200 OK\r\n" + head
    sender.finish()
    assert sender.saw == "reset"
    world.over(SENDER_GONE)


def test_half_close_behind_pipelined_requests_is_seen_after_them() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(b"1") + signed(b"2")
    sender.finish()
    world.upstream >> OK
    world.upstream >> OK
    sender << ANSWERED + ANSWERED
    assert sender.saw == "fin"
    world.over(DELIVERED, DELIVERED)


def test_a_refusal_after_half_close_closes() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    sender.finish()
    world.upstream.vanish()
    sender << b"HTTP/1.1 502 Bad Gateway\r\n*Connection: close\r\n*upstream_reset *\n"
    assert sender.saw == "fin"
    world.over(Reason.UPSTREAM_RESET)


@pytest.mark.parametrize("whole", [signed(b"{}"), signed(b"{}", chunked=True)], ids=["length", "chunked"])
def test_half_close_before_the_end_is_a_bad_request(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        world = World()
        sender = world.sender()
        sender >> whole[:cut]
        sender.finish()
        sender << BAD
        assert sender.saw == "fin"
        assert not world.upstreams
        assert world.records[0].detail == "truncated"
        world.over(BAD_REQUEST)


def test_closing_without_a_word_is_no_exchange() -> None:
    world = World()
    sender = world.sender()
    sender.finish()
    sender << b""
    assert sender.saw == "fin"
    world.over()


# -- deadlines


def test_a_silent_connection_is_closed_in_silence() -> None:
    world = World()
    sender = world.sender()
    world.later(9.0)
    assert sender.saw is None
    world.later(2.0)
    sender << b""
    assert sender.saw == "fin"
    world.over()


def test_a_slow_head_has_one_deadline_from_accept() -> None:
    """Single bytes do not move it (threats D1)."""
    world = World()
    sender = world.sender()
    for byte in signed()[:9]:
        sender >> bytes([byte])
        world.later(1.0)
    assert sender.saw is None
    world.later(2.0)
    sender << b"HTTP/1.1 408 Request Timeout\r\n*Connection: close\r\n*head_timeout *\n"
    world.over(Reason.HEAD_TIMEOUT)


def test_the_second_head_counts_from_its_first_byte() -> None:
    world = World()
    sender = world.sender()
    sender >> NOWHERE
    sender << NOT_FOUND
    world.later(12.0)
    sender >> b"POST "
    world.later(9.0)
    sender << b""
    sender >> b"/hook"
    world.later(2.0)
    sender << b"HTTP/1.1 408 *head_timeout *\n"
    world.over(Reason.PATH_NOT_MATCHED, Reason.HEAD_TIMEOUT)


def test_an_idle_connection_ends_after_its_keep_alive() -> None:
    world = World()
    sender = world.sender()
    sender >> NOWHERE
    sender << NOT_FOUND
    world.later(14.0)
    assert sender.saw is None
    world.later(2.0)
    sender << b""
    assert sender.saw == "fin"
    world.over(Reason.PATH_NOT_MATCHED)


# -- who does not read


def test_unread_answers_stop_further_requests() -> None:
    """Refusals are larger than the requests they answer: a sender that reads none of them must not fill our memory."""
    world = World()
    sender = world.sender()
    sender.take(0)
    for _ in range(20):
        sender >> NOWHERE * 500
    assert sender.transport.get_write_buffer_size() < 70_000
    assert not sender.is_read
    before = len(world.records)
    world.later(20.0)  # longer than any head may take: but it is the sender's own answers that it waits for
    assert len(world.records) == before
    sender.take(None)
    assert len(world.records) == 10_000
    assert sender.is_read
    world.later(16.0)
    assert sender.saw == "fin"
    world.over(*[Reason.PATH_NOT_MATCHED] * 10_000)


def test_an_unread_answer_stops_the_upstream_of_the_next_one() -> None:
    """Backpressure does not end with an exchange."""
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed(b"1") + signed(b"2")
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 65480\r\n\r\n" + b"x" * 65_480  # ours is longer by a Date
    world.upstream << b"POST *1"
    world.upstream >> large
    world.upstream << b""  # the second request has not begun
    assert world.reasons == [DELIVERED]
    sender.take(None)
    world.upstream << b"POST *2"
    world.upstream >> OK
    assert sender.hear().endswith(b"ok")
    world.over(DELIVERED, DELIVERED)


def test_a_sender_that_takes_nothing_is_cut() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000
    world.later(29.0)
    assert sender.saw is None
    world.later(3.0)
    assert sender.saw == "reset"
    assert world.upstream.saw == "reset"
    world.over(Reason.WRITE_TIMEOUT)


def test_a_sender_that_takes_little_is_not_cut() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    for _ in range(4):
        world.later(20.0)
        sender.take(1000)
        assert sender.saw is None
    sender.take(None)
    assert len(sender.hear()) > 100_000
    world.over(DELIVERED)


def test_a_sender_that_takes_little_has_its_request_timeout() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed()
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    for _ in range(5):
        world.later(19.0)
        sender.take(1000)
    assert sender.saw == "reset"
    assert world.records[0].detail == "request_timeout"
    world.over(Reason.WRITE_TIMEOUT)


def test_an_idle_sender_with_an_untaken_answer_has_the_write_timeout() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> NOWHERE
    world.later(20.0)
    assert sender.transport.closing
    assert sender.saw is None
    world.later(33.0)
    assert sender.saw == "reset"
    world.over(Reason.PATH_NOT_MATCHED)


def test_closing_waits_for_who_takes_the_answer_slowly() -> None:
    world = World()
    sender = world.sender()
    sender.take(0)
    sender >> signed(extra=b"Connection: close\r\n")
    world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    assert world.reasons == [DELIVERED]
    for _ in range(5):
        world.later(20.0)
        sender.take(5000)
        assert sender.saw is None
    sender.take(None)
    assert sender.saw == "fin"
    world.over(DELIVERED)


# -- lingering close


def test_lingering_waits_for_the_sender_to_close() -> None:
    world = World()
    sender = world.sender()
    sender >> b"nonsense\r\n\r\n"
    sender << BAD
    assert sender.saw == "fin"
    assert not sender.transport.closing
    sender >> b"x" * 1_000_000
    assert not sender.transport.inbox
    sender.finish()
    assert sender.transport.lost
    world.over(BAD_REQUEST)


def test_a_sender_that_has_reset_unnoticed_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    sender = world.sender()

    def fail() -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(sender.transport, "write_eof", fail)
    sender >> b"nonsense\r\n\r\n"
    sender.vanish()
    world.over(BAD_REQUEST)


def test_lingering_has_an_end_in_time() -> None:
    world = World()
    sender = world.sender()
    sender >> b"nonsense\r\n\r\n"
    world.later(4.0)
    assert sender.transport.lost
    assert sender.saw == "fin"  # a reset could still destroy the answer
    world.over(BAD_REQUEST)


def test_lingering_has_an_end_in_bytes() -> None:
    world = World()
    sender = world.sender()
    sender >> b"nonsense\r\n\r\n"
    block = b"x" * (1 << 20)
    for _ in range(LINGER_BYTES // len(block)):
        sender >> block
    assert not sender.transport.closing
    sender >> b"x"
    assert sender.transport.lost
    world.over(BAD_REQUEST)


def test_lingering_does_not_cut_off_an_answer_that_is_taken_slowly() -> None:
    world = World()
    sender = world.sender()
    sender.take(10)
    sender >> b"nonsense\r\n\r\n"
    world.later(10.0)
    assert not sender.transport.closing
    sender.take(None)
    sender << BAD
    world.later(32.0)
    assert sender.transport.lost
    world.over(BAD_REQUEST)


def test_lingering_under_tls_closes_by_itself() -> None:
    world = World()
    sender = world.sender(secure=True)
    sender >> b"nonsense\r\n\r\n"
    sender << BAD
    assert sender.saw is None
    world.later(4.0)
    assert sender.saw == "fin"
    world.over(BAD_REQUEST)


# -- drain and reload


def test_drain_closes_what_is_idle_and_lets_exchanges_end() -> None:
    world = World()
    idle, busy, begun = world.sender(), world.sender(), world.sender()
    busy >> signed()
    begun >> signed()[:40]
    world.site.start_drain()
    world.settle()
    assert idle.saw == "fin"
    assert busy.saw is None
    assert begun.saw is None
    world.upstream >> OK
    busy << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert busy.saw == "fin"
    begun >> signed()[40:]
    world.upstream >> OK
    begun << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert begun.saw == "fin"
    world.over(DELIVERED, DELIVERED)


def test_a_drain_with_grace_waits_for_the_request_that_is_on_its_way() -> None:
    world = World()
    quiet, asking = world.sender(), world.sender()
    world.site.start_drain(2.0)
    fresh = world.sender()
    assert (quiet.saw, asking.saw, fresh.saw) == (None, None, None)
    asking >> signed()
    world.upstream >> OK
    asking << b"HTTP/1.1 200 OK\r\n*Connection: close\r\n\r\nok"
    assert asking.saw == "fin"
    world.later(3.0)
    assert (quiet.saw, fresh.saw) == ("fin", "fin")
    world.over(DELIVERED)


def test_a_drain_without_end_leaves_idle_connections_to_their_time_outs() -> None:
    world = World()
    quiet = world.sender()
    world.site.start_drain(float("inf"))
    world.later(5.0)
    assert quiet.saw is None
    world.site.start_drain()
    world.settle()
    assert quiet.saw == "fin"


def test_drain_while_the_answer_is_under_way() -> None:
    world = World()
    sender = world.sender()
    sender >> signed()
    world.upstream >> OK[:-1]
    world.site.start_drain()
    world.upstream >> OK[-1:]
    sender << ANSWERED
    assert sender.saw == "fin"
    world.over(DELIVERED)


def test_a_refusal_while_draining_closes() -> None:
    world = World()
    sender = world.sender()
    sender >> forged()[:-1]
    world.site.start_drain()
    sender >> forged()[-1:]
    sender << b"HTTP/1.1 403 Forbidden\r\n*Connection: close\r\n*signature_mismatch *\n"
    world.over(Reason.SIGNATURE_MISMATCH)


def test_the_end_of_a_drain_cuts() -> None:
    world = World()
    idle, busy = world.sender(), world.sender()
    busy >> signed()
    for connection in list(world.site.connections):
        connection.abort()
    world.settle()
    assert (idle.saw, busy.saw, world.upstream.saw) == ("reset", "reset", "reset")
    world.over(Reason.DRAINED)


def test_a_reload_judges_the_next_request() -> None:
    """Also who is a trusted proxy, on connections that were open before."""
    world = World()
    sender = world.sender("192.0.2.1")
    from_afar = b"X-Forwarded-For: 203.0.113.9\r\n"
    sender >> signed(extra=from_afar)
    world.upstream << b"POST *X-Forwarded-For: 192.0.2.1\r\n*"
    world.site.use(replace(world.site.policy, trusted_proxies=AddressSet.parse(["192.0.2.1"])))
    world.upstream >> OK
    sender >> signed(extra=from_afar)
    world.upstream << b"POST *X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n*"
    world.site.use(policy(route(b"/elsewhere")))
    world.upstream >> OK
    sender >> signed()
    sender << ANSWERED + ANSWERED + NOT_FOUND
    assert [record.client for record in world.records] == ["192.0.2.1", "203.0.113.9", "192.0.2.1"]
    world.over(DELIVERED, DELIVERED, Reason.PATH_NOT_MATCHED)


# -- our own mistakes


class Broken:
    """Stands where something is asked, and fails."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError


@pytest.mark.parametrize("data", [signed(b"{}"), signed(b"{}", chunked=True)], ids=["length", "chunked"])
def test_a_bug_before_the_verdict_is_a_500(data: bytes) -> None:
    world = World()
    world.site.pool, pool = Broken(), world.site.pool  # type: ignore[assignment]
    sender = world.sender()
    sender >> data
    sender << b"HTTP/1.1 500 Internal Server Error\r\n*internal_error *\n"
    [complaint] = world.loop.complaints
    assert isinstance(complaint["exception"], ZeroDivisionError)
    world.loop.complaints.clear()
    world.site.pool = pool
    world.over(Reason.INTERNAL_ERROR)


def test_a_bug_in_the_decision_is_a_500() -> None:
    world = World()
    table, world.site.table = world.site.table, Broken()  # type: ignore[assignment]
    sender = world.sender()
    sender >> signed() + signed()
    sender << b"HTTP/1.1 500 Internal Server Error\r\n*Connection: close\r\n*internal_error *\n"
    world.loop.complaints.clear()
    world.site.table = table
    world.over(Reason.INTERNAL_ERROR)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (forged(), b"HTTP/1.1 403 *signature_mismatch *\n"),
        (request(b"x"), b"HTTP/1.1 403 *signature_missing *\n"),
        (forged(b"x" * 200_000), b"HTTP/1.1 403 *signature_mismatch *\n"),
    ],
    ids=["by its body", "by its head", "streamed"],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_bug_behind_an_answer_makes_no_second_one(data: bytes, answer: bytes, pieces: int) -> None:
    world = World()
    world.site.diagnoser = Broken()  # type: ignore[assignment]
    sender = world.sender()
    sender.say(*([data] if pieces == 1 else [data[:-1], data[-1:]]))
    sender << answer
    world.later(10.0)
    sender << b""
    assert sender.saw == "fin"
    assert [type(one["exception"]) for one in world.loop.complaints] == [ZeroDivisionError]
    world.loop.complaints.clear()
    assert len(world.records) == 1
    world.over(*world.reasons)


def test_a_transport_that_reads_into_a_buffer_is_served() -> None:
    """Two connections share the buffer that reads land in: nothing of one is ever seen by the other."""
    world = World()
    first, second = world.sender(), world.sender()
    assert isinstance(first.protocol, asyncio.BufferedProtocol)
    first >> signed(b"first")[:-2]
    second >> signed(b"second")
    world.upstream << b"POST *second"
    first >> b"st"
    world.upstream << b"POST *first"
    world.over(SENDER_GONE, SENDER_GONE)


def test_streams_of_any_mode_leave_nothing_behind_when_the_sender_vanishes() -> None:
    for path in (b"/hook", b"/hold", b"/free"):
        whole = signed(b"x" * 200_000, path=path)
        for cut in (10, 200, 1000, 100_000, 199_999, len(whole)):
            world = World()
            sender = world.sender()
            sender >> whole[:cut]
            sender.vanish()
            assert all(upstream.saw == "reset" for upstream in world.upstreams)
            world.over(*[SENDER_GONE] * (cut >= 200))


def test_modes_are_what_the_routes_say() -> None:
    assert [one.body for one in World().site.policy.routes] == [BodyMode.TAIL, BodyMode.HOLD, BodyMode.FREE]


def test_over_the_cap_on_exchanges_a_head_is_enough_to_be_refused() -> None:
    world = World(max_exchanges=1)
    first, second = world.sender(), world.sender()
    first >> signed()
    world.upstream.hear()
    second >> signed(b"x" * 100)[:-1]
    second << b"HTTP/1.1 503 Service Unavailable\r\n*Retry-After: 5\r\n*overloaded*"
    assert second.saw == "fin"
    assert world.records[-1].detail == "max_exchanges"
    world.upstream >> OK
    first << b"HTTP/1.1 200 OK*ok"
    assert world.site.exchanges == 0
    first >> signed()
    world.upstream >> OK
    first << b"HTTP/1.1 200 OK*ok"


def test_a_rate_is_kept_for_each_address_and_says_when_to_come_back() -> None:
    world = World(route(rate=RateRule(per_s=0.02, burst=1)))
    first, neighbour, other = world.sender("2001:db8::1"), world.sender("2001:db8::2"), world.sender("2001:db8:0:1::1")
    first >> signed()
    world.upstream >> OK
    first << b"HTTP/1.1 200 OK*ok"
    for sender in (first, neighbour):
        sender >> signed()
        sender << b"HTTP/1.1 429 Too Many Requests\r\n*Retry-After: 60\r\n*rate_limited*"
    other >> signed()
    world.upstream >> OK
    other << b"HTTP/1.1 200 OK*ok"
    assert [one.reason for one in world.records] == [
        Reason.DELIVERED,
        Reason.RATE_LIMITED,
        Reason.RATE_LIMITED,
        Reason.DELIVERED,
    ]


def test_content_that_comes_while_content_is_taken_is_not_lost(monkeypatch) -> None:
    """No transport reads while it is called, but nothing forbids it."""
    world = World()
    sender = world.sender()
    whole = signed(b"abcdefgh")
    take = Relay.content

    def take_and_read(relay: Relay, piece: Piece) -> None:
        reads = piece == b"cd"
        take(relay, piece)
        if reads:
            sender.transport.inbox.append(whole[-4:])
            sender.transport.deliver()

    monkeypatch.setattr(Relay, "content", take_and_read)
    sender >> whole[:-6]
    sender >> whole[-6:-4]
    world.upstream << b"POST *\r\n\r\nabcdefgh"
    world.upstream >> OK
    sender << ANSWERED
    world.over(DELIVERED)


def test_a_request_that_comes_as_its_connection_gets_too_old_is_served() -> None:
    """A timer may run before the turn in which it would have been read."""
    world = World()
    sender = world.sender()
    sender >> signed(b"1")
    world.upstream >> OK
    sender << ANSWERED
    for served in (signed(b"2"), NOWHERE):
        sender.transport.inbox.append(served)
        sender.transport.deliver()
        sender.protocol.deadline_passed(world.loop.now)
        if served is NOWHERE:
            sender << NOT_FOUND
        else:
            world.upstream << b"POST *2"
            world.upstream >> OK
            sender << ANSWERED
    assert sender.saw is None
    sender.transport.inbox.append(signed(b"3")[:20])
    sender.transport.deliver()
    sender.protocol.deadline_passed(world.loop.now)
    assert sender.saw is None
    sender.protocol.deadline_passed(world.loop.now)
    sender << b"HTTP/1.1 408 *"
    world.over(DELIVERED, DELIVERED, Reason.PATH_NOT_MATCHED, Reason.HEAD_TIMEOUT)
