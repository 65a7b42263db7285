"""Where the content of a request ends: by its length or by its last chunk (RFC 9112 section 6.3).

Fed with what comes after the head, in any cut, it gives the content in it and keeps what lies beyond the end, which is
the next request's. It hashes nothing and holds no content back.
"""

from __future__ import annotations

from proxy.core.chunked import ChunkedDecoder
from proxy.http1 import Framing, RequestHead


class ContentReader:
    """The content of one request. ``ended`` turns true with its last byte; ``rest`` is what came after that."""

    __slots__ = ("_chunked", "_remaining", "ended", "rest")

    def __init__(self, head: RequestHead, max_body: int) -> None:
        """``max_body`` in bytes bounds chunked content; a declared length has been judged with the head."""
        self._chunked = ChunkedDecoder(max_body) if head.framing is Framing.CHUNKED else None
        self._remaining = head.content_length or 0
        self.ended = False
        self.rest = b""

    def feed(self, data: bytes | memoryview) -> bytes:
        """The content in ``data``, of which nothing is kept but copies. ProtocolError where the framing is broken or
        the content too large.
        """
        if self._chunked is not None:
            content = self._chunked.feed(data)
            self.ended = self._chunked.done
            self.rest = self._chunked.rest
            return content
        content = bytes(data[: self._remaining])
        self.rest = bytes(data[len(content) :])
        self._remaining -= len(content)
        self.ended = not self._remaining
        return content
