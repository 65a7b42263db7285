"""Why a sender is not read, and whether it takes its answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.net.flow import Pause, Reading, Writing, write


class Clock:
    time_s = 100.0

    def now(self) -> float:
        return self.time_s


class Transport:
    def __init__(self) -> None:
        self.reads = True
        self.buffered = 0
        self.writes: list[bytes | list[bytes]] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.writes.append(pieces)

    def pause_reading(self) -> None:
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return self.buffered


def reading() -> tuple[Reading, Transport, Clock]:
    clock, transport = Clock(), Transport()
    one = Reading(cast("Any", clock))
    one.transport = cast("Any", transport)
    return one, transport, clock


def test_reading_goes_on_when_the_last_reason_is_gone() -> None:
    one, transport, _ = reading()
    one.pause(Pause.UPSTREAM)
    one.pause(Pause.BUDGET)
    assert one.resume(Pause.UPSTREAM)
    assert not transport.reads
    assert one.reasons & (Pause.BUDGET | Pause.UNREAD)
    assert not one.resume(Pause.UPSTREAM)
    assert one.resume(Pause.BUDGET)
    assert transport.reads


def test_paused_time_is_counted_once_for_all_reasons() -> None:
    one, _, clock = reading()
    one.pause(Pause.UPSTREAM)
    clock.time_s += 2
    one.pause(Pause.CONNECT)
    clock.time_s += 3
    assert one.paused_s(clock.time_s) == 5
    one.resume(Pause.UPSTREAM)
    one.resume(Pause.CONNECT)
    clock.time_s += 10
    assert one.paused_s(clock.time_s) == 5
    one.begin_request()
    assert one.paused_s(clock.time_s) == 0


def test_all_reasons_end_together() -> None:
    one, transport, _ = reading()
    one.resume_all()
    one.pause(Pause.UPSTREAM)
    one.pause(Pause.PIPELINED)
    one.resume_all()
    assert transport.reads
    assert not one.reasons


def test_a_connection_that_is_gone_is_paused_in_name_only() -> None:
    one, _, _ = reading()
    one.transport = None
    one.pause(Pause.UPSTREAM)
    assert one.resume(Pause.UPSTREAM)


def test_a_sender_is_late_when_nothing_moves() -> None:
    one, transport = Writing(secure=False), Transport()
    assert one.unwritten == 0
    one.transport = cast("Any", transport)
    assert not one.is_late(1000.0, 30)
    transport.buffered = 500
    one.stalled(100.0)
    assert one.is_stalled
    assert not one.is_late(130.0, 30)
    transport.buffered = 400
    assert not one.is_late(131.0, 30)
    assert not one.is_late(161.0, 30)
    assert one.is_late(161.5, 30)
    one.flows()
    assert not one.is_late(1000.0, 30)


@pytest.mark.parametrize(
    ("pieces", "plain", "secure"),
    [([], [], []), ([b"a"], [b"a"], [b"a"]), ([b"a", b"b", b"c"], [[b"a", b"b", b"c"]], [b"abc"])],
)
def test_under_tls_what_is_written_together_is_one_record(pieces, plain, secure) -> None:
    for by_tls, expected in ((False, plain), (True, secure)):
        transport = Transport()
        write(cast("Any", transport), pieces, secure=by_tls)
        assert transport.writes == expected
