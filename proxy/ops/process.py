"""The process that serves: its event loop, its garbage collector, and its descriptors.

Each connection is a descriptor, and each exchange may be two more. The soft limit of a process is 1024 on most hosts;
raising it up to the hard one needs no privilege. Where that is too low, connections wait at accept when it is reached
(threats D11), and the start says what to change.

A process that forks has a loop of its own (``SelectorLoop``), for one of asyncio must not be forked. It has
descriptors, timers and signals by asyncio's names for them, and no thread or state that a fork could not close: the few
methods that ``ops.service`` calls, which runs over either.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import selectors
import signal
import socket
import weakref
from collections.abc import Callable
from time import monotonic

from proxy.net.clock import NEVER

try:
    import uvloop
except ImportError:  # Windows, PyPy, or an installation without it
    uvloop = None  # type: ignore[assignment] # a module has no optional type

#: Net allocations of containers before the young ones are looked through; Python's own figure is 700.
YOUNG = 20_000
#: So many routes are freed in one turn of the loop: half a millisecond.
PARTS = 100
#: Listeners, logs, the loop's own, certificates while they are read.
SPARE = 64

#: Makes the loop of a process; None is asyncio's own way.
LoopFactory = Callable[[], asyncio.AbstractEventLoop] | None


def loop_factory(choice: str) -> LoopFactory:
    """Uvloop's where it is installed, unless ``choice`` is "asyncio"."""
    if choice == "asyncio" or uvloop is None:
        return None
    return uvloop.new_event_loop


def let_go(loop: asyncio.AbstractEventLoop, whole: object, parts: list[object]) -> None:
    """Free ``parts`` a few at a time once their ``whole`` is gone: thousands at once hold up the loop for 50 ms."""

    def free() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_free_some, loop, parts)

    weakref.finalize(whole, free).atexit = False


def _free_some(loop: asyncio.AbstractEventLoop, parts: list[object]) -> None:
    del parts[-PARTS:]
    if parts:
        loop.call_later(0, _free_some, loop, parts)


def settle() -> None:
    """Take all that is there now for permanent, and look at the rest more seldom. Called once, before serving.

    An exchange leaves no cycles behind (its parts are freed by their last reference), so what the cyclic collector
    would look through at every few hundred allocations is code and configuration: measured, 5 % of a delivery.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)


def hold_standard_descriptors() -> None:
    """Open /dev/null in place of stdin, stdout or stderr where they were closed.

    Else the next socket gets that number: a message for stderr goes to a sender, and libuv aborts when it closes it.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def needed_descriptors(max_connections: int, max_exchanges: int) -> int:
    """Descriptors of a worker at its limits: an exchange has an upstream connection or a temporary file, or both."""
    return max_connections + 2 * min(max_exchanges, max_connections) + SPARE


def raise_descriptor_limit(max_connections: int, max_exchanges: int) -> list[str]:
    """Raise the soft limit as far as needed and allowed; warnings where that is not far enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed_descriptors(max_connections, max_exchanges)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < max_connections + SPARE:
        what = f"this process may open {soft} files, and max_connections = {max_connections} may need {wanted}"
        return [f"{what}: raise the limit (systemd: LimitNOFILE={wanted}) or lower max_connections"]
    return []


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
