"""What goes to the upstream for one exchange, and when its answer may be seen."""

from __future__ import annotations

from proxy.core.policy import BodyMode
from proxy.net.delivery import Answer
from proxy.reasons import Reason
from tests.net.dialogue import OK, World, route, signed

BIG = bytes(range(256)) * 1024  # four windows of these tests


def begun(world: World, body: bytes, path: bytes = b"/hook"):
    """A sender that has sent all of ``body`` but its last byte."""
    sender = world.sender()
    whole = signed(body, path=path)
    sender >> whole[:-1]
    return sender, whole[-1:]


def test_a_streamed_request_stays_without_its_end_until_it_is_delivered() -> None:
    world = World()
    sender, last = begun(world, BIG)
    got = world.upstream.hear()
    assert got.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"Content-Length: %d\r\n" % len(BIG) in got
    assert len(got.partition(b"\r\n\r\n")[2]) <= len(BIG) - 16 * 1024
    sender >> last
    assert (got + world.upstream.hear()).endswith(BIG)
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK*ok"
    world.over(Reason.DELIVERED)


def test_an_answer_before_the_verdict_is_kept() -> None:
    world = World()
    sender, last = begun(world, BIG)
    world.upstream.hear()
    delivery = sender.protocol._exchange._delivery
    world.upstream >> OK
    assert delivery.answer is Answer.KEPT
    sender << b""
    sender >> last
    sender << b"HTTP/1.1 200 OK*ok"
    world.over(Reason.DELIVERED)


def test_the_memory_of_a_body_that_went_to_disk_serves_others() -> None:
    world = World(route(b"/hold", BodyMode.HOLD))
    sender, last = begun(world, BIG, b"/hold")
    exchange = sender.protocol._exchange
    assert exchange._gate.held_bytes == 0
    assert exchange._spill.size == len(BIG) - 1
    assert not world.upstreams
    sender >> last
    assert world.upstream.hear().endswith(BIG)
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK*ok"
    world.over(Reason.DELIVERED)


def test_unknown_length_goes_on_in_chunks_of_ours() -> None:
    world = World()
    sender = world.sender()
    sender >> signed(BIG, chunked=True)
    got = world.upstream.hear()
    assert b"Transfer-Encoding: chunked\r\n" in got
    assert b"Content-Length" not in got
    assert got.endswith(b"\r\n0\r\n\r\n")
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK*ok"
    world.over(Reason.DELIVERED)
