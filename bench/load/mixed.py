"""Mixed traffic for minutes, in the clear and under TLS: memory must not creep, and everything must come back.

At each tick one client does one of ``MANNERS``: a delivery on a kept connection or its own, a forged one, half a
request that ends or is reset, a slow one, a large one in chunks, noise, a handshake that fails. After the warm-up the
resident memory of the last third of the time is compared with that of the first; then descriptors and threads of the
process, and its own count of connections, with what they were at rest. Linux only.

    python -m bench.load.mixed --seconds 600 --rate 200
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import ssl
import struct
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import trustme
import uvloop

from bench.load.delivery import SECRET, body, fields
from bench.load.process import Server, free_port

NAME = "hooks.example.com"
PATIENCE_S = 20.0
#: How much longer the memory of the last third may be than that of the first.
TOLERANCE = 1.01
#: Clients that may be under way; those beyond are not begun, which is told: it would be the queue that is measured.
MOST = 100
#: After so many crowds of them the allocator has what it needs.
CROWDS = 20
BODY, LARGE = body(), body(512 * 1024)


def request(content: bytes = BODY, *, secret: bytes = SECRET, chunked: bool = False) -> bytes:
    named = fields(content, secret=secret, host=NAME)
    if chunked:
        del named["Content-Length"]
        named["Transfer-Encoding"] = "chunked"
        content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST /hooks/github HTTP/1.1\r\n{head}\r\n".encode() + content


GOOD, FORGED, CHUNKED = request(), request(secret=b"guess"), request(LARGE, chunked=True)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @property
    def ended(self) -> bool:
        """Whether the other side has ended it."""
        return self._reader.at_eof()

    async def status(self) -> int:
        """The status of the next answer, whose content is read as well."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length or 0))
        return int(head.split(b" ")[1])

    async def ask(self, *pieces: bytes, pause_s: float = 0.0) -> int:
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(pause_s)
        return await self.status()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Door:
    """One hookward, and what happened at it."""

    server: Server
    admin: int
    tls: ssl.SSLContext | None
    answers: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    idle: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        named: dict[str, Any] = {"ssl": self.tls, "server_hostname": NAME} if self.tls else {}
        return Client(*await asyncio.open_connection("127.0.0.1", self.server.port, **named))

    def at_rest(self) -> dict[str, float]:
        """What there is of the process, with no client."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        named = ("hookward_connections{", "hookward_buffered_bytes ", "hookward_exchanges_in_flight ")
        counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(named)}
        place = Path(f"/proc/{self.server.pid}")
        of_process = {kind: float(len(list((place / kind).iterdir()))) for kind in ("fd", "task")}
        # Connections to the application are pooled, and each has a descriptor.
        pooled = sum(n for name, n in counts.items() if "upstream" in name)
        of_process["fd"] -= pooled
        return of_process | {name: n for name, n in counts.items() if "upstream" not in name}


async def kept(door: Door) -> str:
    client = None
    while door.idle and client is None:
        client = door.idle.pop(0)
        if client.ended:
            client.writer.close()
            client = None
    client = client or await door.connect()
    try:
        status = await client.ask(GOOD)
    except BaseException:
        client.writer.close()
        raise
    door.idle.append(client)
    return str(status)


async def alone(door: Door, *pieces: bytes, pause_s: float = 0.0) -> str:
    client = await door.connect()
    try:
        return str(await client.ask(*(pieces or [GOOD]), pause_s=pause_s))
    finally:
        client.writer.close()


async def left(door: Door, *, reset: bool) -> str:
    client = await door.connect()
    client.writer.write(GOOD[:-100])
    await asyncio.sleep(0.01)
    if reset:
        client.reset()
    else:
        client.writer.close()
    return "left"


async def no_handshake(door: Door) -> str:
    """What comes back, if anything, is an alert; to a plain port it is noise as well."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        writer.write(b"\x16\x03\x01\x00\x05nonsense\r\n\r\n")
        await reader.read()
    return "refused"


#: What a client does, how often in a hundred, and how that ends.
MANNERS: dict[str, tuple[int, Callable[[Door], Any], str]] = {
    "kept": (40, kept, "200"),
    "alone": (25, alone, "200"),
    "forged": (10, lambda door: alone(door, FORGED), "403"),
    "aborted": (5, lambda door: left(door, reset=False), "left"),
    "reset": (5, lambda door: left(door, reset=True), "left"),
    "slow": (5, lambda door: alone(door, GOOD[:300], GOOD[300:2000], GOOD[2000:], pause_s=0.1), "200"),
    "chunked": (3, lambda door: alone(door, CHUNKED), "200"),
    "noise": (3, lambda door: alone(door, b"nonsense\r\n\r\n"), "400"),
    "no_handshake": (4, no_handshake, "refused"),
}


def deck() -> Iterator[str]:
    """Manners without end; in each hundred every one of them is as often as it should be."""
    while True:
        hundred = [name for name, (share, _, _) in MANNERS.items() for _ in range(share)]
        random.shuffle(hundred)
        yield from hundred


async def one(door: Door, manner: str) -> None:
    _, act, wanted = MANNERS[manner]
    try:
        async with asyncio.timeout(PATIENCE_S):
            ended = await act(door)
    except (OSError, asyncio.IncompleteReadError) as error:
        ended = f"{type(error).__name__}"
    if ended == wanted:
        door.answers[manner] += 1
    else:
        door.unexplained[f"{manner}: {ended}"] += 1


async def play(doors: Sequence[Door], seconds: float, rate: float, *, watched: bool) -> int:
    """Let clients come for so long; how many were too many to begin."""
    loop = asyncio.get_running_loop()
    decks = [deck() for _ in doors]
    clients: set[asyncio.Task[None]] = set()
    skipped, began, looked = 0, loop.time(), 0
    for number in range(int(seconds * rate)):
        if (due := began + number / rate) > loop.time():
            await asyncio.sleep(due - loop.time())
        if watched and loop.time() - began > looked:
            looked += 1
            for door in doors:
                door.memory.append(door.server.usage().rss_bytes)
        if len(clients) >= MOST:
            skipped += 1
            continue
        which = number % len(doors)
        task = loop.create_task(one(doors[which], next(decks[which])))
        clients.add(task)
        task.add_done_callback(clients.discard)
    await asyncio.gather(*clients)
    for door in doors:
        while door.idle:
            door.idle.pop().writer.close()
    return skipped


async def crowd(door: Door) -> None:
    """As many clients at once as there may be, over and over: what memory the most of them take is then there already,
    and a busy moment later on is not taken for a leak.
    """
    hands = deck()
    for _ in range(CROWDS):
        await asyncio.gather(*(one(door, next(hands)) for _ in range(MOST)))


async def settled(door: Door) -> dict[str, float]:
    """What there is of it once two looks in a row agree: pooled connections end in between."""
    looked = await asyncio.to_thread(door.at_rest)
    while True:
        await asyncio.sleep(1.0)
        before, looked = looked, await asyncio.to_thread(door.at_rest)
        if looked == before:
            return looked


async def rest(door: Door, before: dict[str, float]) -> dict[str, float]:
    """Wait until everything is back, for as long as clients that have left may take; what is not."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        now = await asyncio.to_thread(door.at_rest)
        more = {name: now[name] - was for name, was in before.items() if now[name] > was}
        if not more or asyncio.get_running_loop().time() > deadline:
            return more
        await asyncio.sleep(0.5)


async def soak(options: argparse.Namespace, doors: Sequence[Door]) -> dict[str, Any]:
    for door in doors:
        await crowd(door)
    await play(doors, options.warm_up, options.rate, watched=False)
    before = [await settled(door) for door in doors]
    skipped = await play(doors, options.seconds, options.rate, watched=True)
    found: dict[str, Any] = {"not_begun": skipped}
    for door, was in zip(doors, before, strict=True):
        third = max(1, len(door.memory) // 3)
        first, last = fmean(door.memory[:third]), fmean(door.memory[-third:])
        found["tls" if door.tls else "clear"] = {
            "ended_as_it_should": dict(door.answers),
            "unexplained": dict(door.unexplained),
            "first_third_mib": round(first / 2**20, 2),
            "last_third_mib": round(last / 2**20, 2),
            "ratio": round(last / first, 4),
            "not_back": await rest(door, was),
        }
    return found


def verdict(found: dict[str, Any], tolerance: float) -> list[str]:
    """What was promised and not kept."""
    broken = []
    if found["not_begun"]:
        broken.append(f"{found['not_begun']} clients were not begun: give a --rate that this machine can play")
    for name in ("clear", "tls"):
        door = found[name]
        if door["ratio"] > tolerance:
            broken.append(f"{name}: memory grew to {door['ratio']} of what it was")
        if door["not_back"]:
            broken.append(f"{name}: not back at the end: {door['not_back']}")
        if door["unexplained"]:
            broken.append(f"{name}: ended otherwise: {door['unexplained']}")
        if missing := MANNERS.keys() - door["ended_as_it_should"]:
            broken.append(f"{name}: nobody did: {', '.join(sorted(missing))}")
    return broken


def start(stack: contextlib.ExitStack, folder: Path, origin: int, *, tls: ssl.SSLContext | None) -> Door:
    port, admin = free_port(), free_port()
    name = "tls" if tls else "clear"
    config = folder / f"{name}.toml"
    config.write_text(
        f"""
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
upstream = "http://127.0.0.1:{origin}"
access_log = "{folder / name}.access.log"
{f'tls = {{ cert = "{folder}/cert.pem", key = "{folder}/key.pem" }}' if tls else ""}
[limits]
max_connections_per_address = 1000
[route.github]
path = "/hooks/github"
provider = "github"
secrets = ["file:{folder}/secret"]
"""
    )
    command = [sys.executable, "-m", "proxy", "--config", str(config)]
    server = stack.enter_context(Server(name, command, port, None, folder / f"{name}.log"))
    return Door(server, admin, tls)


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Start everything, soak, tell; the exit code."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        authority = trustme.CA()
        issued = authority.issue_cert(NAME)
        (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        (folder / "key.pem").chmod(0o600)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        origin = free_port()
        command = [sys.executable, "-m", "bench.load.origin", "--port", str(origin)]
        stack.enter_context(Server("origin", command, origin, None, folder / "origin.log"))
        doors = [start(stack, folder, origin, tls=tls) for tls in (None, trusting)]
        found = uvloop.run(soak(options, doors))
        log = "".join((folder / f"{name}.log").read_text() for name in ("clear", "tls"))
    say(json.dumps(found, indent=1))
    broken = verdict(found, options.tolerance)
    for text in [*broken, *(["hookward's own words:", log] if broken or "Traceback" in log else [])]:
        say(text)
    return 1 if broken or "Traceback" in log else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load.mixed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm-up", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=200.0, help="clients per second, half of them under TLS")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="last third over first third of the memory")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
