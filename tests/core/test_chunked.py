"""The chunked coding: the threat model's F5 to F8 and D6, any cut gives the same, and h11 as the witness."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content import MAX_OVERHEAD, MAX_SIZE_LINE, MAX_TRAILER_LINES, MAX_TRAILERS, ChunkedDecoder
from proxy.errors import ProtocolError
from proxy.reasons import Reason
from tests.examples import examples

BAD = Reason.BAD_REQUEST


def decode(pieces, limit=None):
    """(content, done, rest, received), or (reason, detail) of the error."""
    decoder = ChunkedDecoder(limit)
    content = []
    try:
        for piece in pieces:
            # A view of a buffer that is written again at once: nothing may be kept of it.
            buffer = bytearray(piece)
            content.append(bytes(decoder.feed(memoryview(buffer))))
            buffer[:] = b"!" * len(buffer)
    except ProtocolError as error:
        return error.reason, error.detail
    return b"".join(content), decoder.done, decoder.rest, decoder.received


def both_ways(data: bytes, limit=None):
    """The verdict on ``data``, the same in one piece and byte by byte."""
    whole = decode([data], limit)
    assert decode([data[at : at + 1] for at in range(len(data))], limit) == whole
    return whole


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"00005\r\nhello\r\n0000\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"2\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n", b"\r\n0\r"),
        (b"1;a\r\nx\r\n1;a=b;c\r\ny\r\n0;d=e\r\n\r\n", b"xy"),
        (b'1;a="b;c \\" \\\\ d"\r\nx\r\n0;a=""\r\n\r\n', b"x"),
        (b"0\r\nA: b\r\nc:\r\nContent-Length: 5\r\nHost: x\xff\r\n\r\n", b""),
    ],
)
def test_content(data, content):
    assert both_ways(data) == (content, True, b"", len(content))
    assert decode([data + b"GET / HTTP/1.1\r\n"]) == (content, True, b"GET / HTTP/1.1\r\n", len(content))
    for end in range(len(data)):
        assert decode([data[:end]])[1] is False


def test_what_comes_later_is_kept_apart():
    assert decode([b"1\r\nx\r\n0\r\n\r\na", b"b", b"", b"c"]) == (b"x", True, b"abc", 1)


def test_content_stays_in_the_view_it_came_in():
    buffer = bytearray(b"5\r\nhello\r\n8;a=b\r\n, world!\r\n3\r\n..")
    content = ChunkedDecoder(None).feed(memoryview(buffer))
    assert isinstance(content, memoryview)
    assert (bytes(content), content.obj is buffer) == (b"hello, world!..", True)


def test_the_middle_of_a_chunk_is_not_copied():
    decoder = ChunkedDecoder(None)
    assert decoder.feed(b"10\r\n01234") == b"01234"
    piece = b"56789"
    assert decoder.feed(piece) is piece
    assert decoder.feed(b"abcdef\r\n1\r\nx\r\n") == b"abcdefx"
    assert (decoder.received, decoder.done) == (17, False)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        *[
            (size + b"\r\n", "bad_chunk")
            for size in (
                *(
                    b"",
                    b" 5",
                    b"5 ",
                    b"\t5",
                    b"5\t",
                    b"+5",
                    b"-5",
                    b"0x5",
                    b"5_0",
                    b"g",
                    b"5g",
                    b"5,",
                    b"\xd9\xa5",
                    b"5h",
                ),
                *(
                    b"1" * 17,
                    b"0" * 17,
                    b"5;",
                    b"5; a",
                    b"5 ;a",
                    b"5;a=",
                    b"5;=b",
                    b"5;a b",
                    b"5;a=b c",
                    b'5;a="',
                    b'5;a="b',
                ),
                *(
                    b'5;a="\\"',
                    b'5;a="b"c',
                    b"5;a=(b)",
                    b"5;a;;b",
                    b"5;a\x01",
                    b"5;a=\x00",
                    b"5;a\t",
                    b"5;\xe9",
                    b'5;a="\xe9"',
                ),
                *(b'5;a="\t"', b"5;a\rb", b"5\r", b"5\r5", b'5;a="b\rc"', b"5;a\x7f", b"\x00", b"5\x0b", b"5\x0c"),
            )
        ],
        (b"5\nhello", "bare_lf"),
        (b"\n", "bare_lf"),
        (b"5;a\n", "bare_lf"),
        (b'5;a="\n"', "bare_lf"),
        (b"5\r\nhello\n", "bare_lf"),
        (b"5\r\nhello\r\r", "bad_chunk"),
        (b"5\r\nhelloX", "bad_chunk"),
        (b"5\r\nhello5\r\n", "bad_chunk"),
        (b"5\r\nhello\rX", "bad_chunk"),
        (b"5\r\nhello\r\n\r\n", "bad_chunk"),
        (b"5\r\nhello\r\n\n", "bare_lf"),
        (b"0\n", "bare_lf"),
        (b"0\r\n\n", "bare_lf"),
        (b"0\r\n\rX", "bad_trailer"),
        (b"0\r\nA: b\n\r\n", "bare_lf"),
        (b"0\r\nA: b\r\n\n", "bare_lf"),
        (b"0\r\nA: b\r\n c\r\n\r\n", "bad_trailer"),
        (b"0\r\n A: b\r\n\r\n", "bad_trailer"),
        (b"0\r\nA : b\r\n\r\n", "bad_trailer"),
        (b"0\r\n: b\r\n\r\n", "bad_trailer"),
        (b"0\r\nA\r\n\r\n", "bad_trailer"),
        (b"0\r\nA: \x00\r\n\r\n", "bad_trailer"),
        (b"0\r\nA: b\rc\r\n\r\n", "bad_trailer"),
        (b"0\r\nA: \x7f\r\n\r\n", "bad_trailer"),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", "bad_trailer"),
    ],
)
def test_bad_framing(data, detail):
    assert both_ways(data) == (BAD, detail)
    assert both_ways(b"1\r\nx\r\n" + data) == (BAD, detail)


def test_body_limit_is_judged_at_the_size_line():
    too_large = (Reason.BODY_TOO_LARGE, "chunk_size")
    assert both_ways(b"a\r\n0123456789\r\n0\r\n\r\n", 10)[0] == b"0123456789"
    assert both_ways(b"b\r\n", 10) == too_large
    assert both_ways(b"a\r\n0123456789\r\n1\r\n", 10) == too_large
    assert both_ways(b"f" * 16 + b"\r\n", 10) == too_large
    assert both_ways(b"1\r\n", 0) == too_large
    assert both_ways(b"0\r\n\r\n", 0)[1] is True


def test_size_line_limit():
    longest = b"5;" + b"a" * (MAX_SIZE_LINE - 2)
    assert both_ways(longest + b"\r\nhello\r\n0\r\n\r\n")[0] == b"hello"
    assert both_ways(longest + b"a\r\nhello\r\n0\r\n\r\n") == (BAD, "bad_chunk")
    assert both_ways(longest + b"aa") == (BAD, "bad_chunk")
    assert decode([longest + b"a" * 100_000 + b"\r\n"]) == (BAD, "bad_chunk")


def test_overhead_limit():
    # A chunk of one byte has 5 bytes of framing, 4 more than its content, which counts when it has come.
    count = MAX_OVERHEAD // 4 - 1
    assert decode([b"1\r\nx\r\n" * count])[0] == b"x" * count
    assert decode([b"1\r\nx\r\n" * (count + 1)]) == (BAD, "chunk_overhead")
    extended = b"1;" + b"a" * 200 + b"\r\nx\r\n"
    assert both_ways(extended * 100) == (BAD, "chunk_overhead")
    assert decode([b"64\r\n" + b"x" * 100 + b"\r\n"] * 10_000)[3] == 1_000_000


def test_trailer_limits():
    too_large = (Reason.HEAD_TOO_LARGE, "trailers")
    assert both_ways(b"0\r\n" + b"A: b\r\n" * MAX_TRAILER_LINES + b"\r\n")[1] is True
    assert both_ways(b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_LINES + 1)) == too_large
    half = b"A:" + b"b" * (MAX_TRAILERS // 2 - 2) + b"\r\n"
    assert both_ways(b"0\r\n" + half + half + b"\r\n")[1] is True
    assert both_ways(b"0\r\n" + half + half[:-2] + b"b\r\n\r\n") == too_large
    assert both_ways(b"0\r\n" + half + half + b"A:\r\n") == too_large
    assert decode([b"0\r\nA:" + b"b" * 100_000]) == too_large


# Properties.

PIECES = [
    *(
        b"0",
        b"5",
        b"a",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello",
        b";a",
        b"=b",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b"A: b",
        b":",
        b"\x00",
        b"\xff",
    ),
    *(
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"X: y\r\n",
        b'3;a="b c"\r\nabc\r\n',
        b"F" * 16,
    ),
]
NEAR_THE_BORDER = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@st.composite
def cut(draw, data):
    """``data`` and the pieces of some cut of it."""
    whole = draw(data)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return whole, [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@examples(300)
@given(cut(NEAR_THE_BORDER | st.binary(max_size=60)), st.sampled_from([None, 7]))
def test_any_cut_gives_the_same(example, limit):
    whole, pieces = example
    assert decode(pieces, limit) == decode([whole], limit)


def chunks(contents: list[bytes]) -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(content), content) for content in contents) + b"0\r\n\r\nrest"


@given(cut(st.lists(st.binary(min_size=1, max_size=300), max_size=8).map(chunks)))
def test_good_content_in_any_cut(example):
    whole, pieces = example
    content, done, rest, received = decode(pieces)
    assert (done, rest, received) == (True, b"rest", len(content))
    assert content == witness(whole)


def witness(data: bytes) -> bytes:
    """The content that h11 decodes; it raises where it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(connection.next_event(), h11.Request)
    content = b""
    while isinstance(event := connection.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage) or event is h11.NEED_DATA
    return content


@examples(300)
@given(NEAR_THE_BORDER)
def test_h11_decodes_what_we_accept(data):
    verdict = decode([data])
    if isinstance(verdict[0], bytes):
        assert witness(data) == verdict[0]


@pytest.mark.parametrize("cut", [1, 3, 100, 255, 256, 257])
@pytest.mark.parametrize("size", [MAX_SIZE_LINE, MAX_SIZE_LINE + 1, MAX_SIZE_LINE + 3])
def test_the_length_of_a_size_line_in_any_cut(size, cut):
    line = b"1;a=" + b"b" * (size - 4)
    verdict = decode([line[:cut], line[cut:] + b"\r\nx\r\n0\r\n\r\n"])
    assert verdict == ((b"x", True, b"", 1) if size <= MAX_SIZE_LINE else (BAD, "bad_chunk"))


def test_the_overhead_to_the_byte():
    line = b"1;a=" + b"b" * 250 + b"\r\n"  # with the CRLF behind the data: 258 of framing for one of content
    count = MAX_OVERHEAD // 257  # each chunk earns one byte of overhead
    good = (line + b"x\r\n") * count
    assert decode([good])[0] == b"x" * count
    used, earned = 258 * count, count
    room = MAX_OVERHEAD + earned - used
    assert room > 5
    exact = b"1;a=" + b"b" * (room - 8) + b"\r\nx\r\n"
    assert decode([good + exact])[0] == b"x" * (count + 1)
    assert decode([good + exact.replace(b"b", b"bb", 1)]) == (BAD, "chunk_overhead")


def test_a_line_feed_behind_the_data_is_named():
    assert decode([b"5\r\nhello\nX"]) == (BAD, "bare_lf")
