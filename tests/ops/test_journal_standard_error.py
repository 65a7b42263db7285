"""A standard error that is not read: nothing waits for it for long, and what was lost is said."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.ops import journal
from proxy.ops.journal import StandardError
from tests.whole.process import environment

LINE = "x" * 99 + "\n"


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """(its reader, what is written to)."""
    if request.param == "pipe":
        pair = os.pipe()
    else:
        one, other = socket.socketpair()
        pair = (one.detach(), other.detach())
    yield pair
    for descriptor in pair:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def drained(reading: int) -> bytes:
    os.set_blocking(reading, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(reading, 1 << 16):
            data += piece
    return data


def test_what_is_not_read_is_dropped_counted_and_said(ends: tuple[int, int]):
    reading, writing = ends
    stream = StandardError(writing)
    stream.serves()
    print(LINE * 20_000, end="", file=stream)
    assert stream.dropped > 0
    kept = drained(reading).decode()
    print("and then", file=stream)
    lines = (kept + drained(reading).decode()).splitlines()
    assert lines[-2:] == [f"hookward: {stream.dropped} lines were dropped here: they were not read in time", "and then"]
    assert set(lines[:-2]) <= {LINE[:-1], LINE[: len(lines[-3])]}
    assert len(lines) - 2 >= 20_000 - stream.dropped


def test_nobody_else_is_asked_not_to_wait(ends: tuple[int, int]):
    reading, writing = ends
    print("one", file=StandardError(writing))
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    assert drained(reading) == b"one\n"


def test_a_reader_that_is_gone_is_no_failure(ends: tuple[int, int]):
    reading, writing = ends
    stream = StandardError(writing)
    os.close(reading)
    print("one\ntwo", file=stream)
    assert stream.dropped == 2


def test_lines_go_out_whole(ends: tuple[int, int]):
    reading, writing = ends
    stream = StandardError(writing)
    stream.write("a line ")
    assert drained(reading) == b""
    stream.write("in parts\nand ")
    stream.flush()
    assert drained(reading) == b"a line in parts\n"
    stream.write("y" * 70_000)
    assert drained(reading)[:5] == b"and y"


def test_a_reader_that_is_slow_is_waited_for(tmp_path: Path):
    """Far more than a pipe holds, before anything is served."""
    script = f"from proxy.ops.journal import take_over_standard_error as take; print({LINE!r} * 10000, file=take())"
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, env=environment(), check=True)
    assert done.stderr.count(b"\n") == 10_001
    with (tmp_path / "file").open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stderr=file, env=environment(), check=True)
    assert (tmp_path / "file").read_bytes() == done.stderr


def test_what_may_not_be_opened_again_is_written_where_there_is_room(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refused)
    stream = StandardError(writing)
    stream.serves()
    print(LINE * 2000, end="", file=stream)
    assert stream.dropped > 0
    assert drained(reading).startswith(LINE.encode() * 600)
    assert not stream.isatty()
    os.close(reading)
    os.close(writing)


def test_a_file_that_standard_output_shares_is_not_written_over(tmp_path: Path):
    """``hookward … > file 2>&1``: one file, one position in it."""
    path = tmp_path / "both"
    with path.open("wb", buffering=0) as output, StandardError(os.dup(output.fileno())) as error:
        error.write("the banner, which is long\n")
        output.write(b"a line of the log\n")
        error.write("a warning\n")
        output.write(b"another\n")
        os.close(error.fileno())
    assert path.read_text().splitlines() == ["the banner, which is long", "a line of the log", "a warning", "another"]


def test_only_the_process_own_is_taken_over(capsys: pytest.CaptureFixture[str]):
    assert journal.take_over_standard_error() is None
    assert journal.dropped_lines() == 0
    del capsys
