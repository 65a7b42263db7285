"""The listeners that are for the operator: taken early, served when what answers is ready, given back at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.config.notation import ListenAddress
from proxy.net.http_server import Answer, HttpServer
from proxy.ops.listeners import OwnListeners
from proxy.ops.optional import Certificates
from proxy.ops.places import ADMIN, CONSOLE, ListenPlace, SocketStore


async def get(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    found = await reader.read()
    writer.close()
    return found.rpartition(b"\r\n")[2]


def test_each_answers_at_its_own_place_until_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        own = OwnListeners(SocketStore({}), Certificates(asyncio.get_running_loop()))
        for use in (ADMIN, CONSOLE):
            own.take(ListenPlace(use, ListenAddress(path=str(tmp_path / use))))
        for use in (ADMIN, CONSOLE):
            await own.serve(use, HttpServer(lambda _request, use=use: Answer(200, content=use.encode())))
        assert [await get(tmp_path / use) for use in (ADMIN, CONSOLE)] == [b"admin", b"console"]
        assert own.names == set()
        own.leave()
        own.close(unlink=True)

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []
