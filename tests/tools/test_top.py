"""``top``, on a terminal that is given back whatever ends it, and without one."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from proxy.config.host import Paint
from proxy.console.history import totals
from proxy.core.metrics import Metrics
from proxy.core.record import ExchangeRecord
from proxy.reasons import Reason
from proxy.tools.top import Screen, lines_of, table
from tests.whole.conftest import secret_file, start, upstream
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

__all__ = ["secret_file", "start", "upstream"]

Start = Callable[..., Hookward]


def metrics(*ends: tuple[str, Reason, float]) -> Metrics:
    found = Metrics()
    for route, reason, took in ends:
        found.exchange(ExchangeRecord("r", 0.0, "p", "c", reason=reason, route=route, status=200, duration_s=took))
    return found


def test_the_busiest_first_with_what_was_refused() -> None:
    before = totals(metrics(("a", Reason.DELIVERED, 0.004)).snapshot())
    now = totals(
        metrics(
            *[("a", Reason.DELIVERED, 0.004)] * 3,
            *[("b\x1b[2J", Reason.DELIVERED, 0.3)] * 9,
            ("", Reason.PATH_NOT_MATCHED, 0.001),
        ).snapshot()
    )
    rows = table(now, before, 2.0)
    assert [row[0] for row in rows] == ["ROUTE", "b\\x1b[2J", "a", "(no route)"]
    assert rows[1][1:4] == ("4.5", "0.0", "375.0 ms")
    assert rows[2][1] == "1.0"
    assert rows[3][6:] == ("1", "path_not_matched 1")
    lines = lines_of(rows, Paint(colour=False), 40)
    assert max(map(len, lines)) <= 40
    assert "\x1b" not in "".join(lines)


class Terminal:
    """``hookward top`` on a terminal of its own."""

    def __init__(self, *words: object, term: str = "xterm", program: Sequence[str] = ("-m", "proxy", "top")) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 120))
        self.before = termios.tcgetattr(theirs)
        command = [sys.executable, *program, *map(str, words)]
        self.theirs = theirs
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment(), "TERM": term},
            start_new_session=True,
        )
        self.seen = b""

    def wait(self, text: bytes, times: int = 1) -> None:
        deadline = monotonic() + 30
        while self.seen.count(text) < times:
            assert monotonic() < deadline, self.seen
            self.seen += os.read(self.ours, 65536)

    def end(self) -> int:
        """Its exit code. It is read meanwhile: it could not end while what it says has nowhere to go."""
        os.set_blocking(self.ours, False)
        deadline = monotonic() + 40
        while self.process.poll() is None:
            assert monotonic() < deadline, self.seen[-1000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                self._drain()
        self._drain()
        return self.process.returncode

    def _drain(self) -> None:
        with suppress(OSError):
            while piece := os.read(self.ours, 65536):
                self.seen += piece

    def is_given_back(self) -> bool:
        shown, hidden = self.seen.rfind(b"\x1b[?1049l"), self.seen.rfind(b"\x1b[?1049h")
        return shown > hidden and b"\x1b[?25h" in self.seen and termios.tcgetattr(self.theirs)[:4] == self.before[:4]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def running(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> Hookward:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--state-dir", tmp_path)
    once(hookward.address, request())
    return hookward


@pytest.mark.parametrize("how", ["q", "SIGINT", "SIGTERM", "SIGHUP", "gone", "stop"])
def test_the_screen_is_given_back_whatever_ends_it(running: Hookward, how: str) -> None:
    one = Terminal("--follow", running.pid, "--interval", "0.1")
    try:
        one.wait(b"\x1b[?1049h")
        one.wait(b"REQ/S")
        if how == "q":
            os.write(one.ours, b"q")
        elif how == "gone":
            running.stop()
        elif how == "stop":
            # Its group has no shell that would continue it, so the kernel lets it go on at once.
            one.process.send_signal(signal.SIGTSTP)
            one.wait(b"\x1b[?1049l")
            one.process.send_signal(signal.SIGCONT)
            one.wait(b"\x1b[?1049h", 2)
            os.write(one.ours, b"q")
        else:
            one.process.send_signal(getattr(signal, how))
        code = one.end()
        assert one.is_given_back(), one.seen[-300:]
        assert code == {"SIGTERM": 143, "SIGHUP": 129, "gone": 1}.get(how, 0)
        assert b"Traceback" not in one.seen
    finally:
        one.close()


def test_without_a_terminal_it_is_a_table(running: Hookward) -> None:
    command = [sys.executable, "-m", "proxy", "top", "--once", "--interval", "0.1", "--follow", str(running.pid)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True, timeout=60)
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["ROUTE", "open"]
    assert "\x1b" not in found.stdout


@pytest.mark.parametrize(
    ("reads", "writes", "term", "there"),
    [
        (True, True, "xterm", True),
        (False, True, "xterm", False),
        (True, False, "xterm", False),
        (True, True, "dumb", False),
        (True, True, None, False),
    ],
)
def test_what_can_be_drawn_on(
    monkeypatch: pytest.MonkeyPatch, reads: bool, writes: bool, term: str | None, there: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: reads))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: writes))
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert Screen.is_there() is there


def test_a_terminal_that_cannot_be_drawn_on_gets_tables(running: Hookward) -> None:
    one = Terminal("--interval", "0.1", "--follow", running.pid, term="dumb")
    try:
        one.wait(b"ROUTE", 2)
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 0
        assert b"\x1b[?" not in one.seen
    finally:
        one.close()
