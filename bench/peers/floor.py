"""The floor: a bare pipe on uvloop that hashes what passes, and knows no HTTP. What no proxy in Python can beat.

One connection to the origin for each connection that comes; no head is read, nothing is refused but a foreign address.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Any

import uvloop


class Upstream(asyncio.Protocol):
    """The origin's side: what it says ends a message of the client's."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=256 * 1024)

    def data_received(self, data: bytes) -> None:
        self._client.mac.digest()
        self._client.mac = self._client.keyed.copy()
        self._client.transport.write(data)

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.transport.close()


class Client(asyncio.Protocol):
    """The sender's side."""

    def __init__(self, origin: int, keyed: hmac.HMAC) -> None:
        self._origin = origin
        self._early = b""
        self._upstream: Any = None
        self.keyed = keyed
        self.mac = keyed.copy()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if transport.get_extra_info("peername")[0] != "127.0.0.1":
            transport.abort()
            return
        self._dialing = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        upstream, _ = await loop.create_connection(lambda: Upstream(self), "127.0.0.1", self._origin)
        self._upstream = upstream
        if self.transport.is_closing():
            upstream.close()
        elif self._early:
            upstream.write(self._early)
            self._early = b""

    def data_received(self, data: bytes) -> None:
        self.mac.update(data)
        if self._upstream is None:
            self._early += data
        else:
            self._upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._upstream is not None:
            self._upstream.close()


async def serve(port: int, origin: int, key: bytes) -> None:
    keyed = hmac.new(key, digestmod=hashlib.sha256)
    server = await asyncio.get_running_loop().create_server(
        lambda: Client(origin, keyed), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin", type=int, required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.origin, options.secret_file.read_bytes()))


if __name__ == "__main__":
    main()
