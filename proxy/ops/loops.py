"""Which event loop serves: uvloop's where it is installed and not refused, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

try:
    import uvloop
except ImportError:  # Windows, PyPy, or an installation without it
    uvloop = None  # type: ignore[assignment]

#: Makes the loop of a process; None is asyncio's own way.
LoopFactory = Callable[[], asyncio.AbstractEventLoop] | None


def loop_factory(choice: str) -> LoopFactory:
    """Uvloop's, unless ``choice`` is "asyncio"."""
    if choice == "asyncio" or uvloop is None:
        return None
    return uvloop.new_event_loop
