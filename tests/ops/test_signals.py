"""Signals reach their handlers on the loop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from proxy.ops.signals import Signals


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "stop"),
        (signal.SIGINT, "stop"),
        (signal.SIGHUP, "reload"),
        (signal.SIGUSR1, "reopen"),
    ],
)
def test_each_signal_has_its_handler(number: signal.Signals, name: str):
    async def main() -> None:
        called: asyncio.Queue[str] = asyncio.Queue()
        signals = Signals(
            asyncio.get_running_loop(),
            stop=lambda: called.put_nowait("stop"),
            reload=lambda: called.put_nowait("reload"),
            reopen=lambda: called.put_nowait("reopen"),
        )
        try:
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                assert await called.get() == name
        finally:
            signals.close()

    asyncio.run(main())
