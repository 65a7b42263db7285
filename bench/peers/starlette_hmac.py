"""A reverse proxy on Starlette, uvicorn and httpx that checks GitHub's signature while the body streams.

As their documents would have it written: uvloop, httptools, one pooled client, no access log, both bodies streamed; the
last chunk is withheld until the MAC has matched. It runs in an environment of its own and imports nothing of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
DROPPED = HOP_BY_HOP | {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}


class ForgedError(Exception):
    """The signature does not match; raised inside the body so that the upstream request is aborted."""


async def checked(request: Request, key: bytes, expected: str) -> AsyncIterator[bytes]:
    """The body, its last chunk only after the verdict."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    withheld = b""
    async for chunk in request.stream():
        if not chunk:
            continue
        mac.update(chunk)
        if withheld:
            yield withheld
        withheld = chunk
    if not hmac.compare_digest(f"sha256={mac.hexdigest()}", expected):
        raise ForgedError
    if withheld:
        yield withheld


class Proxy:
    """The endpoint and what it shares."""

    def __init__(self, upstream: str, key: bytes) -> None:
        self.upstream = upstream
        self.key = key

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=512, keepalive_expiry=60)
        async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
            self.client = client
            yield

    async def handle(self, request: Request) -> Response:
        host = request.client.host if request.client else ""
        expected = request.headers.get("x-hub-signature-256")
        if host != "127.0.0.1" or expected is None:
            return Response(status_code=403)
        fields = [(name, value) for name, value in request.headers.raw if name not in DROPPED]
        fields.append((b"x-forwarded-for", host.encode()))
        fields.append((b"x-forwarded-proto", request.url.scheme.encode()))
        fields.append((b"x-forwarded-host", request.headers["host"].encode()))
        url = f"{self.upstream}{request.url.path}"
        forwarded = self.client.build_request("POST", url, headers=fields, content=checked(request, self.key, expected))
        try:
            answer = await self.client.send(forwarded, stream=True)
        except ForgedError:
            return Response(status_code=403)
        except httpx.TransportError:
            return Response(status_code=502)
        response = StreamingResponse(
            answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = [(name.lower(), value) for name, value in answer.headers.raw if name not in HOP_BY_HOP]
        return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    proxy = Proxy(options.upstream, options.secret_file.read_bytes())
    app = Starlette(routes=[Route("/hooks/{rest:path}", proxy.handle, methods=["POST"])], lifespan=proxy.lifespan)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="error",
        timeout_keep_alive=75,
        backlog=4096,
        ssl_certfile=options.cert,
        ssl_keyfile=options.key,
    )


if __name__ == "__main__":
    main()
