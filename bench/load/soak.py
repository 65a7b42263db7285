"""Load while everything that an operator may do is done to hookward: reloads, an upgrade, and workers that are killed.

Deliveries come at a fixed rate, every other one on a new connection, the rest on connections that are kept alive. No
delivery may fail but those whose connection a killed worker held: the worker is stopped first, its connections are read
from ``/proc``, then it is killed, so that each failure is known to be one of these or not. Linux only.

    python -m bench.load.soak --seconds 60 --rate 500
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from bench.load.delivery import SECRET
from bench.load.process import Server, free_port
from bench.load.stage import count

KEPT_ALIVE = 16
#: A delivery that has no answer by then has failed; as GitHub has it.
PATIENCE_S = 10.0
#: As long as hookward itself waits for the new process.
UPGRADE_PATIENCE_S = 60.0
UPGRADED = re.compile(r"upgraded: process (\d+) has taken over")
TRY_AGAIN = "no upgrade during a reload"


@dataclass
class Figures:
    """What happened."""

    sent: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    in_killed: int = 0
    unexplained: Counter[str] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    kills: int = 0
    held_by_killed: int = 0
    reloads_asked: int = 0
    upgrades: int = 0

    def percentile(self, share: float) -> float:
        self.times_ms.sort()
        return round(self.times_ms[min(len(self.times_ms) - 1, int(len(self.times_ms) * share))], 1)


class FailedError(Exception):
    """A delivery without an answer."""


class Connection(asyncio.Protocol):
    """One connection of the sender; one delivery at a time."""

    def __init__(self) -> None:
        self.port = 0
        self.opened = monotonic()
        self.closed = False
        self.head = b""  # of the last answer, in lower case
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def deliver(self, data: bytes) -> asyncio.Future[int]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, content = self._buffer.partition(b"\r\n\r\n")
        if not mark or self._answer is None:
            return
        fields = head.lower()
        length = fields.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(content) < int(length or 0):
            return
        self._buffer, self.head = b"", fields
        answer, self._answer = self._answer, None
        if b"\r\nconnection: close" in fields:
            self.close()
        if not answer.done():
            answer.set_result(int(head.split(b" ")[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(FailedError("reset" if exc else "closed"))

    def close(self) -> None:
        self.closed = True
        self._transport.close()


class Sender:
    """Sends deliveries at a rate, and knows what became of each."""

    def __init__(self, port: int, figures: Figures) -> None:
        self._port = port
        self._figures = figures
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        #: The sender's ports that killed workers held, and when.
        self.killed: dict[int, float] = {}

    async def run(self, seconds: float, rate: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(int(seconds * rate)):
            due = began + number / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            task = loop.create_task(self._deliver(number, keep_alive=number % 2 == 0))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self._idle:
            connection.close()

    async def _deliver(self, number: int, *, keep_alive: bool) -> None:
        figures = self._figures
        figures.sent += 1
        began = monotonic()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await self._connection(kept=keep_alive)
                status = await connection.deliver(delivery(number))
        except (OSError, FailedError) as error:
            self._failed(connection, error)
            return
        figures.times_ms.append((monotonic() - began) * 1000)
        figures.answers[status] += 1
        if keep_alive and not connection.closed and len(self._idle) < KEPT_ALIVE:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connection(self, *, kept: bool) -> Connection:
        while kept and self._idle:
            connection = self._idle.pop(0)
            if not connection.closed:
                return connection
        _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return made

    def _failed(self, connection: Connection | None, error: Exception) -> None:
        if connection is not None and self.killed.get(connection.port, 0.0) >= connection.opened:
            self._figures.in_killed += 1
        else:
            self._figures.unexplained[f"{type(error).__name__}: {error}"] += 1


def delivery(number: int) -> bytes:
    """A signed push that no other is like."""
    content = json.dumps({"ref": "refs/heads/main", "number": number, "pad": "x" * 1000}).encode()
    signature = hmac.new(SECRET, content, hashlib.sha256).hexdigest()
    return (
        f"POST /hooks/github HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: GitHub-Hookshot/044aadd\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nX-GitHub-Event: push\r\n"
        f"X-GitHub-Delivery: soak-{number}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
    ).encode() + content


class Operator:
    """Does to hookward what is done to it."""

    def __init__(self, pid: int, port: int, folder: Path, figures: Figures, sender: Sender) -> None:
        self.pid = pid
        self._port = port
        self._folder = folder
        self._figures = figures
        self._sender = sender
        self._upgrading = False

    async def reload(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if self._upgrading:
                continue
            self._figures.reloads_asked += 1
            write_config(self._folder, self._figures.reloads_asked)
            os.kill(self.pid, signal.SIGHUP)

    async def kill(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            workers = [] if self._upgrading else [pid for pid in children(self.pid) if self._listens(pid)]
            if workers:
                await self._kill(random.choice(workers))

    async def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: state(pid) in "TZ", f"worker {pid} to stop")
            held = [remote for _, remote in connections(pid, self._port) if remote]
            now = monotonic()
            self._sender.killed.update(dict.fromkeys(held, now))
            os.kill(pid, signal.SIGKILL)
            self._figures.kills += 1
            self._figures.held_by_killed += len(held)

    async def upgrade(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._upgrading = True
        while not await self._upgraded():
            pass
        self.pid = int(UPGRADED.findall(self._log())[-1])
        self._figures.upgrades += 1
        self._upgrading = False

    async def _upgraded(self) -> bool:
        """Ask for the upgrade. During a reload it is refused, and must be asked for again."""
        refused = self._log().count(TRY_AGAIN)
        os.kill(self.pid, signal.SIGUSR2)
        await until(
            lambda: UPGRADED.search(self._log()) or self._log().count(TRY_AGAIN) > refused,
            "the upgrade",
            UPGRADE_PATIENCE_S,
        )
        if UPGRADED.search(self._log()):
            return True
        await asyncio.sleep(0.2)
        return False

    def _log(self) -> str:
        return (self._folder / "hookward.log").read_text()

    def _listens(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended since
            return any(remote == 0 for _, remote in connections(pid, self._port))
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def connections(pid: int, port: int) -> list[tuple[str, int]]:
    """The sockets of a process that are bound to our port: inode, and the port at the other end (0: it listens)."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    ours = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if ours in line)
    return [(row[9], int(row[2].rpartition(":")[2], 16)) for row in rows if row[1].endswith(ours) and row[9] in inodes]


def write_config(folder: Path, generation: int) -> Path:
    """The configuration; each is different, and all mean the same for the load."""
    path = folder / "hookward.toml"
    listen, origin = (folder / "ports").read_text().split()
    text = f"""
listen = ["127.0.0.1:{listen}"]
upstream = "http://127.0.0.1:{origin}"
workers = 2
access_log = "{folder}/access.log"
state_dir = "{folder}"
[limits]
max_body = "{1 + generation % 20}MiB"
max_connections_per_address = 100000
[route.github]
path = "/hooks"
provider = "github"
secrets = ["file:{folder}/secret"]
"""
    fresh = folder / "hookward.toml.new"
    fresh.write_text(text)
    fresh.replace(path)
    return path


def gone(pid: int) -> bool:
    try:
        return state(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for it, within bounds."""
    deadline = monotonic() + patience_s
    while not condition():
        if monotonic() > deadline:
            raise SystemExit(f"waited too long for {what}")
        await asyncio.sleep(0.005)


async def soak(options: argparse.Namespace, server: Server, folder: Path) -> Figures:
    """The load and the operator, side by side."""
    figures = Figures()
    sender = Sender(server.port, figures)
    operator = Operator(server.pid, server.port, folder, figures, sender)
    loop = asyncio.get_running_loop()
    doing = [
        loop.create_task(operator.reload(options.reload_every)),
        loop.create_task(operator.kill(options.kill_every)),
    ]
    upgrading = loop.create_task(operator.upgrade(options.seconds / 2))
    await sender.run(options.seconds, options.rate)
    await upgrading  # a machine with much else to do may need longer for it
    for task in doing:
        task.cancel()
    for result in await asyncio.gather(*doing, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    if operator.pid != server.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(operator.pid, signal.SIGTERM)
        await until(lambda: gone(operator.pid), "the upgraded process to end")
    return figures


def report(figures: Figures, log: str, arrived: int) -> dict[str, Any]:
    delivered = figures.answers[200]
    return {
        "sent": figures.sent,
        "answered_200": delivered,
        "answered_else": {str(status): n for status, n in figures.answers.items() if status != 200},
        "failed_in_killed_workers": figures.in_killed,
        "failed_unexplained": dict(figures.unexplained),
        "arrived_at_the_application": arrived,
        "workers_killed": figures.kills,
        "connections_they_held": figures.held_by_killed,
        "reloads_asked": figures.reloads_asked,
        "reloads_done": log.count("reloaded: "),
        "reloads_refused": log.count("reload refused"),
        "upgrades": figures.upgrades,
        "p50_ms": figures.percentile(0.5),
        "p99_ms": figures.percentile(0.99),
        "max_ms": figures.percentile(1.0),
    }


def verdict(found: dict[str, Any]) -> list[str]:
    """What was promised and not kept."""
    return [
        text
        for broken, text in (
            (found["failed_unexplained"], "deliveries failed outside killed workers"),
            (found["answered_else"], "deliveries were answered with something else than 200"),
            (found["arrived_at_the_application"] < found["answered_200"], "a 200 was told that did not arrive"),
            (found["reloads_refused"] or not found["reloads_done"], "reloads were refused, or none was done"),
            (not found["upgrades"], "no upgrade was done"),
            (not found["workers_killed"], "no worker was killed"),
        )
        if broken
    ]


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Start everything, soak, tell; the exit code."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        origin_port, port = free_port(), free_port()
        (folder / "ports").write_text(f"{port} {origin_port}")
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        origin = [sys.executable, "-m", "bench.load.origin", "--port", str(origin_port)]
        stack.enter_context(Server("origin", origin, origin_port, None, folder / "origin.log"))
        command = [sys.executable, "-m", "proxy", "--config", str(write_config(folder, 0))]
        server = stack.enter_context(Server("hookward", command, port, None, folder / "hookward.log"))
        figures = uvloop.run(soak(options, server, folder))
        log = (folder / "hookward.log").read_text()
        found = report(figures, log, count(origin_port))
    say(json.dumps(found, indent=1))
    broken = verdict(found)
    for text in [*broken, *(["hookward's own words:", log] if broken or "Traceback" in log else [])]:
        say(text)
    return 1 if broken or "Traceback" in log else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=500.0, help="deliveries per second")
    parser.add_argument("--reload-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="SECONDS")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
