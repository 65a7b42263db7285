"""``Passage``: one message on its way through, a request to its upstream or an answer to its client.

Content is put in as it comes, and nothing comes out before the message has begun, with a head that we have written:
then all of it does, cut into chunks of ours where its length was not declared (RFC 9112 section 7.1). It knows neither
end, and whether anything may leave is not its to say.
"""

from __future__ import annotations

from proxy.http1 import as_chunk


class Passage:
    """One message. ``size`` counts the content that was put in, ``ended`` says that no more is to come."""

    __slots__ = ("_chunked", "_pieces", "ended", "size")

    def __init__(self, pieces: list[bytes], *, ended: bool) -> None:
        """It has come so far; the list is taken over."""
        self._chunked = False
        self._pieces = pieces
        self.ended = ended
        self.size = 0
        for piece in pieces:
            self.size += len(piece)

    def put(self, pieces: list[bytes], *, ended: bool) -> None:
        """More content; ``ended`` where that was all."""
        self._pieces += pieces
        self.ended = ended
        for piece in pieces:
            self.size += len(piece)

    def begin(self, head: bytes, *, chunked: bool) -> list[bytes]:
        """The first bytes that leave: the head, and what has come."""
        self._chunked = chunked
        return [head, *self.take()]

    def waiting(self) -> bytes:
        """What has come and not left, in one piece; it stays here."""
        return b"".join(self._pieces)

    def take(self) -> list[bytes]:
        """What has come since, as it leaves."""
        pieces, self._pieces = self._pieces, []
        return as_chunk(pieces, last=self.ended) if self._chunked else pieces


#: Of a message that has not begun, or is over. Nothing is put in.
NOTHING = Passage([], ended=True)
