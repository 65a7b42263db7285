"""Fetches one document of a feed: GET over TLS with the certificate checked, bounded in time and size, no redirects.

What comes back decides which addresses are let in, so it comes from where the configuration says or not at all: a
redirect is refused, and plain HTTP is spoken to this host alone. ``If-None-Match`` saves the rest (RFC 9110 section
13.1). h11 reads the answer; once an hour nothing has to be fast. This module knows nothing of what is in a document.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from urllib.parse import SplitResult, urlsplit

import h11

import proxy
from proxy.config.notation import is_loopback, prepare_names
from proxy.core.ip_sets import FeedError
from proxy.values import frozen

prepare_names()

#: For the whole of it: name, connection, TLS, answer.
TIMEOUT_S = 30.0
#: The largest feed known (Azure's service tags) has 5 MiB.
MAX_BYTES = 32 * 1024 * 1024
_MAX_HEAD = 64 * 1024
_READ = 64 * 1024
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,256}")


@frozen
class FetchedList:
    """What a feed answered, and by which words it can be asked whether it still says so ("" for none)."""

    data: bytes
    etag: str = ""
    last_modified: str = ""


@frozen
class Known:
    """The validators of the copy that we have."""

    etag: str = ""
    last_modified: str = ""

    def fields(self) -> list[tuple[str, str]]:
        """The fields of a conditional request; the date only where there is no ETag, which is exact."""
        if self.etag:
            return [("If-None-Match", self.etag)]
        return [("If-Modified-Since", self.last_modified)] if self.last_modified else []


async def fetch(
    url: str,
    known: Known,
    context: ssl.SSLContext,
    *,
    whole: bool = False,
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = MAX_BYTES,
) -> FetchedList | None:
    """The document at ``url``, or None where it is still the one that is known.

    ``whole`` asks for an answer that says where it ends, for documents whose form does not show that they were cut
    off. Raises FeedError, and nothing else, where there is none to be had.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _fetch(url, known, context, whole=whole, max_bytes=max_bytes)
    except TimeoutError:
        raise FeedError(f"it did not come within {timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise FeedError(f"its certificate cannot be trusted: {error.verify_message}") from None
    except OSError as error:  # ssl.SSLError and failures of names are of this kind
        raise FeedError(f"it cannot be reached: {error.strerror or type(error).__name__}") from None
    except h11.ProtocolError:
        raise FeedError("its answer is not HTTP, or was cut off") from None


def _check_plain(host: str, *, secure: bool) -> None:
    if not secure and not is_loopback(host):
        raise FeedError("it would come without TLS")


async def _fetch(url: str, known: Known, context: ssl.SSLContext, *, whole: bool, max_bytes: int) -> FetchedList | None:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    _check_plain(host, secure=secure)
    tls = {"ssl": context, "server_hostname": host} if secure else {}
    reader, writer = await asyncio.open_connection(host, port, **tls)  # type: ignore[arg-type]  # as it takes them
    try:
        _check_plain(writer.get_extra_info("peername")[0], secure=secure)
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        writer.write(_request(connection, parts, known))
        answer = _Answer(connection, reader)
        head = await answer.head()
        if head.status_code == 304 and known.fields():
            return None
        _judge(head, whole=whole)
        data = await answer.content(max_bytes)
        return FetchedList(data, _validator(head, b"etag"), _validator(head, b"last-modified"))
    finally:
        # Nothing more is asked of this connection: no goodbye that could take time.
        writer.transport.abort()


def _request(connection: h11.Connection, parts: SplitResult, known: Known) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = [
        ("Host", parts.netloc),
        ("User-Agent", f"hookward/{proxy.__version__}"),
        ("Accept", "application/json, text/plain;q=0.9, */*;q=0.1"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
        *known.fields(),
    ]
    request = connection.send(h11.Request(method="GET", target=target, headers=fields))
    end = connection.send(h11.EndOfMessage())
    return (request or b"") + (end or b"")


@frozen
class _Answer:
    """Reads one answer, event by event."""

    connection: h11.Connection
    reader: asyncio.StreamReader

    async def head(self) -> h11.Response:
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise FeedError("it gave no answer")

    async def content(self, max_bytes: int) -> bytes:
        data = bytearray()
        while True:
            event = await self._event()
            if not isinstance(event, h11.Data):
                return bytes(data)
            data += event.data
            if len(data) > max_bytes:
                raise FeedError(f"it is larger than {max_bytes // (1024 * 1024)} MiB")

    async def _event(self) -> object:
        while (event := self.connection.next_event()) is h11.NEED_DATA:
            self.connection.receive_data(await self.reader.read(_READ))
        return event


def _judge(head: h11.Response, *, whole: bool) -> None:
    """FeedError unless the content that follows is the document itself."""
    if 300 <= head.status_code < 400:
        raise FeedError(f"it answers {head.status_code}: redirects are not followed, write where it leads to")
    if head.status_code != 200:
        raise FeedError(f"it answers {head.status_code}")
    fields = dict(head.headers)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FeedError("it comes compressed, though it was asked not to")
    if whole and b"content-length" not in fields and b"transfer-encoding" not in fields:
        raise FeedError("its answer does not say where it ends, so it may have been cut off")


def _validator(head: h11.Response, name: bytes) -> str:
    value = dict(head.headers).get(name, b"").decode("latin-1")
    return value if _VALIDATOR.fullmatch(value) else ""
