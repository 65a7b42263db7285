"""Answer heads: the threat model's R1 to R7, and h11 as the witness for whatever is accepted."""

from math import inf

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.grammar import BLANK_AT_END
from proxy.core.response_head import FAST_HEAD, MAX_FIELDS, MAX_HEAD, idle_limit_s, read_response_head
from proxy.errors import ProtocolError
from proxy.http1 import Framing, field
from proxy.reasons import Reason
from tests.examples import examples


def head(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n"


def attempt(buffer: bytes, method: bytes = b"POST"):
    """What the reader gives, or the detail of what it raises (the reason, were it another than the one there is)."""
    try:
        return read_response_head(buffer, method)
    except ProtocolError as error:
        return error.detail if error.reason is Reason.UPSTREAM_INVALID else error.reason


def byte_by_byte(buffer: bytes):
    for end in range(len(buffer) + 1):
        verdict = attempt(buffer[:end])
        if verdict is not None:
            return verdict
    return None


def read(buffer: bytes, method: bytes = b"POST"):
    found = read_response_head(buffer, method)
    assert found is not None
    answer, consumed = found
    assert consumed == buffer.index(b"\r\n\r\n") + 4
    return answer


def test_an_answer():
    answer = read(
        head(b"Content-Type: a/b", b"Content-Length:  2\t", b"Set-Cookie: a", b"set-cookie: b", b"X_Y:") + b"{}"
    )
    assert (answer.status, answer.phrase, answer.minor) == (200, b"OK", 1)
    assert (answer.framing, answer.content_length, answer.keep_alive) == (Framing.LENGTH, 2, True)
    assert answer.fields[1:4] == [
        (b"content-length", b"Content-Length: 2"),
        (b"set-cookie", b"Set-Cookie: a"),
        (b"set-cookie", b"set-cookie: b"),
    ]
    assert answer.get(b"set-cookie") == b"a"
    assert answer.get(b"x_y") == b""


@pytest.mark.parametrize(
    ("line", "status", "phrase"),
    [
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 404 Not Found", 404, b"Not Found"),
        (b"HTTP/1.1 599  odd\tphrase ", 599, b" odd\tphrase "),
        (b"HTTP/1.1 299 Qu\xc3\xa9", 299, b"Qu\xc3\xa9"),
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
        (b"HTTP/1.1 103 Early Hints", 103, b"Early Hints"),
    ],
)
def test_status_lines(line, status, phrase):
    answer = read(head(line=line))
    assert (answer.status, answer.phrase) == (status, phrase)


@pytest.mark.parametrize(
    "line",
    [
        *(b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 2x0 OK", b"HTTP/1.1  200 OK"),
        *(
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1 000 x",
            b"HTTP/1.1 600 x",
            b"HTTP/1.1 999 x",
        ),
        *(b"HTTP/1.1 -20 x", b"HTTP/1.1 +20 x", b"HTTP/1.2 200 OK", b"HTTP/1.1x 200 OK", b"HTTP/1.10 200 OK"),
        *(b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK", b"HTTP/1.1,200 OK"),
    ],
)
def test_bad_status_lines(line):
    assert attempt(head(line=line)) == "bad_status_line"
    assert attempt(line + b"\r\n") == "bad_status_line"


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"<html>",
        b"\r\n",
        b"\r\nHTTP/1.1",
        b" HTTP/1.1",
        b"\x15\x03\x01",
        b"{",
        b"\x00",
        b"HTTX",
        b"\n",
    ],
)
def test_what_is_no_answer_is_refused_at_once(start):
    assert attempt(start) == "bad_status_line"
    assert attempt(head(line=start)) == "bad_status_line"
    assert byte_by_byte(start) == "bad_status_line"


@pytest.mark.parametrize("size", range(len(head(b"A: b"))))
def test_beginnings_wait(size):
    assert attempt(head(b"A: b")[:size]) is None


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        (b"X: a\n", "bare_lf"),
        (b"X: a\nY: b", "bare_lf"),
        (b"X: a\rb", "bare_cr"),
        (b"X: \x00", "nul"),
        (b"X: \x01", "control_byte"),
        (b"X: \x7f", "control_byte"),
        (b" X: a", "obs_fold"),
        (b"X: a\r\n\tb", "obs_fold"),
        (b"X : a", "space_before_colon"),
        (b": a", "bad_field_name"),
        (b"X y: a", "bad_field_name"),
        (b"X", "no_colon"),
    ],
)
def test_bad_field_lines(field, detail):
    assert attempt(head(field, b"Y: z")) == detail
    assert attempt(head(b"Y: z", field)) == detail


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\r\nA: b\n"])
def test_bare_line_feeds_are_refused_at_once(part):
    assert attempt(part) == "bare_lf"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], "cl_te"),
        ([b"Transfer-Encoding: x", b"Content-Length: x"], "cl_te"),
        ([b"Content-Length: 5", b"Content-Length: 5"], "framing_repeated"),
        ([b"Content-Length: 5", b"X: y", b"content-length: 6"], "framing_repeated"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "framing_repeated"),
        *[
            ([b"Content-Length: " + value], "bad_content_length")
            for value in (b"", b"+5", b"-1", b"0x5", b"1_0", b"5, 5", b"1" * 20, b"\xb2", b"five")
        ],
        *[
            ([b"Transfer-Encoding: " + value], "bad_transfer_encoding")
            for value in (b"", b"gzip", b"gzip, chunked", b"chunked,", b"identity", b"xchunked", b"chunked\xc3\xa9")
        ],
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"HEAD"])
@pytest.mark.parametrize("status", [b"200", b"204", b"304", b"103"])
def test_bad_framing(fields, detail, method, status):
    assert attempt(head(*fields, line=b"HTTP/1.1 " + status + b" x"), method) == detail


def test_chunked_in_http10():
    assert attempt(head(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK")) == "te_in_http10"


def test_switching_protocols_is_never_agreed_to():
    assert attempt(head(b"Upgrade: h2c", line=b"HTTP/1.1 101 Switching Protocols")) == "switching_protocols"


LENGTH, CHUNKED, EMPTY = [b"Content-Length: 5"], [b"Transfer-Encoding: Chunked"], [b"Content-Length: 0"]


@pytest.mark.parametrize(
    ("method", "line", "fields", "verdict"),
    [
        (b"POST", b"HTTP/1.1 200 OK", LENGTH, (Framing.LENGTH, 5, True)),
        (b"POST", b"HTTP/1.1 200 OK", EMPTY, (Framing.LENGTH, 0, True)),
        (b"POST", b"HTTP/1.1 200 OK", CHUNKED, (Framing.CHUNKED, None, True)),
        (b"POST", b"HTTP/1.1 200 OK", [], (Framing.EOF, None, False)),
        (b"POST", b"HTTP/1.0 200 OK", LENGTH, (Framing.LENGTH, 5, False)),
        (b"POST", b"HTTP/1.0 200 OK", [b"Connection: keep-alive", *LENGTH], (Framing.LENGTH, 5, False)),
        (b"POST", b"HTTP/1.1 200 OK", [b"Connection: Close", *LENGTH], (Framing.LENGTH, 5, False)),
        (
            b"POST",
            b"HTTP/1.1 200 OK",
            [b"Connection: x", b"Connection: close", *CHUNKED],
            (Framing.CHUNKED, None, False),
        ),
        (b"HEAD", b"HTTP/1.1 200 OK", LENGTH, (Framing.NONE, 5, False)),
        (b"HEAD", b"HTTP/1.1 200 OK", CHUNKED, (Framing.NONE, None, False)),
        (b"HEAD", b"HTTP/1.1 200 OK", EMPTY, (Framing.NONE, 0, False)),
        (b"HEAD", b"HTTP/1.1 204 No Content", [], (Framing.NONE, None, False)),
        (b"HEAD", b"HTTP/1.1 304 Not Modified", [], (Framing.NONE, None, False)),
        (b"HEAD", b"HTTP/1.1 200 OK", [], (Framing.NONE, None, False)),
        (b"GET", b"HTTP/1.1 304 Not Modified", LENGTH, (Framing.NONE, 5, False)),
        (b"GET", b"HTTP/1.1 304 Not Modified", CHUNKED, (Framing.NONE, None, False)),
        (b"GET", b"HTTP/1.1 304 Not Modified", EMPTY, (Framing.NONE, 0, True)),
        (b"GET", b"HTTP/1.1 304 Not Modified", [], (Framing.NONE, None, True)),
        (b"POST", b"HTTP/1.1 204 No Content", [], (Framing.NONE, None, True)),
        (b"POST", b"HTTP/1.1 204 No Content", EMPTY, (Framing.NONE, None, True)),
        (b"POST", b"HTTP/1.1 204 No Content", LENGTH, (Framing.NONE, None, False)),
        (b"POST", b"HTTP/1.1 204 No Content", CHUNKED, (Framing.NONE, None, False)),
        (b"POST", b"HTTP/1.1 100 Continue", [], (Framing.NONE, None, True)),
        (b"POST", b"HTTP/1.1 100 Continue", LENGTH, (Framing.NONE, None, False)),
        (b"POST", b"HTTP/1.1 205 Reset Content", LENGTH, (Framing.LENGTH, 5, True)),
    ],
)
def test_framing(method, line, fields, verdict):
    answer = read(head(*fields, line=line), method)
    assert (answer.framing, answer.content_length, answer.keep_alive) == verdict


ODD = head(b"X: \xff")


def test_h11_may_refuse_what_our_grammar_declined(monkeypatch):
    def refuse(connection):
        raise h11.RemoteProtocolError("odd")

    monkeypatch.setattr(h11.Connection, "next_event", refuse)
    assert attempt(ODD) == "h11"
    assert read(head(b"X: y"))


@pytest.mark.parametrize("other", [head(b"X: \xfe"), head(b"X: \xff", line=b"HTTP/1.1 201 OK"), head()[:-1]])
def test_h11_must_read_what_we_read(monkeypatch, other):
    receive = h11.Connection.receive_data
    monkeypatch.setattr(h11.Connection, "receive_data", lambda connection, data: receive(connection, other))
    assert attempt(ODD) == "h11"


def test_bytes_over_ascii_pass_in_values():
    assert read(head(b"X: caf\xe9")).get(b"x") == b"caf\xe9"
    assert read(head(b"X: Xyl\xf6ph0nX")).get(b"x") == b"Xyl\xf6ph0nX"


@pytest.mark.parametrize("lines", [(b"X: a ", b"Y: b"), (b"X: a", b"Y: b "), (b"X:a ", b"Y: b"), (b"X:a", b"Y: b ")])
def test_blanks_at_the_end_of_a_line_are_none_of_its_value(lines):
    answer = read(head(*lines))
    assert answer.fields == [(b"x", b"X: a"), (b"y", b"Y: b")]
    assert (answer.get(b"x"), answer.get(b"y")) == (b"a", b"b")


@pytest.mark.parametrize("odd", [b"X: y", b"X: \xff"])
def test_field_count_limit(odd):
    assert len(read(head(odd, *[b"A: b"] * (MAX_FIELDS - 1))).fields) == MAX_FIELDS
    assert attempt(head(odd, *[b"A: b"] * MAX_FIELDS)) == "head_too_large"


def test_head_limit():
    fixed = len(head(b"X: "))
    longest = head(b"X: " + b"a" * (MAX_HEAD - fixed))
    assert len(read(longest).get(b"x")) == MAX_HEAD - fixed
    assert attempt(longest[:-1]) is None
    assert attempt(head(b"X: " + b"a" * (MAX_HEAD - fixed + 1))) == "head_too_large"
    assert attempt(b"HTTP/1.1 200 " + b"a" * MAX_HEAD) == "head_too_large"


GOOD_FIELDS = [
    *(
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"X: y z",
        b"X-Y:\t1 ",
        b"x:",
        b"X_Y: 1",
    ),
    *(b"X: \xc3\xa9", b"a-b.c!: d", b"Set-Cookie: a=b; c=d", b"Date: Thu, 01 Jan 2026 00:00:00 GMT"),
]
ODD_PIECES = [
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n ",
        b" ",
        b"\t",
        b":",
        b"\x00",
        b"\x01",
        b"\x0b",
        b"\x0c",
        b"\x7f",
        b"\x80",
        b"\xa0",
    ),
    *(b"_", b",", b"HTTP/1.0", b"HTTP/2.0", b"chunked", b"Content-Length: 5\r\n", b"5", b"0", b"\xff", b"\x85"),
]


@st.composite
def heads_near_the_border(draw):
    line = draw(
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.1 204", b"HTTP/1.0 304 ", b"HTTP/1.1 100 Continue", b"HTTP/1.1 600 x"]
        )
    )
    buffer = head(*draw(st.lists(st.sampled_from(GOOD_FIELDS), max_size=6)), line=line)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(buffer)))
        cut = draw(st.integers(0, 2))
        buffer = buffer[:at] + draw(st.sampled_from(ODD_PIECES)) + buffer[at + cut :]
    return buffer


def witness(buffer: bytes, method: bytes) -> h11.Response | h11.InformationalResponse:
    """What h11 reads as the answer to ``method``; it raises where it refuses."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.receive_data(buffer)
    event = connection.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    return event


@examples(400)
@given(buffer=heads_near_the_border(), method=st.sampled_from([b"POST", b"HEAD"]))
def test_h11_reads_what_we_accept(buffer, method):
    verdict = attempt(buffer, method)
    if verdict is None or isinstance(verdict, str):
        return
    answer, consumed = verdict
    event = witness(buffer[:consumed], method)
    assert (event.status_code, event.reason, event.http_version) == (
        answer.status,
        answer.phrase,
        b"1.%d" % answer.minor,
    )
    assert [field(name, value) for name, value in event.headers.raw_items()] == answer.fields
    assert [name for name, _ in event.headers] == [lower for lower, _ in answer.fields]


@examples(300)
@given(heads_near_the_border())
def test_h11_reads_the_same_where_the_fast_grammar_matches(buffer):
    end = buffer.find(b"\r\n\r\n")
    found = FAST_HEAD.fullmatch(buffer, 0, end + 2)
    if end < 0 or found is None or isinstance(attempt(buffer), str):
        return
    minor, status, phrase, block = found.groups()
    event = witness(buffer[: end + 4], b"POST")
    assert (event.status_code, event.reason, event.http_version) == (int(status), phrase, b"1." + minor)
    if BLANK_AT_END in block:
        return
    split = [line.partition(b": ") for line in block.split(b"\r\n")[:-1]]
    assert event.headers.raw_items() == [(name, value) for name, _, value in split]


@examples(100)
@given(heads_near_the_border())
def test_in_whatever_pieces_it_comes_the_verdict_is_the_same(buffer):
    whole, split = attempt(buffer), byte_by_byte(buffer)
    # The word may differ where a head has two flaws; the answer may not.
    assert type(split) is type(whole)
    assert isinstance(whole, str) or split == whole


@examples(150)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(GOOD_FIELDS + ODD_PIECES), max_size=20).map(b"".join))
def test_any_bytes_give_a_head_or_a_protocol_error(buffer):
    attempt(buffer)
    attempt(buffer + b"\r\n\r\n")
    attempt(b"HTTP/1.1 200 OK\r\n" + buffer + b"\r\n\r\n")


def test_the_first_of_two_heads_is_read():
    interim, final = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    found = read_response_head(interim + final, b"POST")
    assert found is not None
    assert (found[0].status, found[1]) == (100, len(interim))


def test_an_unusual_head_with_content_behind_it():
    unusual = b"HTTP/1.1 200 OK\r\nX-A: \xe9\r\nContent-Length: 5\r\n\r\n"
    found = read_response_head(unusual + b"hello", b"POST")
    assert found is not None
    assert (found[0].framing, found[1]) == (Framing.LENGTH, len(unusual))
    found = read_response_head(unusual, b"HEAD")
    assert found is not None
    assert (found[0].framing, found[0].content_length) == (Framing.NONE, 5)


def test_close_counts_in_its_own_field_alone():
    found = read_response_head(b"HTTP/1.1 200 OK\r\nX-Door: close\r\nContent-Length: 0\r\n\r\n", b"POST")
    assert found is not None
    assert found[0].keep_alive


def test_lengths_to_the_digit():
    for digits, good in ((19, True), (20, False)):
        data = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * digits + b"\r\n\r\n"
        if good:
            assert read_response_head(data, b"POST") is not None
        else:
            with pytest.raises(ProtocolError, match="bad_content_length"):
                read_response_head(data, b"POST")


def test_fields_of_an_answer_without_content_can_be_asked_for():
    found = read_response_head(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", b"POST")
    assert found is not None
    assert found[0].get(b"x-a") == b"b"


def test_a_head_that_fills_all_that_it_may():
    start = b"HTTP/1.1 200 OK\r\nX-A: "
    assert read_response_head(start + b"b" * (MAX_HEAD - len(start) - 1), b"POST") is None
    with pytest.raises(ProtocolError, match="head_too_large"):
        read_response_head(start + b"b" * (MAX_HEAD - len(start)), b"POST")


@pytest.mark.parametrize("size", [10, 2000])
def test_a_head_that_comes_again_means_the_same(size):
    data = head(b"Content-Length: 5", b"X-A: " + b"a" * size)
    assert vars_of(read(data)) == vars_of(read(data + b"other"))
    assert read(data, b"HEAD").framing is Framing.NONE
    assert read(data).framing is Framing.LENGTH


def vars_of(answer):
    return [getattr(answer, name) for name in answer.__slots__]


def test_only_connection_says_close():
    assert read(head(b"Connection: keep-alive", b"X-Note: close", b"Content-Length: 0")).keep_alive
    assert not read(head(b"X-Note: open", b"Connection: x, Close", b"Content-Length: 0")).keep_alive


def test_lengths_of_up_to_19_digits():
    assert read(head(b"Content-Length: " + b"9" * 19)).content_length == 10**19 - 1
    assert attempt(head(b"Content-Length: " + b"9" * 20)) == "bad_content_length"


@pytest.mark.parametrize(
    ("value", "limit_s"),
    [
        (b"timeout=5", 4.0),
        (b"timeout=5, max=100", 4.0),
        (b"max=100,timeout=65", 64.0),
        (b'Timeout = "2"', 1.0),
        (b"timeout=1", 0.0),
        (b"timeout=0", -1.0),
        (b"timeout=99999999999", inf),
        (b"timeout=-5", inf),
        (b"max=5", inf),
        (b"xtimeout=5", inf),
        (b"", inf),
    ],
)
def test_what_an_upstream_says_of_idle_connections(value, limit_s):
    assert idle_limit_s(read(head(b"Keep-Alive: " + value, b"Content-Length: 0"))) == limit_s


def test_an_upstream_that_says_nothing_of_idle_connections():
    assert idle_limit_s(read(head(b"Content-Length: 0"))) == inf
