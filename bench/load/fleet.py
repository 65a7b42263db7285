"""Three hookwards behind a real HAProxy share a real Redis, and one after the other is killed and started again.

Signed deliveries come at a rate, half of them on new connections, some of them twice: at once, or after the first was
answered. HAProxy (docs/fleet/haproxy.cfg) tells the hookwards who sends, and their route admits nobody but these. No
delivery may arrive twice or fail, but those whose connection a killed hookward held. Which ones these are, is not
guessed: HAProxy's own log says which hookward carried a connection. What failed is sent again at the end, as a provider
would, and must then arrive.

Where Redis takes longer than a second, as it may on a machine that has other work, they answer 503 (``on_error``),
which is counted, and sent again as well.

    python -m bench.load.fleet --seconds 60 --rate 200
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from time import time

import uvloop

from bench.load.delivery import SECRET
from bench.load.fleet_report import NAMES, Attempt, Kill, Story, report, verdict
from bench.load.process import Server, free_port
from bench.load.restart import Application
from bench.load.soak import KEPT_ALIVE, PATIENCE_S, Connection, FailedError, delivery, until

ROOT = Path(__file__).resolve().parents[2]
SENDERS = "127.0.7.0/24"
#: So long the application works on a delivery: some are in flight at every moment.
WORK_S = 0.05
#: The claim of a hookward that was killed ends this long after it was made: its request_timeout and two seconds.
REQUEST_TIMEOUT_S = 3
REDELIVER_S = 30.0
#: [%t] of HAProxy's tcplog, the moment of accept.
SESSION = re.compile(r"^([\d.]+:\d+) \[(\d\d/\w{3}/\d{4}:[\d:.]+)\] \w+ \w+/(\S+) ", re.MULTILINE)
STORE_FAILED = "the store of duplicates fails"
CONFIG = """
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
upstream = "http://127.0.0.1:{app}"
proxy_protocol = "require"
trusted_proxies = ["127.0.0.1"]
access_log = "{folder}/{name}.access"
state_dir = "{folder}"
[limits]
request_timeout = "{timeout}s"
[duplicates]
store = "redis"
url = "redis://127.0.0.1:{redis}/0"
on_error = "refuse"
[route.github]
path = "/hooks"
allow = ["{senders}"]
provider = "github"
secrets = ["file:{folder}/secret"]
duplicates = "refuse-delivered"
"""


class Sender:
    """Sends deliveries through the load balancer, from many addresses."""

    def __init__(self, port: int, story: Story) -> None:
        self._port = port
        self._story = story
        self._connections = 0
        self._idle: list[tuple[Connection, str, float]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, rate: float, twice_every: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            twice = number % twice_every == 0
            task = loop.create_task(self._deliver(number, twice=twice, at_once=number % (2 * twice_every) == 0))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        for connection, _, _ in self._idle:
            connection.close()

    async def _deliver(self, number: int, *, twice: bool, at_once: bool) -> None:
        copies = [self._attempt(number) for _ in range(1 + twice)]
        if at_once:
            self._story.attempts += await asyncio.gather(*copies)
        else:
            self._story.attempts += [await copy for copy in copies]

    async def redeliver(self, numbers: Sequence[int]) -> None:
        """What failed, again and again until it is taken."""
        deadline = time() + REDELIVER_S

        async def insist(number: int) -> None:
            status = 0
            while status != 200 and time() < deadline:
                attempt = await self._attempt(number)
                self._story.again.append(attempt)
                status = attempt.status
                await asyncio.sleep(0.0 if status == 200 else 0.2)

        await asyncio.gather(*map(insist, numbers))

    async def _attempt(self, number: int) -> Attempt:
        keep_alive = number % 2 == 0
        began = time()
        attempt, connection = Attempt(number, "", began), None
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection, attempt.source, attempt.opened = await self._connection(kept=keep_alive)
                attempt.status = await connection.deliver(delivery(number))
                attempt.duplicate = b"\r\nwebhook-duplicate: delivered" in connection.head
        except (OSError, FailedError) as error:
            attempt.error = f"{type(error).__name__}: {error}"
        attempt.ended = time()
        if attempt.status:
            self._story.times_ms.append((attempt.ended - began) * 1000)
        if connection is not None:
            if keep_alive and attempt.status and not connection.closed and len(self._idle) < KEPT_ALIVE:
                self._idle.append((connection, attempt.source, attempt.opened))
            else:
                connection.close()
        return attempt

    async def _connection(self, *, kept: bool) -> tuple[Connection, str, float]:
        while kept and self._idle:
            found = self._idle.pop(0)
            if not found[0].closed:
                return found
        self._connections += 1
        address = f"127.0.7.{1 + self._connections % 250}"
        opened = time()
        _, made = await asyncio.get_running_loop().create_connection(
            Connection, "127.0.0.1", self._port, local_addr=(address, 0)
        )
        return made, f"{address}:{made.port}", opened


class Fleet:
    """Redis, the hookwards and HAProxy."""

    def __init__(self, folder: Path) -> None:
        self.front, self.app, self.redis = free_port(), free_port(), free_port()
        self._folder = folder
        self._ports = {name: (free_port(), free_port()) for name in NAMES}
        self._running: dict[str, Server] = {}
        self._starts = itertools.count()
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)

    def start(self, name: str) -> None:
        port, admin = self._ports[name]
        path = self._folder / f"{name}.toml"
        path.write_text(
            CONFIG.format(
                name=name,
                port=port,
                admin=admin,
                app=self.app,
                redis=self.redis,
                folder=self._folder,
                timeout=REQUEST_TIMEOUT_S,
                senders=SENDERS,
            )
        )
        command = [sys.executable, "-m", "proxy", "--config", str(path)]
        log = self._folder / f"{name}.{next(self._starts)}.log"
        self._running[name] = Server(name, command, port, None, log, ROOT)

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        redis = ["redis-server", "--port", str(self.redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        haproxy = ["haproxy", "-db", "-f", str(self._haproxy())]
        try:
            with Server("redis", redis, self.redis, None, self._folder / "redis.log", self._folder):
                with ThreadPoolExecutor() as pool:
                    list(pool.map(self.start, NAMES))
                # Its log goes to standard error too, which is what a Server keeps.
                with Server("haproxy", haproxy, self.front, None, self._folder / "haproxy.log"):
                    yield
        finally:
            for server in self._running.values():
                server.__exit__()

    def _haproxy(self) -> Path:
        """The recipe of the documents, with places of this machine."""
        text = (ROOT / "docs" / "fleet" / "haproxy.cfg").read_text()
        for name, (port, admin) in self._ports.items():
            text, count = re.subn(rf"server {name} \S+", f"server {name} 127.0.0.1:{port} port {admin}", text)
            assert count == 1, name
        text = text.replace("log /dev/log local0", "log stderr format raw local0")
        path = self._folder / "haproxy.cfg"
        path.write_text(text.replace("bind :443", f"bind 127.0.0.1:{self.front}"))
        return path

    def sessions(self) -> list[tuple[str, float, str]]:
        """Of each connection: its source, when it was accepted, and who carried it."""
        found = SESSION.findall((self._folder / "haproxy.log").read_text())
        return [(source, local_time(at), name) for source, at, name in found]

    def words(self) -> str:
        """What the hookwards said."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("hook*.log")))

    async def end(self, name: str, story: Story, *, gently: bool) -> None:
        begin, pid = time(), self._running[name].pid
        os.kill(pid, signal.SIGTERM if gently else signal.SIGKILL)
        # Its state will not do: it is a zombie when its first thread has ended, and listens until its last one has.
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        await until(lambda: os.waitid(os.P_PID, pid, ended), f"{name} to die")
        if gently:
            story.stops += 1
        else:
            story.kills.append(Kill(name, begin, time()))

    async def restart(self, name: str) -> None:
        self._running.pop(name).__exit__()
        await asyncio.get_running_loop().run_in_executor(None, self.start, name)


def local_time(text: str) -> float:
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S.%f").astimezone().timestamp()


async def operate(fleet: Fleet, story: Story, options: argparse.Namespace, enough: asyncio.Event) -> None:
    """End one after the other, and start each again, until it is enough."""
    for name in itertools.cycle(NAMES):
        if await happens(enough, options.kill_every):
            return
        await fleet.end(name, story, gently=options.gently)
        if await happens(enough, options.down):
            return
        await fleet.restart(name)


async def happens(event: asyncio.Event, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()


async def play(fleet: Fleet, options: argparse.Namespace) -> tuple[Story, Counter[str]]:
    """The load and the operator, then the redeliveries; what happened, and what arrived how often."""
    story, application, enough = Story(), Application(fleet.app, WORK_S), asyncio.Event()
    sender = Sender(fleet.front, story)
    await application.start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(operate(fleet, story, options, enough))
            await sender.run(options.seconds, options.rate, options.twice_every)
            enough.set()
        taken = {attempt.number for attempt in story.attempts if attempt.status == 200}
        await sender.redeliver(sorted({attempt.number for attempt in story.attempts} - taken))
    finally:
        sender.close()
        await application.stop()
    return story, application.arrived


def missing() -> list[str]:
    """The programs that it needs and that are not installed."""
    return [name for name in ("haproxy", "redis-server") if shutil.which(name) is None]


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Start everything, play, tell; the exit code."""
    if missing():
        say(f"not installed: {', '.join(missing())}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        with fleet.up():
            story, arrived = uvloop.run(play(fleet, options))
        words = fleet.words()
        found = report(story, arrived, fleet.sessions(), store_failed=STORE_FAILED in words)
    say(json.dumps(found, indent=1))
    broken = verdict(found)
    for text in [*broken, *(["the hookwards' own words:", words] if broken or "Traceback" in words else [])]:
        say(text)
    return 1 if broken or "Traceback" in words else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load.fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0, help="deliveries per second")
    parser.add_argument("--twice-every", type=int, default=5, metavar="N", help="one delivery in N is sent twice")
    parser.add_argument(
        "--kill-every", type=float, default=6.0, metavar="SECONDS", help="from a start to the next kill"
    )
    parser.add_argument("--gently", action="store_true", help="stop them (SIGTERM): then nothing at all may fail")
    parser.add_argument("--down", type=float, default=2.0, metavar="SECONDS", help="until it is started again")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
