"""``top``: the routes of a running hookward, live: how much comes, what is refused and why, how long it takes.

The figures are differences of the totals that every worker counts anyway, asked over their private sockets. They are
drawn on the alternate screen (xterm's 1049), so what was there before is there again afterwards. Signals that end or
stop the process give the screen back first; after a stop it is taken again.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from itertools import chain
from types import FrameType
from typing import Any, Self

from proxy.config.host import ExitCode, Paint, failed, how_to_add, visible
from proxy.config.notation import took
from proxy.config.parsers import SearchParser
from proxy.console.history import Totals, quantile, totals
from proxy.core.metrics import merge, read_snapshot
from proxy.errors import FlagError
from proxy.net.private import PrivateError, ask_all
from proxy.tools.running import Running, add_process_flags, running_process

#: The oldest version that --tui works with.
TEXTUAL = "1.0"
_NO_ROUTE = "(no route)"
_HEAD = ("ROUTE", "REQ/S", "REFUSED/S", "P50", "P99", "TOTAL", "REFUSED", "MOST REFUSALS")


def main(argv: Sequence[str]) -> int:
    """Show the routes until ``q``, a signal, or the end of the process."""
    arguments = build_parser().parse(argv)
    if not 0.1 <= arguments.interval <= 3600:
        raise FlagError.of("--interval", "is no time from 0.1 to 3600 seconds", "write --interval 1")
    if arguments.words and not arguments.tui:
        raise FlagError.of(arguments.words[0], "search words are for --tui", "write --tui, or hookward tail")
    running = running_process(arguments)
    if arguments.tui:
        return _tui(running, " ".join(arguments.words))
    try:
        if arguments.once or not Screen.is_there():
            return _print(running, arguments.interval, once=arguments.once)
        return _draw(running, arguments.interval)
    except AskedToEnd as end:
        return end.code
    except KeyboardInterrupt:
        return ExitCode.OK
    except (PrivateError, ValueError) as error:
        return failed("top", error)


def build_parser() -> SearchParser:
    """The parser of the command."""
    parser = SearchParser(
        prog="hookward top", description="Show the routes of a running hookward, live. The key q ends it."
    )
    add = parser.add_argument
    add_process_flags(parser)
    add("--interval", metavar="SECONDS", type=float, default=1.0, help="how often the figures are read [1]")
    add("--once", action="store_true", help="print one table and end")
    add("--tui", action="store_true", help="show the deliveries instead, to be looked at and replayed")
    add("words", metavar="WORD", nargs="*", help="with --tui: only what these search words find")
    return parser


def _tui(running: Running, query: str) -> int:
    """The deliveries, with an extra. FlagError where it cannot be."""
    if not Screen.is_there():
        raise FlagError.of("--tui", "needs a terminal", "hookward tail prints what comes, wherever it goes")
    try:
        from proxy.tools import tui
    except ImportError:
        what = f"needs Textual {TEXTUAL} or newer"
        raise FlagError.of("--tui", what, how_to_add("textual")) from None
    return tui.run(running, query)


def _now(running: Running) -> dict[str, Totals]:
    """What all workers have counted. PrivateError where none is left."""
    found = asyncio.run(ask_all(running.ends(), "GET", "/metrics"))
    if not found:
        raise PrivateError(f"process {running.process} is gone")
    return totals(merge([read_snapshot(one) for one in found]))


def table(now: dict[str, Totals], before: dict[str, Totals], seconds: float) -> list[tuple[str, ...]]:
    """The rows, the busiest first: what each route has counted, and the rates since ``before``."""
    rows = [(name, one, one.less(before.get(name))) for name, one in now.items()]
    rows.sort(key=lambda row: (-row[2].requests, -row[1].requests, row[0]))
    return [_HEAD, *(_row(name, one, lately, seconds) for name, one, lately in rows)]


def _row(name: str, one: Totals, lately: Totals, seconds: float) -> tuple[str, ...]:
    refusals = one.refusals
    return (
        visible(name)[:40].replace("\n", " ") or _NO_ROUTE,
        f"{lately.requests / seconds:.1f}",
        f"{lately.refusals.total() / seconds:.1f}",
        took(quantile(lately.buckets, 0.5)),
        took(quantile(lately.buckets, 0.99)),
        str(one.requests),
        str(refusals.total()),
        ", ".join(f"{word} {count}" for word, count in refusals.most_common(3)),
    )


def lines_of(rows: Sequence[tuple[str, ...]], paint: Paint, columns: int) -> list[str]:
    """The rows as lines of a table that is no wider than the screen."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for number, (name, *figures, reasons) in enumerate(rows):
        cells = [name.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=False)]
        line = "  ".join([*cells, reasons])[:columns].rstrip()
        lines.append(paint(line, "bold") if number == 0 else line)
    return lines


def _tables(running: Running) -> Iterator[list[tuple[str, ...]]]:
    """The rows as they are now, each time it is asked, with the rates since it was asked before."""
    before, at = _now(running), time.monotonic()
    yield table(before, before, 1.0)
    while True:
        now, then = _now(running), time.monotonic()
        yield table(now, before, max(then - at, 0.001))
        before, at = now, then


def _draw(running: Running, interval_s: float) -> int:
    """On a terminal, until a key or a signal says otherwise."""
    paint, head = Paint.on(sys.stdout), f"hookward, process {running.process}: every {interval_s:g} s, q ends"
    tables = _tables(running)
    first = next(tables)
    with Screen() as screen:
        for rows in chain([first], tables):
            columns, _ = screen.size
            screen.draw([paint(head[:columns], "dim"), "", *lines_of(rows, paint, columns)])
            if screen.key(interval_s) in {"q", "Q", "\x1b", "\x04"}:
                break
    return ExitCode.OK


def _print(running: Running, interval_s: float, *, once: bool) -> int:
    """Where there is no terminal: a table each time, or once."""
    tables = _tables(running)
    next(tables)
    while True:
        time.sleep(interval_s)
        print("\n".join(lines_of(next(tables), Paint(colour=False), 200)), flush=True)
        if once:
            return ExitCode.OK


_ENTER = "\033[?1049h\033[?25l\033[2J"
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\033[H", "\033[K", "\033[J"
#: Of these the process would end without a word.
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class AskedToEnd(Exception):  # noqa: N818 - no failure
    """A signal asks for the end; ``code`` is what a shell says of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Screen:
    """The terminal of standard output, as a context manager; a signal that asks for the end raises AskedToEnd in it."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    @staticmethod
    def is_there() -> bool:
        """Whether standard input and output are a terminal that can be drawn on."""
        return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        columns, lines = shutil.get_terminal_size()
        return columns, lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, as many as there is room for, in the place of those before."""
        shown = lines[: self.size[1]]
        sys.stdout.write(_HOME + "\r\n".join(f"{line}{_CLEAR_LINE}" for line in shown) + _CLEAR_REST)
        sys.stdout.flush()

    def key(self, timeout_s: float) -> str:
        """The next key, or "" where none came in time."""
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], max(timeout_s, 0.0))
        return os.read(sys.stdin.fileno(), 16).decode("utf-8", "replace") if ready else ""

    def _take(self) -> None:
        self._before = termios.tcgetattr(sys.stdin.fileno())
        tty.setcbreak(sys.stdin.fileno())
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        if self._before is None:
            return
        before, self._before = self._before, None
        try:
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        finally:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        raise AskedToEnd(number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here again once the process was continued.
        signal.signal(number, self._stop)
        self._take()
