"""The short form of ``make power-loss``, its model of a disk, and that it finds what it is there to find."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.queue import power
from bench.queue.disk import Disk
from bench.queue.trace import Call

ROOT = Path("/r")
CREATE = Call(0.0, "openat", "/r/a", number=1)
WRITE = Call(0.0, "write", "/r/a", b"x" * 512 + b"y" * 512, 0)
SYNC = Call(0.0, "sync", "/r/a")
SYNC_FOLDER = Call(0.0, "sync", "/r")
RENAME = Call(0.0, "rename", "/r/a", b"/r/b")
TRUNCATE = Call(0.0, "truncate", "/r/a", number=512)
WHOLE, ZEROED = WRITE.data, bytes(512) + b"y" * 512


def images(*calls: Call) -> list[dict[str, bytes | None]]:
    disk = Disk(ROOT)
    for call in calls:
        disk.does(call)
    return list(disk.images(random.Random(1), 200))


@pytest.mark.parametrize(
    ("calls", "some", "never"),
    [
        ((CREATE,), [{}, {"a": b""}], []),
        ((CREATE, WRITE), [{}, {"a": b""}, {"a": WHOLE}, {"a": b"x" * 512}, {"a": ZEROED}], []),
        ((CREATE, WRITE, SYNC), [{}, {"a": WHOLE}], [{"a": b""}]),
        ((CREATE, WRITE, SYNC_FOLDER), [{"a": b""}, {"a": WHOLE}], [{}]),
        ((CREATE, WRITE, SYNC, SYNC_FOLDER), [{"a": WHOLE}], [{}, {"a": b""}]),
        ((CREATE, SYNC_FOLDER, WRITE, RENAME), [{"a": b""}, {"b": b""}, {"b": WHOLE}], [{}, {"a": b"", "b": b""}]),
        ((CREATE, SYNC_FOLDER, WRITE, SYNC, TRUNCATE), [{"a": WHOLE}, {"a": b"x" * 512}], [{}]),
        ((Call(0.0, "mkdir", "/r/d"), Call(0.0, "openat", "/r/d/f", number=1)), [{}, {"d": None}], [{"d/f": b""}]),
    ],
)
def test_a_disk_keeps_what_was_synced(calls: tuple[Call, ...], some: list[object], never: list[object]) -> None:
    found = images(*calls)
    assert [each for each in some if each not in found] == []
    assert [each for each in never if each in found] == []


@pytest.fixture(scope="module")
def recorded() -> power.Recorded:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    return power.Recorded.make(9)


def play(recorded: power.Recorded, share: float, without: Callable[[Call], bool] = lambda _: False) -> power.Figures:
    options = power.parser().parse_args(["--chances", "1", "--deeper", "0", "--share", str(share), "--seed", "1"])
    return replace(recorded, calls=[call for call in recorded.calls if not without(call)]).play(options)


def test_no_acknowledged_delivery_is_lost_when_the_power_fails(recorded: power.Recorded) -> None:
    figures = play(recorded, 0.1)
    assert figures.broken == []
    assert figures.told_2xx == 9
    assert figures.images > 50


@pytest.mark.parametrize("place", ["queue.sqlite3-wal", "/state"])
def test_a_sync_that_is_missing_is_found(recorded: power.Recorded, place: str) -> None:
    """The log's, and that of the folder's own name."""
    figures = play(recorded, 0.15, lambda call: call.name == "sync" and call.path.endswith(place))
    assert figures.broken
