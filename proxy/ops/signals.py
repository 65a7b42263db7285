"""What the process does when it is signalled: drain, reload, reopen its log, upgrade. The handlers run on the loop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping

Handler = Callable[[], object]


class Signals:
    """The signals of one process; ``close`` gives them back."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, stop: Handler, reload: Handler, reopen: Handler, upgrade: Handler
    ) -> None:
        """``stop`` is called for SIGTERM and SIGINT, ``reload`` for SIGHUP, ``reopen`` for SIGUSR1, ``upgrade`` for
        SIGUSR2.
        """
        self._loop = loop
        self.handlers: Mapping[signal.Signals, Handler] = {
            signal.SIGTERM: stop,
            signal.SIGINT: stop,
            signal.SIGHUP: reload,
            signal.SIGUSR1: reopen,
            signal.SIGUSR2: upgrade,
        }
        for number, handler in self.handlers.items():
            loop.add_signal_handler(number, handler)

    def close(self) -> None:
        """Leave the signals to the system again."""
        for number in self.handlers:
            self._loop.remove_signal_handler(number)


class SignalQueue:
    """The signals of a process without a loop, in the order in which they came. ``close`` gives them back."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        self._numbers = numbers
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _nothing)

    def fileno(self) -> int:
        """For a selector."""
        return self._reading.fileno()

    def read(self) -> list[int]:
        """The numbers of those that have come."""
        try:
            return list(self._reading.recv(4096))
        except BlockingIOError:
            return []

    def close(self, to: signal.Handlers = signal.SIG_DFL) -> None:
        """Leave the signals to the system, or ignore them (``SIG_IGN``), which lasts until somebody else takes them."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else to)
        self._reading.close()
        self._writing.close()


def _nothing(*_: object) -> None:
    """The wakeup descriptor has the number already."""
