"""The sink: whole lines, in order, never waiting for a stalled reader."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.host import whole_lines
from proxy.net.access_log import LogSink


def wait_for(condition, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        os.sched_yield()


def test_lines_arrive_in_order(tmp_path: Path):
    path = tmp_path / "access.log"
    sink = LogSink.open(str(path))
    for number in range(100):
        sink.write(b"%d\n" % number, 1)
    sink.close(5)
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(100))
    assert sink.dropped == 0


def test_a_file_is_appended_to_and_not_for_everyone(tmp_path: Path):
    path = tmp_path / "access.log"
    old = os.umask(0)
    try:
        for text in (b"one\n", b"two\n"):
            sink = LogSink.open(str(path))
            sink.write(text, 1)
            sink.close(5)
    finally:
        os.umask(old)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_reopen_follows_a_rotation(tmp_path: Path):
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    sink = LogSink.open(str(path))
    sink.write(b"before\n", 1)
    wait_for(lambda: path.read_bytes() == b"before\n")
    path.rename(rotated)
    sink.write(b"still the old file\n", 1)
    sink.reopen()
    sink.write(b"after\n", 1)
    sink.close(5)
    assert rotated.read_bytes() == b"before\nstill the old file\n"
    assert path.read_bytes() == b"after\n"


def test_where_reopening_fails_the_old_file_stays(tmp_path: Path):
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "access.log"
    sink = LogSink.open(str(path))
    kept = tmp_path / "kept.log"
    path.rename(kept)
    folder.rmdir()
    sink.reopen()
    sink.write(b"not lost\n", 1)
    sink.close(5)
    assert kept.read_bytes() == b"not lost\n"


def test_a_stalled_reader_costs_lines_but_no_time():
    reading, writing = os.pipe()
    sink = LogSink(writing, max_waiting=100_000)
    line = b"x" * 999 + b"\n"
    begun = time.monotonic()
    for _ in range(2000):
        sink.write(line, 1)
    assert time.monotonic() - begun < 2
    assert sink.dropped > 1000
    sink.close(0.01)
    os.close(reading)
    wait_for(lambda: not sink._thread.is_alive())
    os.close(writing)


def test_what_the_sink_refuses_is_counted():
    reading, writing = os.pipe()
    os.close(reading)
    sink = LogSink(writing)
    sink.write(b"one\ntwo\n", 2)
    sink.close(5)
    os.close(writing)
    assert sink.dropped == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_survived():
    sink = LogSink.open("/dev/full")
    sink.write(b"one\n", 1)
    sink.write(b"two\n", 1)
    sink.close(5)
    assert sink.dropped == 2


def test_a_line_that_was_cut_does_not_swallow_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "access.log"
    sink = LogSink.open(str(path))
    real, calls = os.write, []

    def full_after_three_bytes(fd: int, data: memoryview) -> int:
        if fd != sink._fd:
            return real(fd, data)
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(fd, data[:3] if len(calls) == 1 else data)

    monkeypatch.setattr(os, "write", full_after_three_bytes)
    sink.write(b"broken\n", 1)
    sink.write(b"whole\n", 1)
    sink.close(5)
    assert path.read_bytes() == b"bro\nwhole\n"
    assert sink.dropped == 1


def test_a_descriptor_of_others_is_left_open():
    reading, writing = os.pipe()
    sink = LogSink(writing)
    sink.reopen()
    sink.write(b"line\n", 1)
    sink.close(5)
    os.write(writing, b"mine\n")
    assert os.read(reading, 100) == b"line\nmine\n"
    os.close(reading)
    os.close(writing)


def test_opening_a_path_that_cannot_be_written_fails_at_once(tmp_path: Path):
    with pytest.raises(OSError, match="missing"):
        LogSink.open(str(tmp_path / "missing" / "access.log"))


@given(st.lists(st.integers(0, 30)), st.integers(1, 40))
def test_lines_are_cut_only_where_they_end(lengths: list[int], size: int):
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    pieces = whole_lines(data, size)
    assert b"".join(pieces) == data
    for piece in pieces:
        assert piece == b"" or piece.endswith(b"\n")
        assert len(piece) <= size or piece.count(b"\n") == 1


def test_siblings_do_not_tear_each_others_lines_apart():
    reading, writing = os.pipe()
    sinks = [LogSink(writing, siblings=True) for _ in range(4)]
    lines = [name * 700 + b"\n" for name in (b"a", b"b", b"c", b"d")]
    for sink, line in zip(sinks, lines, strict=True):
        sink.write(line * 60, 60)
    found = b""
    while found.count(b"\n") < 240:
        assert select.select([reading], [], [], 5)[0]
        found += os.read(reading, 1 << 16)
    for sink in sinks:
        sink.close(5)
    os.close(reading)
    os.close(writing)
    assert sorted(found.splitlines(keepends=True)) == sorted(lines * 60)
