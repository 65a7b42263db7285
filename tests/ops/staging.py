"""A worker's surroundings for tests in this process: an upstream that says "ok", a configuration file, questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.config.load import load
from proxy.config.settings import Loaded
from proxy.ops.worker import Worker

BODY = b'{"zen":"Design for failure."}'


class Stage:
    """A configuration file before an upstream, and a log."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.path = folder / "hookward.toml"
        self.log = folder / "access.log"
        self.upstream_port = upstream_port
        self.write("")

    def write(self, more: str, *, listen: str = '["127.0.0.1:0"]', top: str = "") -> None:
        self.path.write_text(
            f'listen = {listen}\nupstream = "http://127.0.0.1:{self.upstream_port}"\naccess_log = "{self.log}"\n'
            f'drain = "5s"\n{top}\n[route.hooks]\npath = "/hooks"\nopen = true\n{more}\n'
        )

    def load(self, generation: int = 1, *, state_dir: str | None = None) -> Loaded:
        environ = {} if state_dir is None else {"HOOKWARD_STATE_DIR": state_dir}
        return load(["--config", str(self.path)], environ, generation=generation)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            if b"Connection: close" in head:
                writer.close()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    upstream = await asyncio.start_server(answer_ok, "127.0.0.1", 0)
    try:
        yield Stage(folder, upstream.sockets[0].getsockname()[1])
    finally:
        upstream.close()
        await upstream.wait_closed()


def address(worker: Worker, index: int = 0) -> tuple[str, int]:
    host, _, port = str(worker.listeners.open[index].bound).rpartition(":")
    return host, int(port)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what changes it tells nobody
            await asyncio.sleep(0)


async def ask(where: tuple[str, int], path: str = "/hooks", method: str = "POST") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(*where)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + BODY)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ")[1]), answer
