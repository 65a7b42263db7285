"""The disk fails at each call of the store: senders hear 503, the process lives and goes on, and nothing is lost.

strace makes the calls of a running hookward fail (ENOSPC, EIO, EDQUOT): one after the other, and all from one on.
Meanwhile three deliveries come: one that goes into the database, one that becomes a file, one that was spilled. Each
is told 202 or 503. Once the disk is well again the next are told 202, by the same processes. As root the store is put
on a file system of a few MiB as well, and filled. At the end all that was told 202 has arrived.

    python -m bench.queue.faults
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, sleep

from bench.load.process import family, free_port
from bench.queue.checker import Findings, judge
from bench.queue.crash import DRAIN_S, Operator, running
from bench.queue.sender import Sender

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "rename", "linkat", "unlink")
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
#: Which calls fail, as strace has it: the second, or all from the third on.
MOMENTS = ("1+", "1", "2", "3", "4", "6", "9", "14", "3+")
SIZES = (300, 80_000, 300_000)
IN_ROWS = (300, 60_000, 60_000)
ATTACH_S = 20.0
MEND_S = 20.0
#: Twice what the store leaves free.
SMALL_DISK = "64m"


@dataclass
class Figures:
    """What was done and heard."""

    steps: int = 0
    injected: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    slowest_mend_s: float = 0.0
    kept_on_a_full_disk: int = 0
    broken: list[str] = field(default_factory=list)


class Faults:
    """Sends, and lets the disk fail meanwhile."""

    def __init__(self, operator: Operator, sender: Sender, folder: Path) -> None:
        self.figures = Figures()
        self.answers: Counter[int] = Counter()
        self._operator, self._sender, self._folder = operator, sender, folder
        self._number = 0

    async def send(self, sizes: Sequence[int] = SIZES) -> list[int]:
        """Three deliveries at once."""
        jobs = []
        for size in sizes:
            self._number += 1
            body = f"{self._number}".encode().ljust(size, b".")
            jobs.append(self._sender.deliver(f"f-{self._number}", "/queue", body))
        found = await asyncio.gather(*jobs)
        self.answers.update(found)
        return found

    async def fail(self, call: str, error: str, moment: str) -> None:
        """One step."""
        what = f"{call} {error} {moment}"
        with self._failing(call, error, moment) as trace:
            if unexpected := [status for status in await self.send() if status not in {202, 503}]:
                self.figures.broken.append(f"{what}: told {unexpected}")
        self.figures.injected += trace.read_text().count("(INJECTED)")
        self.figures.steps += 1
        began = monotonic()
        while (found := await self.send()) != [202, 202, 202]:
            if monotonic() - began > MEND_S:
                self.figures.broken.append(f"{what}: still {found} when the disk is well")
                return
        self.figures.slowest_mend_s = round(max(self.figures.slowest_mend_s, monotonic() - began), 2)

    @contextmanager
    def _failing(self, call: str, error: str, moment: str) -> Iterator[Path]:
        trace, heard = self._folder / "faults.trace", self._folder / "strace.log"
        pids = [word for pid in family(self._operator.pid)[1:] or [self._operator.pid] for word in ("-p", str(pid))]
        inject = f"inject={call}:error={error}:when={moment}"
        with heard.open("wb") as log:
            strace = ["strace", "-f", *pids, "-o", str(trace), "-e", f"trace={call}", "-e", inject]
            process = subprocess.Popen(strace, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = monotonic() + ATTACH_S
            while heard.read_bytes().count(b" attached") < len(pids) // 2:
                if process.poll() is not None or monotonic() > deadline:
                    raise SystemExit(heard.read_text())
                sleep(0.005)
            yield trace
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(ATTACH_S)

    async def close(self) -> None:
        await self._sender.close()

    async def fill(self) -> None:
        """Send until the small disk is full, and some more; what was told 202 counts."""
        before, refused = self.answers[202], 0
        while refused < 5:
            refused += 503 in await self.send(IN_ROWS)
        self.figures.kept_on_a_full_disk = self.answers[202] - before


@contextmanager
def small_disk(place: Path, *, really: bool) -> Iterator[None]:
    """A file system of its own at ``place``, where we may make one."""
    place.mkdir(exist_ok=True)
    if not really:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0700", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


async def trial(options: argparse.Namespace, folder: Path, *, small: bool) -> tuple[Figures, Findings, str]:
    """All steps with one hookward, or its disk filled."""
    port, application = free_port(), free_port()
    told, got = folder / "sender.ledger", folder / "application.ledger"
    operator = Operator(folder, port, application, 1, Random(1))
    operator.write()
    faults = Faults(operator, Sender(port, told, ["/queue"], 1), folder)
    away = ["--faults", "1"] if small else []
    with small_disk(folder / "state", really=small):
        try:
            with running("bench.queue.application", "--port", str(application), "--ledger", str(got), *away) as server:
                operator.start()
                before = family(operator.pid)
                await (faults.fill() if small else steps(faults, options))
                server.send_signal(signal.SIGUSR1)
                deadline = monotonic() + DRAIN_S
                while (judge(told, got).missing or operator.kept()) and monotonic() < deadline:  # noqa: ASYNC110 - as below
                    await asyncio.sleep(0.25)
                if (now := family(operator.pid)) != before:
                    faults.figures.broken.append(f"other processes: {before}, then {now}")
                if small and await faults.send() != [202, 202, 202]:
                    faults.figures.broken.append("takes nothing, with room again")
                await faults.close()
                if kept := await at_rest(operator):
                    faults.figures.broken.append(f"{kept} are kept still")
                operator.stop()
        finally:
            operator.stop()
    faults.figures.answers = {str(status): number for status, number in sorted(faults.answers.items())}
    return faults.figures, judge(told, got), (folder / "hookward.log").read_text()


async def at_rest(operator: Operator) -> int:
    """What is kept when nothing comes any more."""
    deadline = monotonic() + MEND_S
    while (kept := operator.kept()) and monotonic() < deadline:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.1)
    return kept


async def steps(faults: Faults, options: argparse.Namespace) -> None:
    await faults.send()
    for call in options.calls:
        for error in options.errors:
            for moment in options.moments:
                await faults.fail(call, error, moment)


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Fail, fill, tell; the exit code."""
    worst = 0
    for small in (False, True):
        if options.only not in {"", "full" if small else "calls"}:
            continue
        if small and os.geteuid():
            say("no full disk: only root can make one")
            continue
        with tempfile.TemporaryDirectory(prefix="hookward-faults-") as name:
            figures, found, log = asyncio.run(trial(options, Path(name), small=small))
        say(json.dumps(asdict(figures) | asdict(found), indent=1))
        if figures.broken or found.wrong or "Traceback" in log or not figures.answers.get("503"):
            say(f"not as promised: {figures.broken} {found.wrong}\n{log[-6000:]}")
            worst = 1
    return worst


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", nargs="+", default=CALLS)
    parser.add_argument("--errors", nargs="+", default=ERRORS)
    parser.add_argument("--moments", nargs="+", default=MOMENTS)
    parser.add_argument("--only", choices=("calls", "full"), default="")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
