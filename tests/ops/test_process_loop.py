"""Descriptors, timers and signals without a loop of asyncio."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from proxy.ops.process import SelectorLoop


@pytest.fixture
def loop() -> Iterator[SelectorLoop]:
    one = SelectorLoop()
    yield one
    one.close()


def test_signals_are_called_in_order(loop: SelectorLoop):
    called: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, partial(called.append, number))
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(5)
    assert called == [signal.SIGUSR2, signal.SIGUSR1]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_forked_worker_ignores_the_signals_of_its_supervisor():
    loop = SelectorLoop()
    for number in (signal.SIGUSR1, signal.SIGCHLD):
        loop.add_signal_handler(number, lambda: None)
    loop.close(signal.SIG_IGN)
    try:
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_timers_are_called_once_when_they_are_due(loop: SelectorLoop):
    called: list[str] = []
    loop.call_later(0.0, lambda: called.append("due"))
    loop.call_later(0.0, lambda: called.append("cancelled")).cancel()
    late = loop.call_later(3600.0, lambda: called.append("late"))
    loop.turn()
    loop.turn(0.0)
    assert called == ["due"]
    late.at = 0.0
    loop.turn()
    assert called == ["due", "late"]


def test_a_timer_may_cancel_another_that_is_due(loop: SelectorLoop):
    timers: list[Any] = []
    called: list[int] = []

    def cancel_the_other(mine: int) -> None:
        called.append(mine)
        timers[1 - mine].cancel()

    timers += [loop.call_later(0.0, partial(cancel_the_other, number)) for number in range(2)]
    loop.turn()
    loop.turn(0.0)
    assert called == [0]


def test_a_descriptor_is_called_for_while_it_is_watched(loop: SelectorLoop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        called: list[str] = []
        loop.add_reader(ours.fileno(), lambda: called.append("readable"))
        loop.turn(0.0)
        assert called == []
        loop.add_reader(ours.fileno(), lambda: called.append("either"), also_writable=True)
        loop.turn()
        assert called == ["either"]
        loop.add_reader(ours.fileno(), lambda: called.append(ours.recv(10).decode()))
        theirs.sendall(b"hello")
        loop.turn()
        assert called == ["either", "hello"]
        assert loop.remove_reader(ours.fileno())
        assert not loop.remove_reader(ours.fileno())
        theirs.sendall(b"again")
        loop.turn(0.0)
        assert called == ["either", "hello"]


def test_what_was_ended_in_the_same_turn_is_not_called(loop: SelectorLoop):
    """As a new process that speaks in the turn in which a signal has given it up."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def end_the_other(mine: int) -> None:
        called.append(mine)
        loop.remove_reader(pairs[1 - mine][0].fileno())

    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours.fileno(), partial(end_the_other, number))
        theirs.sendall(b"x")
    loop.turn()
    assert len(called) == 1
    for pair in pairs:
        loop.remove_reader(pair[0].fileno())
        for end in pair:
            end.close()
