"""Processes under measurement: pinned to a core, watched through ``/proc`` (Linux), ended by id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TASKSET = shutil.which("taskset")
START_S = 20.0


def free_port() -> int:
    """A TCP port of the loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """The command on one core, where the machine lets us choose."""
    if core is None or TASKSET is None or (os.cpu_count() or 1) < 2:
        return list(command)
    return [TASKSET, "-c", str(core), *command]


@dataclass(frozen=True)
class Usage:
    cpu_s: float
    peak_rss_bytes: int


class Server:
    """A server process on a port, from its first answer to the end of the block."""

    def __init__(self, name: str, command: Sequence[str], port: int, core: int | None, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                pinned(command, core), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out
            )
        self._await_port()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _await_port(self) -> None:
        deadline = monotonic() + START_S
        while monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            sleep(0.02)
        self._process.kill()
        raise SystemExit(f"{self.name} did not start:\n{self._log.read_text()}")

    def usage(self) -> Usage:
        """CPU seconds so far and peak resident memory of the process and all below it."""
        pids = [self._process.pid]
        for pid in pids:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        ticks = peak_kib = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak_kib += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return Usage(ticks / TICKS_PER_S, peak_kib * 1024)
