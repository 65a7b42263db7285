"""An application that was away for long: a hookward that starts with very many deliveries, which it then delivers.

Measured: the start until the first arrives, memory above that of an empty queue, how fast the backlog is delivered
beside what ``direct`` takes on the same process, and how long new deliveries wait for their 202 meanwhile.

    python -m bench.queue.backlog --records 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep, time

from bench.load.closed import closed_loop
from bench.load.delivery import PATH, SECRET, request
from bench.load.process import Server, free_port
from bench.load.stage import count
from bench.queue.sender import Sender
from proxy.queue.folder import QueueFolder
from proxy.queue.records import Parcel
from proxy.queue.sqlite_store import QueueFile

START_S = 60.0
NEW_PER_S = 50
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{origin}"
state_dir = "{folder}/{name}"
[queue]
max_bytes = "64GiB"
[limits]
max_connections_per_address = 100000
[route.github]
path = "{path}"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "{deliver}"
{more}
"""
KEEPING = "concurrency = 64"


async def fill(folder: Path, records: int) -> None:
    """Keep so many deliveries of the route, as if they had come."""
    head, _, body = request(b'{"ref":"refs/heads/main"}', path=PATH).partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    store = QueueFile(QueueFolder(folder), asyncio.get_running_loop(), max_bytes=1 << 40)
    now = time() - 3600
    for first in range(0, records, 1000):
        numbers = range(first, min(first + 1000, records))
        await store.append([Parcel(f"b{n:x}", "github", now + n / records, head, body, len(body)) for n in numbers])
    await store.close()


async def new_p99_ms(port: int, folder: Path, seconds: float) -> float:
    """How long new deliveries wait for their answer, counted from when each was due."""
    sender, loop, times = Sender(port, folder / "new.ledger", [PATH], 1), asyncio.get_running_loop(), list[float]()

    async def one(number: int, due: float) -> None:
        if await sender.deliver(f"new-{due}-{number}", PATH, b"{}") // 100 != 2:
            raise SystemExit("a new delivery was not taken")
        times.append(loop.time() - due)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(NEW_PER_S * seconds)):
            due = began + number / NEW_PER_S
            await asyncio.sleep(due - loop.time())
            group.create_task(one(number, due))
    await sender.close()
    return sorted(times)[int(len(times) * 0.99)] * 1e3


def start(stack: ExitStack, folder: Path, name: str, origin: int, deliver: str = "queue") -> Server:
    port, config = free_port(), folder / f"{name}.toml"
    values = {"port": port, "origin": origin, "folder": folder, "name": name, "path": PATH, "deliver": deliver}
    config.write_text(CONFIG.format(**values, more=KEEPING if deliver == "queue" else ""))
    command = [sys.executable, "-m", "proxy", "--config", str(config)]
    return stack.enter_context(Server(name, command, port, "0", folder / f"{name}.log"))


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Fill, start, measure, tell; 1 where what was new was not delivered."""
    with tempfile.TemporaryDirectory(prefix="hookward-backlog-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        began = monotonic()
        (folder / "full").mkdir(mode=0o700)
        asyncio.run(fill(folder / "full" / "queue", options.records))
        filled_s = monotonic() - began
        origin = free_port()
        stack.enter_context(
            Server(
                "origin",
                [sys.executable, "-m", "bench.load.origin", "--port", str(origin)],
                origin,
                "1",
                folder / "origin.log",
            )
        )
        with ExitStack() as before:
            empty = start(before, folder, "empty", origin)
            rest = empty.usage().rss_bytes
            quiet = asyncio.run(new_p99_ms(empty.port, folder, options.seconds))
        with ExitStack() as before:
            direct = closed_loop(start(before, folder, "direct", origin, "direct").port, 64, options.seconds, folder)
        came, began = count(origin), monotonic()
        full = start(stack, folder, "full", origin)
        while count(origin) == came and monotonic() - began < START_S:
            sleep(0.005)
        first_s, came, began = monotonic() - began, count(origin), monotonic()
        sleep(options.seconds)
        drained_per_s = (count(origin) - came) / (monotonic() - began)
        busy = asyncio.run(new_p99_ms(full.port, folder, options.seconds))
        peak = full.usage().peak_rss_bytes
        direct_per_s = direct["requests"] / direct["duration_us"] * 1e6
        found = {
            "records": options.records,
            "filled_in_s": round(filled_s, 1),
            "database_mib": (folder / "full" / "queue" / "queue.sqlite3").stat().st_size >> 20,
            "start_to_first_s": round(first_s, 2),
            "rss_at_rest_mib": round(rest / 2**20, 1),
            "rss_peak_above_rest_mib": round((peak - rest) / 2**20, 1),
            "direct_per_s": round(direct_per_s),
            "drained_per_s": round(drained_per_s),
            "drained_to_direct": round(drained_per_s / direct_per_s, 2),
            "new_p99_ms_quiet": round(quiet, 1),
            "new_p99_ms_draining": round(busy, 1),
        }
    say(json.dumps(found, indent=1))
    return 0 if drained_per_s else 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.backlog", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
