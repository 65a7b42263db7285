"""The content of a message: where that of a request ends, by its length or by its last chunk (RFC 9112 section 6.3),
and how content goes on, in our framing (``Passage``).

``ContentReader`` is fed with what comes after the head, in any cut, gives the content in it and keeps what lies beyond
the end, which is the next request's. It hashes nothing and holds no content back.

Theory of the chunked coding, which is decoded strictly and in linear time (RFC 9112 section 7.1). The decoder stands in
one of five states, which are the five things that can come next::

    SIZE -> DATA -> DATA_END -> SIZE …          a chunk
    SIZE -> TRAILER … -> DONE                   after the last chunk ("0")

Lines (SIZE, TRAILER) are matched where they stand when they come whole; the beginning of a line that is cut off waits
in ``_line``, which is bounded. Whether a line is good does not depend on where it was cut: it is judged at its first
byte with which it cannot become a good line any more. Content is moved once, out of its framing. Chunk extensions and
trailers are checked, counted and dropped: nothing of them is ever passed on. The decoder knows no head and no socket.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from proxy.core.grammar import TOKEN_CHARS, VALUE_CHARS
from proxy.errors import ProtocolError
from proxy.http1 import Framing, Piece, RequestHead, as_chunk
from proxy.reasons import Reason

MAX_SIZE_LINE = 256  # bytes before CRLF; real ones have 8
MAX_OVERHEAD = 16 * 1024  # bytes of framing beyond one for each byte of content
MAX_TRAILERS = 4096  # bytes before their CRLFs
MAX_TRAILER_LINES = 16


class _State(Enum):
    SIZE = "size"
    DATA = "data"
    DATA_END = "data_end"
    TRAILER = "trailer"
    DONE = "done"


# Aliases, because a member costs three times a global on the hot path.
_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = _State


class _LineForm(NamedTuple):
    """One kind of line: the whole of it, how far one may have come, and what is said of a bad and a long one."""

    whole: re.Pattern[bytes]
    beginning: re.Pattern[bytes]
    bad: str
    too_long: tuple[Reason, str]


# No blanks around the size or in extensions, though the RFC bears them: F7 of the threat model.
_EXTENSION = rb';[%b]++(?:=(?:[%b]++|"(?:[ !\x23-\x5b\x5d-\x7e]|\\[ -~])*"))?' % (TOKEN_CHARS, TOKEN_CHARS)
_SIZE_LINE = _LineForm(
    re.compile(rb"([0-9A-Fa-f]{1,16}+)(?:%b)*\r\n" % _EXTENSION),
    re.compile(rb"(?:[0-9A-Fa-f]{1,16}+(?:;[ -~]*+)?+\r?+)?+"),
    "bad_chunk",
    (Reason.BAD_REQUEST, "bad_chunk"),
)
_NEXT_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16}+)\r\n")
_TRAILER_LINE = _LineForm(
    re.compile(rb"((?:[%b]++:[%b]*+)?+)\r\n" % (TOKEN_CHARS, VALUE_CHARS)),
    re.compile(rb"(?:[%b]++(?::[%b]*+)?+)?+\r?+" % (TOKEN_CHARS, VALUE_CHARS)),
    "bad_trailer",
    (Reason.HEAD_TOO_LARGE, "trailers"),
)


class ChunkedDecoder:
    """Decodes one chunked content of at most ``limit`` bytes (None: no bound).

    ``done`` turns true after the last CRLF; ``rest`` then holds what came behind it, and what is fed later.
    ``received`` counts the bytes of content.
    """

    __slots__ = (
        "_left",
        "_limit",
        "_line",
        "_overhead",
        "_state",
        "_trailer_bytes",
        "_trailer_lines",
        "received",
        "rest",
    )

    def __init__(self, limit: int | None) -> None:
        self.received = 0
        self.rest = b""
        self._limit = limit
        self._state = _SIZE
        self._line = b""  # the beginning of a line, or the CR after a chunk's data
        self._left = 0  # bytes that the chunk in work still has
        self._overhead = 0
        self._trailer_bytes = 0
        self._trailer_lines = 0

    @property
    def done(self) -> bool:
        """Whether the whole content has come, with its trailer section and last CRLF."""
        return self._state is _DONE

    def feed(self, data: Piece) -> Piece:
        """Take bytes as they came, of which nothing is kept but copies, and give the content in them. What is in a view
        is moved together at its beginning, and given as a part of it.

        Raises ProtocolError, and nothing else: BAD_REQUEST (``bad_chunk``, ``bare_lf``, ``chunk_overhead``,
        ``bad_trailer``), BODY_TOO_LARGE as soon as a chunk size says so, HEAD_TOO_LARGE for trailers. After an error
        the decoder must not be fed again.
        """
        view = memoryview(data)
        pieces: list[memoryview] = []
        position, end = 0, len(view)
        while position < end:
            state = self._state
            if state is _DATA:
                piece = view[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self.received += len(piece)
                self._left -= len(piece)
                if not self._left:
                    position = self._end_chunk(data, position)
            elif state is _SIZE:
                position = self._take_size(data, position)
            elif state is _DATA_END:
                position = self._take_data_end(data, position)
            elif state is _TRAILER:
                position = self._take_trailer(data, position)
            else:
                self.rest += view[position:]
                break
        if len(pieces) == 1 and len(pieces[0]) == end:
            return data  # the middle of a large chunk
        return b"".join(pieces) if isinstance(data, bytes) else _moved_together(view, pieces)

    def _end_chunk(self, data: Piece, position: int) -> int:
        """All of a chunk's content is here; the next chunk's size nearly always follows at once, without extensions."""
        found = _NEXT_SIZE.match(data, position)
        if found is None:
            self._state = _DATA_END
            return position
        self._begin_chunk(int(found[1], 16), found.end() - position - 2)
        return found.end()

    def _take_size(self, data: Piece, position: int) -> int:
        found, position = self._take_line(_SIZE_LINE, MAX_SIZE_LINE, data, position)
        if found is None:
            return position
        self._begin_chunk(int(found[1], 16), found.end() - found.start())
        return position

    def _begin_chunk(self, size: int, line_bytes: int) -> None:
        if self._limit is not None and self.received + size > self._limit:
            raise ProtocolError(Reason.BODY_TOO_LARGE, "chunk_size")
        self._overhead += line_bytes + 2
        if self._overhead > MAX_OVERHEAD + self.received:
            raise ProtocolError(Reason.BAD_REQUEST, "chunk_overhead")
        self._left = size
        self._state = _DATA if size else _TRAILER

    def _take_data_end(self, data: Piece, position: int) -> int:
        taken = data[position : position + 2 - len(self._line)]
        end = self._line + taken
        if end == b"\r\n":
            self._line = b""
            self._state = _SIZE
        elif end == b"\r":
            self._line = end
        else:
            raise ProtocolError(Reason.BAD_REQUEST, "bare_lf" if end[:1] == b"\n" else "bad_chunk")
        return position + len(taken)

    def _take_trailer(self, data: Piece, position: int) -> int:
        found, position = self._take_line(_TRAILER_LINE, MAX_TRAILERS - self._trailer_bytes, data, position)
        if found is None:
            return position
        if not found[1]:
            self._state = _DONE
            return position
        self._trailer_bytes += len(found[1])
        self._trailer_lines += 1
        if self._trailer_lines > MAX_TRAILER_LINES:
            raise ProtocolError(Reason.HEAD_TOO_LARGE, "trailers")
        return position

    def _take_line(
        self, line: _LineForm, maximum: int, data: Piece, position: int
    ) -> tuple[re.Match[bytes] | None, int]:
        """A whole line of at most ``maximum`` bytes before its CRLF, or None when its end is still to come."""
        waiting = self._line
        longest = maximum + 2 - len(waiting)
        if not waiting:
            found = line.whole.match(data, position, position + longest)
            if found is not None:
                return found, found.end()
        near = bytes(data[position : position + longest])
        newline = near.find(b"\n")
        taken = near[: newline + 1] if newline >= 0 else near
        text = waiting + taken
        found = line.whole.fullmatch(text)
        if found is not None:
            self._line = b""
            return found, position + len(taken)
        _judge_beginning(line, text, maximum)
        self._line = text
        return None, position + len(taken)


def _moved_together(view: memoryview, pieces: list[memoryview]) -> memoryview:
    """``pieces``, which lie in ``view`` in this order, one behind the other."""
    size = 0
    for piece in pieces:
        view[size : size + len(piece)] = piece
        size += len(piece)
    return view[:size]


def _judge_beginning(line: _LineForm, text: bytes, maximum: int) -> None:
    """Raise unless ``text``, which has no whole line, can still become one."""
    good = line.beginning.match(text)
    length = good.end() if good else 0
    if length < len(text):
        bare = text[length : length + 1] == b"\n" and text[length - 1 : length] != b"\r"
        raise ProtocolError(Reason.BAD_REQUEST, "bare_lf" if bare else line.bad)
    if length > maximum + 1:
        raise ProtocolError(*line.too_long)


class ContentReader:
    """The content of one request. ``ended`` turns true with its last byte; ``rest`` is what came after that."""

    __slots__ = ("_chunked", "_remaining", "ended", "rest")

    def __init__(self, head: RequestHead, max_body: int) -> None:
        """``max_body`` in bytes bounds chunked content; a declared length has been judged with the head."""
        self._chunked = ChunkedDecoder(max_body) if head.framing is Framing.CHUNKED else None
        self._remaining = head.content_length or 0
        self.ended = False
        self.rest = b""

    def feed(self, data: Piece) -> Piece:
        """The content in ``data``, as a part of it where that is a view, which may be changed.

        Raises ProtocolError where the framing is broken or the content too large.
        """
        if self._chunked is not None:
            content = self._chunked.feed(data)
            self.ended = self._chunked.done
            self.rest = self._chunked.rest
            return content
        content = data[: self._remaining]
        self.rest = bytes(data[len(content) :])
        self._remaining -= len(content)
        self.ended = not self._remaining
        return content


# -- ``Passage``: one message on its way through, a request to its upstream or an answer to its client.
#
# Content is put in as it comes, and nothing comes out before the message has begun, with a head that we have written:
# then all of it does, cut into chunks of ours where its length was not declared (RFC 9112 section 7.1). It knows
# neither end, and whether anything may leave is not its to say.


class Passage:
    """One message. ``size`` counts the content that was put in, ``ended`` says that no more is to come."""

    __slots__ = ("_chunked", "_pieces", "ended", "size")

    def __init__(self, pieces: Sequence[Piece], *, ended: bool) -> None:
        """It has come so far."""
        self._chunked = False
        self._pieces = [*pieces]
        self.ended = ended
        self.size = 0
        for piece in pieces:
            self.size += len(piece)

    def put(self, pieces: Sequence[Piece], *, ended: bool) -> None:
        """More content; ``ended`` where that was all."""
        self._pieces += pieces
        self.ended = ended
        for piece in pieces:
            self.size += len(piece)

    def begin(self, head: bytes, *, chunked: bool) -> list[Piece]:
        """The first bytes that leave: the head, and what has come."""
        self._chunked = chunked
        return [head, *self.take()]

    def waiting(self) -> bytes:
        """What has come and not left, in one piece; it stays here."""
        return b"".join(self._pieces)

    def take(self) -> list[Piece]:
        """What has come since, as it leaves."""
        pieces, self._pieces = self._pieces, []
        return as_chunk(pieces, last=self.ended) if self._chunked else pieces


#: Of a message that has not begun, or is over. Nothing is put in.
NOTHING = Passage([], ended=True)
