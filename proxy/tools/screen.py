"""A full screen of a terminal in plain ANSI, given back as it was whatever ends the program.

It is drawn on the alternate screen (xterm's 1049), so what was there before is there again afterwards. Keys come one by
one, unechoed. Signals that end or stop the process give the screen back first; after a stop it is taken again.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self

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
