"""How many processes ``workers = "auto"`` means: one for each processor that we may use, and are paid for."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

#: What the group of the process may use of all processors, in microseconds: "QUOTA PERIOD", or "max PERIOD".
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def worker_count(workers: int | str) -> int:
    """The number of workers that the setting asks for."""
    return workers if isinstance(workers, int) else max(1, min(_allowed(), _paid()))


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _paid() -> int:
    """A container has all processors of its host in sight, and often a share of one."""
    try:
        quota, period = CPU_MAX.read_text("ascii").split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return _allowed()
