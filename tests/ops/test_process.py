"""The process that serves: its loop, its garbage collector, its descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import weakref

import pytest

from proxy.config.load import load
from proxy.ops import process
from proxy.ops.process import (
    PARTS,
    SPARE,
    hold_standard_descriptors,
    let_go,
    needed_descriptors,
    raise_descriptor_limit,
)


def test_the_loop_can_be_chosen():
    assert process.loop_factory("asyncio") is None
    factory = process.loop_factory("")
    if factory is not None:
        loop = factory()
        assert not isinstance(loop, asyncio.SelectorEventLoop)
        loop.close()


def test_without_uvloop_asyncio_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "uvloop", None)
    assert process.loop_factory("uvloop") is None


SCRIPT = """
import gc
from proxy.ops.process import YOUNG, settle
from proxy.config.host import paused
before = gc.get_threshold()
looked = []
gc.callbacks.append(lambda phase, info: looked.append(info["generation"]))
with paused():
    made = [[] for _ in range(10_000)]
    assert looked == []
with paused(2000):
    made += [[] for _ in range(10_000)]
assert set(looked) == {0}
assert gc.get_threshold() == before and gc.get_freeze_count() > 20_000
settle()
assert gc.isenabled() and gc.get_threshold()[0] == YOUNG and gc.get_freeze_count() > 1000
print("settled")
"""


def test_it_rests_during_imports_then_looks_seldom_and_not_at_what_stays():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "settled\n"


SERVER = load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}).policy.server
INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is in force comes last."""
    states: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: states[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: states.append(pair))
    return states


def test_an_exchange_may_need_two_more_than_its_connection() -> None:
    assert needed_descriptors(100, 10) == 120 + SPARE
    assert needed_descriptors(100, 1000) == 300 + SPARE


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        ((1024, 1_000_000), (18256, 1_000_000), False),
        ((1024, INFINITY), (18256, INFINITY), False),
        ((1024, 12_000), (12_000, 12_000), False),
        ((1024, 4096), (4096, 4096), True),
        ((4096, 4096), (4096, 4096), True),
        ((20_000, 20_000), (20_000, 20_000), False),
        ((INFINITY, INFINITY), (INFINITY, INFINITY), False),
    ],
)
def test_the_limit_rises(
    limit: list[tuple[int, int]], before: tuple[int, int], after: tuple[int, int], warns: bool
) -> None:
    limit.append(before)
    warnings = raise_descriptor_limit(SERVER.max_connections, SERVER.max_exchanges)
    assert limit[-1] == after
    assert [("LimitNOFILE=18256" in text, "max_connections" in text) for text in warnings] == [(True, True)] * warns


def test_closed_standard_descriptors_are_held(monkeypatch: pytest.MonkeyPatch):
    free = [1, 2, 7]
    closed: list[int] = []
    monkeypatch.setattr(os, "open", lambda _path, _flags: free.pop(0))
    monkeypatch.setattr(os, "close", closed.append)
    hold_standard_descriptors()
    assert (free, closed) == ([], [7])


async def test_what_is_freed_in_pieces_is_freed_when_the_whole_is_gone():
    class Whole:
        pass

    class Part:
        pass

    whole, parts = Whole(), [Part() for _ in range(PARTS + 1)]
    seen = [weakref.ref(parts[0]), weakref.ref(parts[-1])]
    let_go(asyncio.get_running_loop(), whole, [*parts])
    del parts
    await asyncio.sleep(0)
    assert all(one() is not None for one in seen)
    del whole
    await asyncio.sleep(0)
    assert [one() is None for one in seen] == [False, True]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen[0]() is None
