"""Signals reach their handlers on the loop."""

from __future__ import annotations

import asyncio
import os
import select
import signal

import pytest

from proxy.ops.signals import SignalQueue, Signals


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "stop"),
        (signal.SIGINT, "stop"),
        (signal.SIGHUP, "reload"),
        (signal.SIGUSR1, "reopen"),
        (signal.SIGUSR2, "upgrade"),
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
            upgrade=lambda: called.put_nowait("upgrade"),
        )
        try:
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                assert await called.get() == name
        finally:
            signals.close()

    asyncio.run(main())


def test_without_a_loop_they_are_queued_in_order():
    queue = SignalQueue((signal.SIGUSR1, signal.SIGUSR2))
    try:
        assert queue.read() == []
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([queue], [], [], 5)[0]
        assert queue.read() == [signal.SIGUSR2, signal.SIGUSR1]
    finally:
        queue.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_worker_ignores_those_of_its_supervisor():
    SignalQueue((signal.SIGUSR1, signal.SIGCHLD)).close(signal.SIG_IGN)
    try:
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
