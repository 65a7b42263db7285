"""Processes under measurement: pinned to a core, watched through ``/proc`` (Linux), ended by id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from time import clock_gettime, monotonic, sleep
from typing import Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TASKSET = shutil.which("taskset")
START_S = 20.0
CPUCLOCK_SCHED = 2  # what clock_getcpuclockid(3) makes of a process id


class FailedError(Exception):
    """A peer that does not start, does not guard or does not answer; the text says which."""


def free_port() -> int:
    """A TCP port of the loopback address that is free now. It is below those that the kernel gives to connections, so
    that what is started there again finds it free.
    """
    while True:
        port = SystemRandom().randrange(20_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def pinned(command: Sequence[str], cores: str | None) -> list[str]:
    """The command on those cores ("0", "0,1"), where the machine lets us choose; None or "" leaves it alone."""
    if not cores or TASKSET is None or (os.cpu_count() or 1) < 2:
        return list(command)
    return [TASKSET, "-c", cores, *command]


@dataclass(frozen=True)
class Usage:
    """What a process and all below it have used so far."""

    cpu_s: float
    user_s: float
    system_s: float
    rss_bytes: int
    peak_rss_bytes: int


class Server:
    """A server process on a port, from its first accepted connection to the end of the block."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, cores: str | None, log: Path, cwd: Path | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                pinned(command, cores),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=out,
                start_new_session=True,
                cwd=cwd,
            )
        try:
            self._await_port()
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _end(self) -> None:
        members = family(self.pid)[1:]
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(member) == self.pid:  # left behind, and not another that has its number by now
                    os.kill(member, signal.SIGKILL)

    def _await_port(self) -> None:
        deadline = monotonic() + START_S
        while monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            sleep(0.001)
        lines = self._log.read_text(errors="replace").strip().splitlines()
        raise FailedError(f"did not start: {lines[-1] if lines else 'no word'}")

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self._log.read_text(errors="replace")[-500:].strip()

    def usage(self) -> Usage:
        """Of the process and all below it; of those that ended in between, what their parents waited for."""
        cpu = user = system = 0.0
        rss = peak = 0
        for pid in family(self._process.pid):
            with contextlib.suppress(OSError):
                fields = [int(field) / TICKS_PER_S for field in stat_fields(pid)[11:15]]
                # Ticks are 10 ms; the clock of a process is exact, but knows nothing of children that ended.
                cpu += clock_gettime(~pid << 3 | CPUCLOCK_SCHED) + fields[2] + fields[3]
                user, system = user + fields[0] + fields[2], system + fields[1] + fields[3]
                memory = resident(pid)
                rss, peak = rss + memory.get("VmRSS", 0), peak + memory.get("VmHWM", 0)
        return Usage(cpu, user, system, rss * 1024, peak * 1024)

    def forget_peak(self) -> None:
        """From now on ``peak_rss_bytes`` is the peak since now (Linux; needs to own the process)."""
        for pid in family(self._process.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


def family(root: int) -> list[int]:
    """The process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = int(stat_fields(int(entry.name))[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def stat_fields(pid: int) -> list[str]:
    """``/proc/PID/stat`` from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def resident(pid: int) -> dict[str, int]:
    """KiB of ``VmRSS`` and ``VmHWM``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}
