"""The process that serves: its event loop, its garbage collector, and its descriptors.

Each connection is a descriptor, and each exchange may be two more. The soft limit of a process is 1024 on most hosts;
raising it up to the hard one needs no privilege. Where that is too low, connections wait at accept when it is reached
(threats D11), and the start says what to change.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import weakref
from collections.abc import Callable

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
