"""The power fails at every moment: whatever the disk may have kept is opened, and no acknowledged delivery is lost.

A hookward as a user starts it serves a sender, three times in a row (ended, killed, ended again), under strace. From
its writes and syncs come the images that a disk may be left with (``bench.queue.disk``): after each call, with none,
all and chance parts of what was not synced. Each is opened by the store. It must open, hold every delivery whose 2xx
was on a socket before and that the application had not got, whole, and take another. From some, what the recovery
itself writes is recorded, and the power fails again.

    python -m bench.queue.power --deliveries 60 --chances 6
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep, time

from bench.load.delivery import SECRET
from bench.load.process import free_port
from bench.queue.checker import whole_lines
from bench.queue.crash import running
from bench.queue.disk import Disk, write_image
from bench.queue.trace import Call, command, read_calls
from proxy.queue.folder import QueueFolder
from proxy.queue.records import Choice, Condition, Parcel, QueueError
from proxy.queue.sqlite_store import QueueFile

TOLD = re.compile(rb"HTTP/1\.1 2\d\d .*?\r\nX-Request-Id: ([^\r]+)\r\n", re.DOTALL | re.IGNORECASE)
MEMORY = Path("/dev/shm")
START_S = 60.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{application}"
state_dir = "{state}"
[limits]
hold_window = "100KiB"
[route.queue]
path = "/queue"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "queue"
retry = {{ first = "100ms", most = "500ms" }}
[route.away]
path = "/away"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "fallback"
upstream = "http://127.0.0.1:9"
"""


@dataclass
class Figures:
    """What was tried and what came of it."""

    calls: int = 0
    syncs: int = 0
    told_2xx: int = 0
    delivered: int = 0
    images: int = 0
    recoveries: int = 0  # of which the power failed again
    broken: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(text)


@dataclass
class Ledgers:
    """What the two programs beside hookward noted."""

    digests: dict[str, str]  # of contents, by delivery
    names: dict[str, str]  # of deliveries, by request id
    got: dict[str, float]  # when the application had it

    @classmethod
    def read(cls, sender: Path, application: Path) -> Ledgers:
        sent = whole_lines(sender)
        got: dict[str, float] = {}
        for name, _, _, _, at in whole_lines(application):
            got.setdefault(name, int(at) / 1e9)
        return cls({each[0]: each[2] for each in sent}, {each[4]: each[0] for each in sent}, got)


# -- what is recorded


def record(folder: Path, deliveries: int) -> list[Call]:
    """Three runs of hookward on ``folder``/disk, under load; what they wrote."""
    port, application = free_port(), free_port()
    (folder / "secret").write_bytes(SECRET)
    (folder / "secret").chmod(0o600)
    (folder / "disk").mkdir()
    config = folder / "hookward.toml"
    config.write_text(CONFIG.format(port=port, application=application, folder=folder, state=folder / "disk" / "state"))
    calls: list[Call] = []
    server = ["--port", str(application), "--ledger", str(folder / "application.ledger"), "--faults", "0.1"]
    with ExitStack() as stack:
        stack.enter_context(running("bench.queue.application", *server))
        for number, end in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
            trace = folder / f"{number}.trace"
            run_once(folder, config, trace, port, deliveries // 3, end, seed=number + 1)
            calls += read_calls(trace)
            trace.unlink()
    return calls


def run_once(
    folder: Path, config: Path, trace: Path, port: int, deliveries: int, end: signal.Signals, seed: int
) -> None:
    program = [sys.executable, "-m", "proxy", "--config", str(config)]
    with (folder / "hookward.log").open("ab+") as log:
        log.seek(0, 2)
        begin = log.tell()
        process = subprocess.Popen(command(trace, program), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = monotonic() + START_S
            while b"listening on" not in (folder / "hookward.log").read_bytes()[begin:]:
                if process.poll() is not None or monotonic() > deadline:
                    raise SystemExit((folder / "hookward.log").read_text()[-3000:])
                sleep(0.02)
            sender = ["--port", str(port), "--ledger", str(folder / "sender.ledger"), "--count", str(deliveries)]
            command_ = [sys.executable, "-m", "bench.queue.sender", *sender, "--rate", "200", "--seed", str(seed)]
            subprocess.run([*command_, "--paths", "/queue", "/away"], check=True, timeout=120)
        finally:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in map(int, children):  # what strace has started: it does not pass on what it is sent
                with suppress(ProcessLookupError):
                    os.kill(child, end)
            process.wait(60)


# -- what is opened


async def look(folder: Path, ledgers: Ledgers, told: Iterable[str], before: float) -> list[str]:
    """What is wrong with the store in ``folder``, to whose senders ``told`` was told, at that time."""
    wrong: list[str] = []
    try:
        store = QueueFile(QueueFolder(folder), asyncio.get_running_loop(), max_bytes=1 << 30)
    except QueueError as error:
        return [f"does not open: {error}"]
    try:
        await store.recover(time())
        held: set[str] = set()
        live = 0
        async for kept in store.find(Choice(content=True)):
            name = kept.parcel.facts.get("delivery_id", "")
            body = hashlib.sha256()
            for piece in store.pieces(kept.parcel):
                body.update(piece)
            held.add(kept.parcel.id)
            live += kept.condition is not Condition.DEAD
            if body.hexdigest() != ledgers.digests.get(name):
                wrong.append(f"{kept.parcel.id} is not whole")
        away = (mark for mark in told if mark not in held)
        wrong += [f"{mark} is lost" for mark in away if ledgers.got.get(ledgers.names[mark], before) >= before]
        counted = sum(count.live for count in await store.counts())
        if counted != live:
            wrong.append(f"{live} are there, and {counted} are counted")
        await store.append([Parcel("another-one", "queue", time(), b"POST / HTTP/1.1\r\n\r\n", b"body", 4)])
        await store.drop([kept.number async for kept in store.find(Choice(("another-one",)))])
    except QueueError as error:
        wrong.append(f"does not work: {error}")
    finally:
        await store.close()
    return wrong


class Trial:
    """Plays calls on a disk, and opens what it may be left with."""

    def __init__(self, folder: Path, ledgers: Ledgers, figures: Figures, options: argparse.Namespace) -> None:
        self._folder = folder  # in memory
        self._ledgers = ledgers
        self._figures = figures
        self._options = options
        self._generator = random.Random(options.seed)
        self._number = 0

    async def play(self, disk: Disk, calls: Sequence[Call], queue: str, told: list[str], *, deeper: int) -> None:
        """``told`` grows with what the calls tell. From ``deeper`` images the recovery is played as well."""
        figures = self._figures
        changes = [place for place, call in enumerate(calls) if call.path.startswith(f"{disk.root}/{queue}")]
        again = set(self._generator.sample(changes, min(deeper, len(changes))))
        for place, call in enumerate(calls):
            # What was told before this call must be on the disk that is left if the call never happens.
            if call.name == "send":
                told += self._told(call)
                continue
            if not disk.does(call):
                continue
            if self._generator.random() >= self._options.share:
                continue
            figures.calls += 1
            figures.syncs += call.name == "sync"
            now, until = list(told), call.at
            for each in calls[place + 1 :]:
                until = each.at
                if each.name != "send":
                    break
                now += self._told(each)
            for image in disk.images(self._generator, self._options.chances):
                await self._open(image, queue, now, until)
            if place in again:
                await self._deeper(disk, queue, now, until)

    def _told(self, call: Call) -> list[str]:
        """The request ids that are told 2xx, here."""
        marks = [mark.decode() for mark in TOLD.findall(call.data)]
        return [mark for mark in marks if mark in self._ledgers.names]

    async def _open(self, image: dict[str, bytes | None], queue: str, told: list[str], before: float) -> None:
        self._number += 1
        self._figures.images += 1
        folder = self._folder / f"image-{self._number}"
        self._spoil(image, queue)
        write_image(image, folder)
        (folder / queue).parent.mkdir(mode=0o700, exist_ok=True)
        try:
            for text in await look(folder / queue, self._ledgers, told, before):
                self._figures.complain(f"image {self._number}: {text}")
        finally:
            shutil.rmtree(folder)

    def _spoil(self, image: dict[str, bytes | None], queue: str) -> None:
        """The index of the log is written by the kernel whenever it likes: anything may be in it."""
        name = f"{queue}/queue.sqlite3-shm"
        if name in image:
            image[name] = self._generator.choice((b"", bytes(32768), self._generator.randbytes(32768)))

    async def _deeper(self, disk: Disk, queue: str, told: list[str], before: float) -> None:
        """The power fails, and again during the recovery."""
        self._figures.recoveries += 1
        for image in disk.images(self._generator, 1):
            folder = self._folder / "again"
            self._spoil(image, queue)
            write_image(image, folder)
            (folder / queue).parent.mkdir(mode=0o700, exist_ok=True)
            second = Disk(folder)
            second.load(folder)
            trace = self._folder / "again.trace"
            program = [sys.executable, "-m", "bench.queue.power", "--open", str(folder / queue)]
            await asyncio.to_thread(subprocess.run, command(trace, program), check=True, timeout=60)
            calls = [each for each in read_calls(trace) if each.name != "send"]
            shutil.rmtree(folder)
            for call in calls:
                if second.does(call):
                    for next_image in second.images(self._generator, 1):
                        await self._open(next_image, queue, told, before)


async def opened(folder: Path) -> None:
    """What a start does to a store."""
    store = QueueFile(QueueFolder(folder), asyncio.get_running_loop(), max_bytes=1 << 30)
    await store.recover(time())
    await store.close()


@dataclass
class Recorded:
    """Three runs of a hookward: what they wrote below ``root``, and what the programs beside it noted."""

    root: Path
    calls: list[Call]
    ledgers: Ledgers
    log: str

    @classmethod
    def make(cls, deliveries: int) -> Recorded:
        with tempfile.TemporaryDirectory(prefix="hookward-power-") as name:
            folder = Path(name)
            calls = record(folder, deliveries)
            ledgers = Ledgers.read(folder / "sender.ledger", folder / "application.ledger")
            return cls(folder / "disk", calls, ledgers, (folder / "hookward.log").read_text())

    def play(self, options: argparse.Namespace) -> Figures:
        """The power fails at every moment of it."""
        figures, told = Figures(delivered=len(self.ledgers.got)), list[str]()
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as fast:
            trial = Trial(Path(fast), self.ledgers, figures, options)
            asyncio.run(trial.play(Disk(self.root), self.calls, "state/queue", told, deeper=options.deeper))
        figures.told_2xx = len(told)
        return figures


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Record, play, tell; the exit code."""
    if options.open:
        asyncio.run(opened(options.open))
        return 0
    recorded = Recorded.make(options.deliveries)
    say(f"recorded {len(recorded.calls)} calls of {len(recorded.ledgers.digests)} deliveries; seed {options.seed}")
    figures = recorded.play(options)
    say(json.dumps(asdict(figures), indent=1))
    if "Traceback" in recorded.log:
        say(recorded.log)
        return 1
    return 0 if figures.told_2xx and figures.images and not figures.broken else 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.power", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=60)
    parser.add_argument(
        "--chances", type=int, default=6, help="images by chance after each call, besides four extremes"
    )
    parser.add_argument("--deeper", type=int, default=10, help="moments after which the recovery is cut off as well")
    parser.add_argument("--share", type=float, default=1.0, help="of all moments, chosen by chance")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
