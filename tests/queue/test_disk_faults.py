"""The short form of ``make disk-faults``: what the sender hears, and what is lost, when calls of the store fail."""

from __future__ import annotations

import os
import shutil

import pytest

from bench.queue import faults


def run(*arguments: str) -> None:
    said: list[str] = []
    assert faults.run(faults.parser().parse_args(arguments), said.append) == 0, "\n".join(said)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_call_that_fails_is_a_503_and_no_more() -> None:
    run("--only", "calls", "--calls", "fdatasync", "linkat", "openat", "--errors", "EIO", "--moments", "1", "1+")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_is_drained() -> None:
    run("--only", "full")
