"""``Tape``: what passes in one exchange, written down for the console within bounds, while deliveries go on as ever.

A tape takes the immutable pieces that an exchange has read, never its buffers, and only as many bytes as its ``Ledger``
has room for: what does not fit is cut, and counted. Where nothing is to be written down there is a plain ``Relay``, and
no more work than ever. It never judges, and knows no console.
"""

from __future__ import annotations

from proxy.core.keeping import KeepingRelay
from proxy.core.relay import Relay
from proxy.http1 import Piece, RequestHead, ResponseHead
from proxy.values import mutable

#: Of an answer, so much is kept: what is wrong stands in its beginning.
ANSWER_BYTES = 64 * 1024
#: What a piece takes besides its bytes: of crumbs it is the most.
PIECE_BYTES = 64


@mutable
class Ledger:
    """The bytes that the tapes of all exchanges under way may still take, and at most one of them."""

    free: int
    most: int


class Tape:
    """One exchange's. ``cut``, ``answer_cut``: not all was kept. ``reply`` is the head of the answer as it was sent."""

    __slots__ = ("_answer_room", "_ledger", "answer", "answer_cut", "body", "cut", "reply", "taken")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.taken = 0
        self.body: list[bytes] = []
        self.cut = False
        self.reply: ResponseHead | None = None
        self.answer: list[bytes] = []
        self._answer_room = ANSWER_BYTES
        self.answer_cut = False

    def take(self, piece: Piece) -> None:
        """A piece of the request's content, in order."""
        size = len(piece) + PIECE_BYTES
        ledger = self._ledger
        if self.cut or size > ledger.free or self.taken + size > ledger.most:
            self.cut = True
            return
        ledger.free -= size
        self.taken += size
        self.body.append(bytes(piece))

    def take_answer(self, content: list[bytes]) -> None:
        """Content of the answer, in order."""
        ledger = self._ledger
        for piece in content:
            if self.answer_cut:
                return
            room = max(min(self._answer_room, ledger.free - PIECE_BYTES), 0)
            self.answer_cut = len(piece) > room
            begins = piece[:room]
            size = len(begins) + min(PIECE_BYTES, ledger.free)
            ledger.free -= size
            self._answer_room -= len(begins)
            self.taken += size
            self.answer.append(begins)

    def wind_up(self) -> None:
        """The exchange has ended: what was taken is another's to keep now."""
        self._ledger.free += self.taken


class TapedRelay(Relay):
    """A relay that has a tape run along. It decides nothing else than any relay, and does nothing more."""

    __slots__ = ("tape",)
    tape: Tape

    def skipped(self, body: bytes) -> None:
        """The body of a refused head came along."""
        if body:
            self.tape.take(body)
        super().skipped(body)

    def whole(self, body: bytes) -> None:
        """All of the content at once."""
        if body:
            self.tape.take(body)
        super().whole(body)

    def content(self, piece: Piece) -> None:
        """More of the content."""
        self.tape.take(piece)
        super().content(piece)

    def answered(self, head: ResponseHead, content: list[bytes], *, ended: bool, now: float) -> None:
        """The final head of the answer has come."""
        self.tape.reply = head
        if content:
            self.tape.take_answer(content)
        super().answered(head, content, ended=ended, now=now)

    def more(self, content: list[bytes], *, ended: bool, now: float) -> None:
        """More content of the answer."""
        self.tape.take_answer(content)
        super().more(content, ended=ended, now=now)


class TapedKeepingRelay(TapedRelay, KeepingRelay):
    """The same of a route that keeps what it is sent."""

    __slots__ = ()


def head_bytes(head: RequestHead) -> bytes:
    """A request head as bytes, from its parts."""
    start = b"%b %b HTTP/1.%d" % (head.method, head.target, head.minor)
    return b"\r\n".join([start, *head.lines, b"", b""])
