"""What the process does when it is signalled: drain, reload, reopen its log. The handlers run on the loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping

Handler = Callable[[], None]


class Signals:
    """The signals of one process; ``close`` gives them back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, stop: Handler, reload: Handler, reopen: Handler) -> None:
        """``stop`` is called for SIGTERM and SIGINT, ``reload`` for SIGHUP and ``reopen`` for SIGUSR1."""
        self._loop = loop
        self.handlers: Mapping[signal.Signals, Handler] = {
            signal.SIGTERM: stop,
            signal.SIGINT: stop,
            signal.SIGHUP: reload,
            signal.SIGUSR1: reopen,
        }
        for number, handler in self.handlers.items():
            loop.add_signal_handler(number, handler)

    def close(self) -> None:
        """Leave the signals to the system again."""
        for number in self.handlers:
            self._loop.remove_signal_handler(number)
