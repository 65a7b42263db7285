"""A reverse proxy on aiohttp that checks GitHub's signature while the body streams: the peer to beat, written well.

uvloop, one pooled ``ClientSession`` with keep-alive, no access log, no per-request allocation that can be helped; the
body goes on chunk by chunk with the last one withheld until the MAC has matched, as hookward's ``tail`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from aiohttp import ClientConnectionError, ClientSession, DummyCookieJar, TCPConnector, web

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "host"}
DROPPED = HOP_BY_HOP | {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "content-length"}


class ForgedError(Exception):
    """The signature does not match; raised inside the body so that the upstream request is aborted."""


async def checked(request: web.Request, key: bytes, expected: str) -> AsyncIterator[bytes]:
    """The body, its last chunk only after the verdict."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    withheld = b""
    async for chunk in request.content.iter_any():
        mac.update(chunk)
        if withheld:
            yield withheld
        withheld = chunk
    if not hmac.compare_digest(f"sha256={mac.hexdigest()}", expected):
        raise ForgedError
    if withheld:
        yield withheld


def forwarded(request: web.Request) -> list[tuple[str, str]]:
    """The fields that cross."""
    fields = [(name, value) for name, value in request.headers.items() if name.lower() not in DROPPED]
    fields.append(("X-Forwarded-For", request.remote or ""))
    fields.append(("X-Forwarded-Proto", request.scheme))
    fields.append(("X-Forwarded-Host", request.host))
    if request.content_length is not None:
        fields.append(("Content-Length", str(request.content_length)))
    return fields


class Proxy:
    """The handler and what it shares."""

    def __init__(self, upstream: str, key: bytes) -> None:
        self.upstream = upstream
        self.key = key
        self.session: ClientSession | None = None

    async def lifetime(self, app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0, keepalive_timeout=60)
        async with ClientSession(connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False) as session:
            self.session = session
            yield

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert self.session is not None
        expected = request.headers.get("X-Hub-Signature-256")
        if request.remote != "127.0.0.1" or request.method != "POST" or expected is None:
            return web.Response(status=403)
        body = checked(request, self.key, expected)
        try:
            async with self.session.post(
                self.upstream + request.path_qs, data=body, headers=forwarded(request), allow_redirects=False
            ) as answer:
                fields = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
                response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=dict(fields))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except ClientConnectionError as error:
            forged = isinstance(error.__cause__, ForgedError)
            return web.Response(status=403 if forged else 502)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    proxy = Proxy(options.upstream, options.secret_file.read_bytes().strip())
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(proxy.lifetime)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    context = None
    if options.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.cert, options.key)
    web.run_app(
        app,
        host="127.0.0.1",
        port=options.port,
        ssl_context=context,
        backlog=4096,
        access_log=None,
        print=None,
        handler_cancellation=False,
    )


if __name__ == "__main__":
    main()
