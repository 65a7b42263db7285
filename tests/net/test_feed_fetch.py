"""Fetching a feed: what is taken, and everything else is one kind of error."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme

from proxy.core.ip_sets import FeedError
from proxy.net.feed_fetch import FetchedList, Known, fetch
from tests.net.conftest import Run
from tests.net.feed_server import FeedServer, answer, feed_server

LIST = b'{"hooks": ["192.0.2.0/24"]}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(LIST), LIST) + b"0\r\n\r\n"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\n" + LIST


@pytest.fixture(scope="module")
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context()


def get(
    run: Run[FetchedList | None], prepare, path: str = "/feed", known: Known | None = None, **options
) -> FetchedList | None:
    """Fetch from a plain feed server that ``prepare`` has set up."""

    async def main() -> FetchedList | None:
        async with feed_server() as server:
            prepare(server)
            return await fetch(server.url(path), known or Known(), NO_TLS, **options)

    return run(main())


def says(raw: bytes):
    def prepare(server: FeedServer) -> None:
        server.answers["/feed"] = raw

    return prepare


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (answer(LIST), FetchedList(LIST)),
        (answer(LIST, 'ETag: W/"a1"', "Last-Modified: Mon, 23 Nov 2026 10:00:00 GMT"),
         FetchedList(LIST, 'W/"a1"', "Mon, 23 Nov 2026 10:00:00 GMT")),
        (answer(LIST, "ETag: " + "x" * 300), FetchedList(LIST)),
        (CHUNKED, FetchedList(LIST)),
        (UNTIL_CLOSE, FetchedList(LIST)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(LIST), FetchedList(LIST)),
        (answer(LIST, "Content-Encoding: identity"), FetchedList(LIST)),
        (answer(b""), FetchedList(b"")),
    ],
    ids=["length", "validators", "long-etag", "chunked", "until-close", "interim", "identity", "empty"],
)  # fmt: skip
def test_a_document_is_taken(run: Run[FetchedList | None], raw: bytes, document: FetchedList):
    assert get(run, says(raw)) == document


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (answer(b"", status="500 Internal Server Error"), "answers 500"),
        (answer(b"", status="429 Too Many Requests"), "answers 429"),
        (answer(b"", "Location: https://elsewhere.example/", status="302 Found"), "answers 302: redirects are not"),
        (answer(b"", status="304 Not Modified"), "answers 304"),
        (answer(LIST, status="206 Partial Content"), "answers 206"),
        (answer(LIST, "Content-Encoding: gzip"), "compressed"),
        (answer(LIST)[:-5], "not HTTP, or was cut off"),
        (CHUNKED[:-5], "not HTTP, or was cut off"),
        (b"", "not HTTP|cut off|gave no answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "not HTTP"),
    ],
    ids=[
        "500",
        "429",
        "redirect",
        "unasked-304",
        "206",
        "gzip",
        "cut",
        "cut-chunked",
        "nothing",
        "ssh",
        "endless-head",
        "lengths",
    ],
)
def test_anything_else_is_an_error(run: Run[FetchedList | None], raw: bytes, why: str):
    with pytest.raises(FeedError, match=why):
        get(run, says(raw))


def test_a_text_must_say_where_it_ends(run: Run[FetchedList | None]):
    assert get(run, says(answer(LIST)), whole=True) == FetchedList(LIST)
    assert get(run, says(CHUNKED), whole=True) == FetchedList(LIST)
    with pytest.raises(FeedError, match="where it ends"):
        get(run, says(UNTIL_CLOSE), whole=True)


@pytest.mark.parametrize("raw", [answer(b"x" * 3_000_000), b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000])
def test_a_huge_document_is_not_read_to_its_end(run: Run[FetchedList | None], raw: bytes):
    with pytest.raises(FeedError, match="larger than 1 MiB"):
        get(run, says(raw), max_bytes=1024 * 1024)


def test_a_slow_feed_has_an_end(run: Run[FetchedList | None]):
    def prepare(server: FeedServer) -> None:
        server.silent.add("/feed")

    with pytest.raises(FeedError, match=r"within 0\.05 s"):
        get(run, prepare, timeout_s=0.05)


async def test_a_known_copy_is_asked_for_and_confirmed(run: Run[None], trusting: ssl.SSLContext):
    async with feed_server() as server:
        server.answers["/feed?x=1"] = answer(LIST, 'ETag: "v1"')
        server.etags["/feed?x=1"] = '"v1"'
        url = server.url("/feed?x=1", "127.0.0.1")
        assert await fetch(url, Known('"v1"', "Mon, 23 Nov 2026 10:00:00 GMT"), trusting) is None
        assert await fetch(url, Known('"v0"'), trusting) == FetchedList(LIST, '"v1"')
        assert await fetch(url, Known("", "Mon, 23 Nov 2026 10:00:00 GMT"), trusting) == FetchedList(LIST, '"v1"')
        first, _, third = server.requests
        assert first["if-none-match"] == '"v1"'
        assert "if-modified-since" not in first
        assert third["if-modified-since"] == "Mon, 23 Nov 2026 10:00:00 GMT"
        assert first["host"] == f"127.0.0.1:{server.port}"
        assert first["accept-encoding"] == "identity"
        assert first["user-agent"].startswith("hookward/")


def test_over_tls_the_certificate_is_checked(run: Run[None], ca: trustme.CA, trusting: ssl.SSLContext):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ours = ssl.create_default_context()
    ca.configure_trust(ours)

    async def main() -> None:
        async with feed_server(context) as server:
            server.answers["/feed"] = answer(LIST)
            assert await fetch(server.url(), Known(), ours) == FetchedList(LIST)
            # asyncio's own server complains of the handshakes that we are about to break off
            asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
            with pytest.raises(FeedError, match="cannot be trusted"):
                await fetch(server.url(), Known(), trusting)
            with pytest.raises(FeedError, match="cannot be trusted"):
                await fetch(server.url(host="127.0.0.1"), Known(), ours)
            assert len(server.requests) == 1

    run(main())


async def test_an_unreachable_feed_is_an_error(run: Run[None], trusting: ssl.SSLContext):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FeedError, match="cannot be reached"):
        await fetch(f"http://127.0.0.1:{port}/", Known(), trusting)


async def test_plain_http_is_for_this_host_alone(
    run: Run[None], trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(FeedError, match="without TLS"):
        await fetch("http://192.0.2.1/", Known(), trusting)
    async with feed_server() as server:
        # A resolver that says "localhost" is somewhere else.
        real = asyncio.StreamWriter.get_extra_info
        monkeypatch.setattr(
            asyncio.StreamWriter,
            "get_extra_info",
            lambda self, name, default=None: ("192.0.2.1", 1) if name == "peername" else real(self, name, default),
        )
        with pytest.raises(FeedError, match="without TLS"):
            await fetch(server.url(), Known(), trusting)
        assert not server.requests
