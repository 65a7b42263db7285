"""The loop of a process that forks: descriptors, timers and signals, by asyncio's names for them.

A loop of asyncio must not be forked. This one has no thread and no state that a fork could not close, and the few
methods of asyncio's that ``ops.service`` calls, which runs over either.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable
from time import monotonic

from proxy.net.clock import NEVER

Call = Callable[[], object]


class Timer:
    """One call to come, at ``at`` seconds of the loop's time."""

    def __init__(self, at: float, call: Call) -> None:
        self.at = at
        self.call: Call | None = call

    def cancel(self) -> None:
        """Call nothing. May be called again, and after the call."""
        self.call = None


class SelectorLoop:
    """The loop. ``turn`` waits and calls what is due."""

    time = staticmethod(monotonic)

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._signals: dict[int, Call] = {}
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self.add_reader(self._reading.fileno(), self._signalled)

    def add_signal_handler(self, number: int, call: Call) -> None:
        """Call it in the turn after the signal has come."""
        self._signals[number] = call
        signal.signal(number, _nothing)

    def remove_signal_handler(self, number: int) -> bool:
        """Leave the signal to the system again; whether it had a call."""
        signal.signal(number, signal.SIG_DFL)
        return self._signals.pop(number, None) is not None

    def add_reader(self, descriptor: int, call: Call, *, also_writable: bool = False) -> None:
        """Call it when the descriptor is readable (or, if asked for, writable), and not what was called before."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if also_writable else 0)
        if descriptor in self._selector.get_map():
            self._selector.modify(descriptor, events, call)
        else:
            self._selector.register(descriptor, events, call)

    def remove_reader(self, descriptor: int) -> bool:
        """Call nothing for it any more; whether anything was. To be called before it is closed."""
        if descriptor not in self._selector.get_map():
            return False
        self._selector.unregister(descriptor)
        return True

    def call_later(self, delay: float, call: Call) -> Timer:
        """Call it once, in so many seconds."""
        timer = Timer(monotonic() + delay, call)
        self._timers.append(timer)
        return timer

    def turn(self, most_s: float = NEVER) -> None:
        """Wait until something is to be called, at most ``most_s`` seconds, and call it."""
        self._timers = [timer for timer in self._timers if timer.call is not None]
        pause = min([most_s, *(timer.at - monotonic() for timer in self._timers)])
        for key, _ in self._selector.select(None if pause == NEVER else max(0.0, pause)):
            # What was called before it in this turn may have ended what it was for.
            now = self._selector.get_map().get(key.fd)
            if now is not None and now.data is key.data:
                key.data()
        for timer in self._timers.copy():
            if timer.call is not None and timer.at <= monotonic():
                call, timer.call = timer.call, None
                call()

    def close(self, to: signal.Handlers = signal.SIG_DFL) -> None:
        """Leave the signals to the system, or ignore them (``SIG_IGN``), which lasts until they get a handler again."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else to)
        self._selector.close()
        self._reading.close()
        self._writing.close()

    def _signalled(self) -> None:
        for number in self._reading.recv(4096):
            self._signals.get(number, _nothing)()


def _nothing(*_: object) -> None:
    """The wakeup descriptor has the number already."""
