"""An upstream that restarts under a load like GitHub's: every delivery on a connection of its own, each sent once.

hookward holds (``hold = "8s"``) what it has verified until the upstream is back. No delivery may fail, and each must
arrive once, within the ten seconds that GitHub waits.

    python -m bench.load.restart --down 5 --rate 100
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

from bench.load.process import Server, free_port

SECRET = b"It's a Secret to Everybody"
PATIENCE_S = 10.0
#: GitHub's payloads: most have a few KiB, some a few hundred.
SIZES = (2_000, 7_000, 9_000, 12_000, 25_000, 7_500, 180_000, 8_000)


class Application:
    """The upstream: remembers what arrived whole, and works ``takes_s`` on each.

    A restart finishes what is under way, as a good one does.
    """

    def __init__(self, port: int, takes_s: float = 0.0) -> None:
        self.arrived: Counter[str] = Counter()
        self._port = port
        self._takes_s = takes_s
        self._leaving = False
        self._server: asyncio.Server | None = None
        self._busy = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._leaving = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=128)

    async def stop(self) -> None:
        """Accept no more, let everybody know with the next answer, and close who has nothing under way."""
        assert self._server is not None
        self._leaving = True
        self._server.close()
        await asyncio.sleep(0.2)
        while self._busy:  # noqa: ASYNC110 - looking is simplest here
            await asyncio.sleep(0.01)
        for writer in list(self._open):
            writer.close()
        while self._open:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)

    async def restart(self, down_s: float) -> None:
        await self.stop()
        await asyncio.sleep(down_s)
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                self._busy += 1
                try:
                    await self._answer(head, reader, writer)
                finally:
                    self._busy -= 1
                if self._leaving:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        await reader.readexactly(int(fields[b"content-length"]))
        self.arrived[fields[b"x-github-delivery"].decode()] += 1
        await asyncio.sleep(self._takes_s)
        close = b"Connection: close\r\n" if self._leaving else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + close + b"\r\nok")
        await writer.drain()


class Load:
    """Sends deliveries at a rate and remembers what became of each."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.sent = 0
        self._port = port

    async def run(self, seconds: float, rate: float) -> None:
        loop = asyncio.get_running_loop()
        begun, tasks = monotonic(), []
        while (now := monotonic()) < begun + seconds:
            if self.sent >= (now - begun) * rate:
                await asyncio.sleep(1 / rate)
                continue
            self.sent += 1
            tasks.append(loop.create_task(self._send(f"d-{self.sent}", SIZES[self.sent % len(SIZES)])))
        await asyncio.gather(*tasks)

    async def _send(self, delivery: str, size: int) -> None:
        begun = monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._exchange(delivery, size)
        except (TimeoutError, OSError) as error:
            answer = type(error).__name__
        self.answers[answer] += 1
        self.slowest_s = max(self.slowest_s, monotonic() - begun)

    async def _exchange(self, delivery: str, size: int) -> str:
        body = (f'{{"delivery": "{delivery}"}}'.encode() * (size // 16))[:size]
        signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = (
            f"POST /hooks HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Length: {size}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nUser-Agent: GitHub-Hookshot/1\r\nX-GitHub-Event: push\r\n"
            f"X-GitHub-Delivery: {delivery}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            status = (await reader.readline()).split(b" ")
            await reader.read()
        finally:
            writer.close()
        return status[1].decode() if len(status) > 1 else "nothing"


async def restarted(
    hook_port: int, app_port: int, *, down_s: float, rate: float, around_s: float = 1.5
) -> dict[str, Any]:
    """The figures of one restart, with ``around_s`` of load before and after it."""
    application, load = Application(app_port), Load(hook_port)
    await application.start()
    sending = asyncio.get_running_loop().create_task(load.run(down_s + 2 * around_s, rate))
    await asyncio.sleep(around_s)
    await application.restart(down_s)
    await sending
    await application.stop()
    return {
        "sent": load.sent,
        "answers": dict(load.answers),
        "arrived": len(application.arrived),
        "arrived_twice": sum(count > 1 for count in application.arrived.values()),
        "down_s": down_s,
        "slowest_s": round(load.slowest_s, 2),
    }


def configuration(folder: Path, hook_port: int, app_port: int) -> Path:
    """The file, with its secret beside it."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    path = folder / "hookward.toml"
    path.write_text(f"""
listen = ["127.0.0.1:{hook_port}"]
upstream = "http://127.0.0.1:{app_port}"
access_log = "{folder}/access.log"
[limits]
max_connections_per_address = 100000
[route.github]
path = "/hooks"
provider = "github"
secrets = ["file:{secret}"]
hold = "8s"
""")
    return path


def is_perfect(figures: dict[str, Any]) -> bool:
    """Whether no delivery failed, and each arrived once."""
    sent = figures["sent"]
    return figures["answers"] == {"200": sent} and figures["arrived"] == sent and not figures["arrived_twice"]


def main() -> int:
    """The command; 1 where a delivery failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--down", type=float, default=5.0, help="seconds that the upstream is away")
    parser.add_argument("--rate", type=float, default=100.0, help="deliveries a second")
    options = parser.parse_args()
    hook_port, app_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "proxy", "--config", str(configuration(folder, hook_port, app_port))]
        with Server("hookward", command, hook_port, None, folder / "hookward.log"):
            figures = asyncio.run(restarted(hook_port, app_port, down_s=options.down, rate=options.rate))
    print(json.dumps(figures, indent=2))
    return 0 if is_perfect(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
