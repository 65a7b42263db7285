"""What the host gives the process: Python, variables, the words it was started with, and processors."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path

#: As ``platform`` says it, which would be imported for this alone.
PYTHON_VERSION = sys.version.partition(" ")[0]
#: Chooses the event loop, "asyncio" or "uvloop": for tests and where uvloop must be avoided.
LOOP_VARIABLE = "HOOKWARD_LOOP"
#: The path of a datagram socket: there ``hookward reload`` hears how a reload went. The printed units set it.
RELOAD_VARIABLE = "HOOKWARD_RELOAD_SOCKET"
#: What the group of the process may use of all processors, in microseconds: "QUOTA PERIOD", or "max PERIOD".
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

_OWN = {LOOP_VARIABLE, RELOAD_VARIABLE}


def environment() -> dict[str, str]:
    """A copy of the process's environment, without the variables that configure nothing."""
    return {name: value for name, value in os.environ.items() if name not in _OWN}


def command_line() -> list[str]:
    """How this process was started; the interpreter by its full path."""
    return [sys.executable, *sys.orig_argv[1:]]


def worker_count(workers: int | str) -> int:
    """The number of workers that the setting asks for; "auto" is one for each processor that we may use, within the
    share of them that our control group has.
    """
    return workers if isinstance(workers, int) else max(1, min(_usable(), _granted()))


def _usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _granted() -> int:
    """A container sees all processors of its host, and often has a share of one."""
    try:
        quota, period = CPU_MAX.read_text("ascii").split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return _usable()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect no garbage meanwhile, and take what was made for permanent: imports and loads of the configuration make
    much that stays and no garbage. Looking at it again and again would take a tenth of the time of a start, a third of
    a load, and hold up every other thread.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
