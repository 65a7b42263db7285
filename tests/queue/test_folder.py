"""What is promised to bodies that are being written: by every process, and by none that is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.queue import folder as module
from proxy.queue.folder import Reserve, ReservedBytes
from proxy.queue.records import QueueError

HOLDER = """
import sys
from pathlib import Path
from proxy.queue.folder import Reserve
reserve = Reserve(Path(sys.argv[1]))
reserve.add(700)
print("held", flush=True)
sys.stdin.read()
"""


def test_all_that_have_it_open_are_summed(tmp_path: Path) -> None:
    one, other = Reserve(tmp_path), Reserve(tmp_path)
    one.add(100)
    promise = ReservedBytes(other)
    promise.begin(30)
    one.add(1)
    assert one.total() == other.total() == 131
    promise.end()
    promise.end()
    assert one.total() == 101
    one.close()
    assert other.total() == 0
    other.close()


def test_a_dead_process_is_promised_nothing(tmp_path: Path) -> None:
    mine = Reserve(tmp_path)
    mine.add(50)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert mine.total() == 750
        mine.clear()
        assert mine.total() == 750, "it lives"
        process.kill()
    mine.clear()
    assert mine.total() == 50
    mine.close()


def test_what_lies_there_is_no_promise(tmp_path: Path) -> None:
    (tmp_path / module.RESERVE).write_bytes(b"\xff\x00\xff" * 100)
    reserve = Reserve(tmp_path)
    assert reserve.total() == 0
    assert (tmp_path / module.RESERVE).stat().st_size == module.SLOTS * 8
    reserve.close()


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / module.RESERVE).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        Reserve(tmp_path)
    assert not (tmp_path / "other").exists()


def test_a_disk_that_fails_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Reserve(tmp_path)
    promise = ReservedBytes(reserve)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(QueueError, match="Input/output"):
            promise.begin(100)
    promise.end()
    assert reserve.total() == 0
    reserve.close()


def test_there_are_so_many_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS", 1)
    one, other = Reserve(tmp_path), Reserve(tmp_path)
    one.add(1)
    with pytest.raises(QueueError, match="too many processes"):
        other.add(1)
    one.close()
    other.add(1)
    other.close()
