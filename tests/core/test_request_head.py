"""Request heads: the tables of the threat model, and h11 as the witness for whatever is accepted."""

import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import request_head as module
from proxy.core.grammar import BLANK_AT_END
from proxy.core.request_head import FAST_HEAD, HeadLimits, read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import Framing, field
from proxy.reasons import Reason
from tests.examples import examples

LIMITS = HeadLimits(max_head=16384, max_target=8192, max_fields=100)


def head(*fields: bytes, line: bytes = b"POST /hook HTTP/1.1", host: bytes | None = b"Host: example.com") -> bytes:
    lines = [line, *([] if host is None else [host]), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def attempt(buffer: bytes, limits: HeadLimits = LIMITS, known: int = 0):
    """What the reader gives, or (reason, detail) of what it raises."""
    try:
        return read_request_head(buffer, limits, known)
    except ProtocolError as error:
        return error.reason, error.detail


def byte_by_byte(buffer: bytes, limits: HeadLimits = LIMITS):
    """The first verdict when ``buffer`` comes in single bytes."""
    for end in range(len(buffer) + 1):
        verdict = attempt(buffer[:end], limits)
        if verdict is not None:
            return verdict
    return None


def read(buffer: bytes, limits: HeadLimits = LIMITS):
    found = read_request_head(buffer, limits)
    assert found is not None
    request, consumed = found
    assert consumed == buffer.index(b"\r\n\r\n", 2) + 4
    return request


BAD = Reason.BAD_REQUEST


def test_a_delivery():
    request = read(
        b"POST /flexdeploy/webhooks/v2/git?a=1 HTTP/1.1\r\nHost: Hooks.example.com:8443\r\nContent-Length:  12 \r\n"
        b"X-Hub-Signature-256:\tsha256=ab\r\nAccept: a\r\nACCEPT: b\r\nX-Empty:\r\n\r\n{}"
    )
    assert (request.method, request.minor) == (b"POST", 1)
    assert (request.target, request.path, request.query) == (
        b"/flexdeploy/webhooks/v2/git?a=1",
        b"/flexdeploy/webhooks/v2/git",
        b"a=1",
    )
    assert request.host == b"Hooks.example.com:8443"
    assert (request.framing, request.content_length) == (Framing.LENGTH, 12)
    assert request.keep_alive
    assert not request.expect_continue
    assert request.fields[1:3] == [
        (b"content-length", b"Content-Length: 12"),
        (b"x-hub-signature-256", b"X-Hub-Signature-256: sha256=ab"),
    ]
    assert request.get(b"accept") == b"a"
    assert request.get_all(b"accept") == [b"a", b"b"]
    assert request.repeated == {b"accept"}
    assert request.get(b"x-empty") == b""


@pytest.mark.parametrize("body", [b"", b"x", b"\r\n\r\n", b"\n", b"\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_follows_the_head_is_not_read(body):
    assert attempt(head() + body) == attempt(head())


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        pytest.param([], (Framing.NONE, None), id="no-content"),
        pytest.param([b"Content-Length: 0"], (Framing.LENGTH, 0), id="zero"),
        pytest.param([b"Content-Length: 0012"], (Framing.LENGTH, 12), id="leading-zeros"),
        pytest.param([b"content-length: 9999999999999999999"], (Framing.LENGTH, 9999999999999999999), id="19-digits"),
        pytest.param([b"Transfer-Encoding: chunked"], (Framing.CHUNKED, None), id="chunked"),
        pytest.param([b"TRANSFER-ENCODING:  Chunked "], (Framing.CHUNKED, None), id="chunked-any-case"),
    ],
)
def test_framing(fields, verdict):
    request = read(head(*fields))
    assert (request.framing, request.content_length) == verdict


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"+5", b"-1", b"0x5", b"1_0", b"5, 6", b"5, 5", b"5,", b"5 5", b"5;", b"5.0", b"1e3"),
        *(b"five", b"1" * 20, b"\xd9\xa5", b"\xc2\xb2", b'"5"'),
    ],
)
def test_bad_content_length(value):
    assert attempt(head(b"Content-Length: " + value)) == (BAD, "bad_content_length")


@pytest.mark.parametrize("value", [b"\t%b", b"%b\t", b" \t %b", b"%b\t%b"])
@pytest.mark.parametrize("field", [b"Content-Length: 5", b"transfer-encoding: chunked", b"Host: a"])
def test_tabs_in_fields_that_frame_or_route(field, value):
    name, _, plain = field.partition(b" ")
    lines = [name + value.replace(b"%b", plain), b"X-Other:\ta"]
    start = [b"POST / HTTP/1.1"] if name == b"Host:" else [b"POST / HTTP/1.1", b"Host: a"]
    assert attempt(b"\r\n".join([*start, *lines]) + b"\r\n\r\n") == (BAD, "tab_in_framing")


@pytest.mark.parametrize("lines", [(b"X: a ", b"Y: b"), (b"X: a", b"Y: b "), (b"X:a ", b"Y: b"), (b"X:a", b"Y: b ")])
def test_blanks_at_the_end_of_a_line_are_none_of_its_value(lines):
    request = read(head(*lines))
    assert request.fields[1:] == [(b"x", b"X: a"), (b"y", b"Y: b")]
    assert (request.values[b"x"], request.values[b"y"]) == (b"a", b"b")


def test_tabs_around_other_values_are_blanks():
    request = read(head(b"X-Other:\ta\tb\t", b"Content-Length: 0"))
    assert request.values[b"x-other"] == b"a\tb"


@pytest.mark.parametrize("second", [b"5", b"6", b"05", b""])
@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_content_length_twice(second, name):
    assert attempt(head(b"Content-Length: 5", b"X: y", name + b": " + second)) == (BAD, "bad_content_length")


@pytest.mark.parametrize("minor", [b"0", b"1"])
@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"x", b""])
@pytest.mark.parametrize("length", [b"5", b"0", b"x"])
def test_length_and_coding_together(minor, coding, length):
    fields = [b"Content-Length: " + length, b"Transfer-Encoding: " + coding]
    line = b"POST / HTTP/1." + minor
    assert attempt(head(*fields, line=line)) == (BAD, "cl_te")
    assert attempt(head(*reversed(fields), line=line)) == (BAD, "cl_te")


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"xchunked",
            b"chunkedx",
            b"chunked, identity",
            b"chunked,",
            b",chunked",
            b"identity",
            b"identity, chunked",
        ),
        *(
            b'"chunked"',
            b"chunked;q=1",
            b"chunked chunked",
            b"chunked, chunked",
            b"gzip",
            b"chunked, gzip",
            b"x, chunked",
        ),
        *(b"gzip,, chunked", b"gzip chunked", b"chun\xc3\xa9ked", b"\xa0chunked", b"gzip;q=1, chunked"),
    ],
)
def test_bad_transfer_encoding(value):
    assert attempt(head(b"Transfer-Encoding: " + value)) == (BAD, "bad_transfer_encoding")


@pytest.mark.parametrize(
    "value", [b"gzip, chunked", b"GZIP,Chunked", b"deflate , chunked", b"x-gzip, compress, chunked"]
)
def test_known_codings_are_unsupported(value):
    assert attempt(head(b"Transfer-Encoding: " + value)) == (Reason.CODING_UNSUPPORTED, "transfer_coding")


@pytest.mark.parametrize(
    "values", [(b"chunked", b"chunked"), (b"gzip", b"chunked"), (b"chunked", b"x"), (b"", b"chunked")]
)
def test_transfer_encoding_twice(values):
    fields = [b"Transfer-Encoding: " + value for value in values]
    assert attempt(head(*fields)) == (BAD, "bad_transfer_encoding")


def test_transfer_encoding_in_http10():
    fields = b"Transfer-Encoding: chunked"
    assert attempt(head(fields, line=b"POST / HTTP/1.0")) == (BAD, "te_in_http10")


@pytest.mark.parametrize(
    "line",
    [
        b"GET",
        b"GET ",
        b"GET /",
        b"GET / ",
        b"GET / HTTP",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"GET /a b HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1,1",
        b"GET / HTTP/a.b",
        b"GET / HTTPS/1.1",
        b"GET / ICY/1.1",
        b"G@T / HTTP/1.1",
        b"G\xc3\x89T / HTTP/1.1",
        b"GET:/ / HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"(GET) / HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"SSH-2.0-OpenSSH_9.9",
        b"Host: example.com",
    ],
)
def test_bad_request_lines(line):
    assert attempt(head(line=line)) == (BAD, "bad_request_line")
    assert attempt(line + b"\r\n") == (BAD, "bad_request_line")


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9", b"0.0"])
def test_other_versions(version):
    unsupported = (Reason.VERSION_UNSUPPORTED, "version")
    assert attempt(head(line=b"GET / HTTP/" + version)) == unsupported
    assert attempt(b"GET / HTTP/" + version + b"\r\n") == unsupported


def test_http2_preface():
    assert attempt(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == (Reason.VERSION_UNSUPPORTED, "version")


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"TRACK"])
@pytest.mark.parametrize("target", [b"/", b"example.com:443", b"*", b"//"])
def test_methods_that_never_pass(method, target):
    assert attempt(head(line=method + b" " + target + b" HTTP/1.1")) == (Reason.METHOD_NOT_ALLOWED, "method")


@pytest.mark.parametrize("method", [b"get", b"DELETE", b"PRI", b"M-SEARCH", b"!#$%&'*+-.^_`|~", b"A" * 200, b"trace"])
def test_methods_are_tokens(method):
    assert read(head(line=method + b" / HTTP/1.1")).method == method


@pytest.mark.parametrize(
    ("start", "detail"),
    [
        (b"\x16\x03\x01\x02\x00", "nul"),
        (b"\x16\x03\x01", "control_byte"),
        (b"\x80", "bad_request_line"),
        (b"\x00", "nul"),
        (b" ", "bad_request_line"),
        (b"{", "bad_request_line"),
        (b"\n", "bare_lf"),
        (b"\r\r", "bare_cr"),
        (b"\rG", "bare_cr"),
        (b"\r\n\n", "bare_lf"),
        (b"\r\n ", "bad_request_line"),
        (b"\r\n\r\n", "bad_request_line"),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        (b"GET\n", "bare_lf"),
        (b"GET /\n", "bare_lf"),
        (b"GET / HTTP/1.1\n", "bare_lf"),
        (b"GET / HTTP/1.1\rH", "bare_cr"),
        (b"GET / HTTP/1.1\r\nHost: a\n", "bare_lf"),
        (b"GET / HTTP/1.1\r\nHost: a\x00", "nul"),
        (b"GET / HTTP/1.1\r\nHost: a\x1b", "control_byte"),
        (b"GET / HTTP/1.1\r\nHost: a\x7f", "control_byte"),
        (b"GE\x00", "nul"),
        (b"GET /\x7f", "control_byte"),
        (b"GET /\xff", "bad_request_line"),
    ],
)
def test_beginnings_are_judged_at_once(start, detail):
    assert attempt(start) == (BAD, detail)
    assert byte_by_byte(start)[0] is BAD


@pytest.mark.parametrize(
    "start",
    [
        *(b"", b"\r", b"\r\n", b"\r\n\r", b"G", b"GET", b"GET ", b"GET /", b"GET / ", b"GET / HT", b"GET / HTTP/1.1"),
        *(b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r", b"\r\nGET / HTTP/1.1\r\nA", head()[:-1]),
    ],
)
def test_beginnings_that_may_become_good(start):
    assert attempt(start) is None


def test_one_empty_line_before_is_skipped():
    assert attempt(b"\r\n" + head()) == (read(head()), len(head()) + 2)


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        (b"X: a\n", "bare_lf"),
        (b"X: a\nb: c", "bare_lf"),
        (b"\n", "bare_lf"),
        (b"X: a\rb", "bare_cr"),
        (b"X: a\r", "bare_cr"),
        (b"\rX: a", "bare_cr"),
        (b"X: a\x00", "nul"),
        (b"X\x00: a", "nul"),
        (b"X: \x01", "control_byte"),
        (b"X: \x08", "control_byte"),
        (b"X: \x0b", "control_byte"),
        (b"X: \x0c", "control_byte"),
        (b"X: \x1f", "control_byte"),
        (b"X: \x7f", "control_byte"),
        (b" X: a", "obs_fold"),
        (b"\tX: a", "obs_fold"),
        (b"X: a\r\n b", "obs_fold"),
        (b"X: a\r\n\tb", "obs_fold"),
        (b"Transfer-Encoding:\r\n chunked", "obs_fold"),
        (b"X : a", "space_before_colon"),
        (b"X\t: a", "space_before_colon"),
        (b"Content-Length : 5", "space_before_colon"),
        (b": a", "bad_field_name"),
        (b"X y: a", "bad_field_name"),
        (b"X\xc3\xa9: a", "bad_field_name"),
        (b"(X): a", "bad_field_name"),
        (b'"X": a', "bad_field_name"),
        (b"X", "no_colon"),
        (b"GET / HTTP/1.1", "no_colon"),
    ],
)
def test_bad_field_lines(field, detail):
    for lines in ([field, b"Y: z"], [b"Y: z", field]):
        assert attempt(head(*lines)) == (BAD, detail)
    assert attempt(head(b"Y: z", host=field)) == (BAD, detail)


def test_bare_line_feeds_throughout():
    assert attempt(head().replace(b"\r\n", b"\n")) == (BAD, "bare_lf")
    assert attempt(head()[:-2] + b"\n") == (BAD, "bare_lf")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([], "host_missing"),
        ([b"Host: a", b"Host: a"], "host_repeated"),
        ([b"Host: a", b"host: b"], "host_repeated"),
        ([b"Host:"], "bad_host"),
        ([b"Host: a b"], "bad_host"),
        ([b"Host: a/b"], "bad_host"),
        ([b"Host: a,b"], "bad_host"),
        ([b"Host: u@a"], "bad_host"),
        ([b"Host: a:x"], "bad_host"),
        ([b"Host: \xc3\xa9"], "bad_host"),
    ],
)
def test_bad_hosts(fields, detail):
    assert attempt(head(*fields, host=None)) == (BAD, detail)


def test_http10_may_have_no_host():
    request = read(head(line=b"GET / HTTP/1.0", host=None))
    assert (request.minor, request.host, request.keep_alive) == (0, b"", False)
    assert attempt(head(b"Host: a", b"Host: a", line=b"GET / HTTP/1.0", host=None)) == (BAD, "host_repeated")
    assert attempt(head(line=b"GET / HTTP/1.0", host=b"Host:")) == (BAD, "bad_host")


@pytest.mark.parametrize(
    ("fields", "keep_alive"),
    [
        ([], True),
        ([b"Connection: keep-alive"], True),
        ([b"Connection: Upgrade, HTTP2-Settings"], True),
        ([b"Connection: closed"], True),
        ([b"Connection: XcloseX"], True),
        ([b"Connection: close"], False),
        ([b"Connection: Close"], False),
        ([b"Connection: x, close ,y"], False),
        ([b"Connection: keep-alive", b"Connection: close"], False),
    ],
)
def test_keep_alive(fields, keep_alive):
    assert read(head(*fields)).keep_alive is keep_alive
    assert not read(head(*fields, line=b"POST / HTTP/1.0")).keep_alive


def test_http10_keep_alive_is_not_offered():
    assert not read(head(b"Connection: keep-alive", line=b"POST / HTTP/1.0")).keep_alive


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b" 100-CONTINUE "])
@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        (b"Content-Length: 1", True),
        (b"Transfer-Encoding: chunked", True),
        (b"Content-Length: 0", False),
        (b"X: y", False),
    ],
)
def test_expect_continue(value, framing, expected):
    assert read(head(b"Expect:" + value, framing)).expect_continue is expected


@pytest.mark.parametrize(
    "fields",
    [
        [b"Expect: x"],
        [b"Expect:"],
        [b"Expect: 100-continue, x"],
        [b"Expect: 100-continue;q=1"],
        [b"Expect: 100-continue", b"Expect: 100-continue"],
        [b"Expect: 100-continu\xc3\xa9"],
    ],
)
def test_other_expectations(fields):
    assert attempt(head(*fields, b"Content-Length: 1")) == (Reason.EXPECTATION_FAILED, "expect")
    old = read(head(*fields, b"Content-Length: 1", line=b"POST / HTTP/1.0"))
    assert not old.expect_continue


@pytest.mark.parametrize(
    "name",
    [
        *(b"X_Hub_Signature_256", b"X-Hub_Signature-256", b"_", b"X-Forwarded_For", b"Connection_"),
        *(b"X.Hub.Signature.256", b"X!Real!IP", b"X-Real~IP", b"Content.Type", b"'Cookie'", b".", b"a|b", b"Expect^"),
    ],
)
def test_names_with_punctuation_are_dropped(name):
    request = read(head(b"A: 1", name + b": evil", b"B: 2"))
    assert [lower for lower, _ in request.fields] == [b"host", b"a", b"b"]
    assert set(request.values) == {b"host", b"a", b"b"}


@pytest.mark.parametrize(
    "name", [b"Content_Length", b"content_length", b"Transfer_Encoding", b"Host_", b"_Host", b"CONTENT_LENGTH_"]
)
def test_framing_names_with_underscores_are_refused(name):
    assert attempt(head(name + b": 5")) == (BAD, "underscore_name")


@pytest.mark.parametrize("name", [b"Content.Length", b"transfer~encoding", b"Host.", b"'Host", b"CONTENT!LENGTH!"])
def test_framing_names_with_punctuation_are_refused(name):
    assert attempt(head(name + b": 5")) == (BAD, "bad_field_name")


@pytest.mark.parametrize("value", [b"\xc3\xa9", b"\xff\x80", b"caf\xe9 x", b"Xyl\xf6ph0nX"])
def test_bytes_over_ascii_pass_in_values(value):
    assert read(head(b"X-Name: " + value)).get(b"x-name") == value


ODD = head(b"X: \xff")


def test_h11_may_refuse_what_our_grammar_declined(monkeypatch):
    def refuse(connection):
        raise h11.RemoteProtocolError("odd")

    assert read(ODD)
    monkeypatch.setattr(h11.Connection, "next_event", refuse)
    assert attempt(ODD) == (BAD, "h11")
    assert read(head(b"X: y"))


@pytest.mark.parametrize("other", [head(b"X: \xfe"), head(b"X: \xff", line=b"PUT /hook HTTP/1.1"), head()[:-1]])
def test_h11_must_read_what_we_read(monkeypatch, other):
    receive = h11.Connection.receive_data
    monkeypatch.setattr(h11.Connection, "receive_data", lambda connection, data: receive(connection, other))
    assert attempt(ODD) == (BAD, "h11")


@pytest.mark.parametrize("target", [b"/..", b"/a;b", b"/%2f", b"/a//b"])
def test_the_path_is_judged(target):
    assert attempt(head(line=b"POST " + target + b" HTTP/1.1")) == (BAD, "path_form")


def test_absolute_form_is_reduced_and_options_may_ask_for_all():
    request = read(head(line=b"POST http://EXAMPLE.com/a?b HTTP/1.1"))
    assert (request.target, request.path, request.query, request.host) == (b"/a?b", b"/a", b"b", b"example.com")
    assert read(head(line=b"OPTIONS * HTTP/1.1")).path == b"*"
    assert attempt(head(line=b"POST http://other/a HTTP/1.1")) == (BAD, "host_conflict")
    assert attempt(head(line=b"POST * HTTP/1.1")) == (BAD, "target_form")


# Limits: at the limit and one past it, in one read and byte by byte.

SMALL = HeadLimits(max_head=200, max_target=20, max_fields=5)


def both_ways(buffer: bytes, limits: HeadLimits = SMALL):
    verdict = attempt(buffer, limits)
    assert byte_by_byte(buffer, limits) == verdict
    return verdict


def padded(size: int) -> bytes:
    return head(b"X: " + b"a" * (size - len(head(b"X: "))))


def test_head_limit():
    assert both_ways(padded(200))[1] == 200
    assert both_ways(b"\r\n" + padded(200))[1] == 202
    assert both_ways(padded(201)) == (Reason.HEAD_TOO_LARGE, "head")
    assert both_ways(padded(100_000)) == (Reason.HEAD_TOO_LARGE, "head")
    assert both_ways(b"G" * 200) == (Reason.HEAD_TOO_LARGE, "head")
    assert attempt(b"G" * 199, SMALL) is None


def test_target_limit():
    target = b"/" + b"a" * 19
    too_long = (Reason.TARGET_TOO_LONG, "target")
    assert both_ways(head(line=b"POST " + target + b" HTTP/1.1"))[0].target == target
    assert both_ways(head(line=b"POST " + target + b"a HTTP/1.1")) == too_long
    assert both_ways(head(line=b"POST " + target + b"a HTTP/2.0")) == too_long
    assert both_ways(b"POST " + target + b"a") == too_long
    assert both_ways(b"POST /" + b"a" * 100_000) == too_long
    assert attempt(b"POST " + target, SMALL) is None


@pytest.mark.parametrize("odd", [b"X: y", b"X: \xff", b"X_y: z"])
def test_field_count_limit(odd):
    assert both_ways(head(odd, *[b"A: b"] * 3))[1] > 0
    assert both_ways(head(odd, *[b"A: b"] * 4)) == (Reason.HEAD_TOO_LARGE, "fields")


def test_name_and_value_limits():
    assert len(read(head(b"n" * 256 + b": x")).fields) == 2
    assert len(read(head(b"n" * 256 + b":x")).fields) == 2
    assert attempt(head(b"n" * 257 + b": x")) == (Reason.HEAD_TOO_LARGE, "field")
    assert len(read(head(b"X:" + b"v" * 8192)).get(b"x")) == 8192
    assert attempt(head(b"X:" + b"v" * 8193)) == (Reason.HEAD_TOO_LARGE, "field")


# Properties.

PLAIN_FIELDS = [
    *(
        b"Connection: close",
        b"X: y z",
        b"X-Y:\t1 ",
        b"x:",
        b"X_Y: 1",
        b"X: \xc3\xa9",
        b"a-b.c!: d",
        b"Cookie: a=b; c=d",
    ),
    *(b"TE: trailers", b"Accept: */*", b"accept:  */* "),
]
RULED_FIELDS = [b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue"]
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
        b"\xff",
    ),
    *(
        b"_",
        b",",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"chunked",
        b"Host: b\r\n",
        b"Content-Length: 5\r\n",
        b"5",
        b"/",
        b"%",
        b"\x85",
    ),
]


@st.composite
def heads_near_the_border(draw):
    method = draw(st.sampled_from([b"POST", b"GET", b"OPTIONS", b"get", b"A_B"]))
    target = draw(st.sampled_from([b"/", b"/a/b", b"/a/b?c=d", b"http://a/x", b"/%C3%A9", b"*", b"/a;b"]))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0", b"HTTP/2.0"]))
    fields = draw(st.lists(st.sampled_from(PLAIN_FIELDS), max_size=6))
    fields += draw(st.lists(st.sampled_from(RULED_FIELDS[1:]), max_size=2) | st.just(RULED_FIELDS[:1]))
    buffer = head(
        *fields, line=b" ".join((method, target, version)), host=draw(st.sampled_from([b"Host: a"] * 4 + [None]))
    )
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(buffer)))
        cut = draw(st.integers(0, 2))
        buffer = buffer[:at] + draw(st.sampled_from(ODD_PIECES)) + buffer[at + cut :]
    return buffer


def witness(buffer: bytes) -> h11.Request:
    """What h11 reads; it raises where it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(buffer)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


@examples(400)
@given(heads_near_the_border())
def test_h11_reads_what_we_accept(buffer):
    verdict = attempt(buffer)
    if verdict is None or isinstance(verdict[0], Reason):
        return
    request, consumed = verdict
    event = witness(buffer[:consumed].removeprefix(b"\r\n"))
    assert (event.method, event.http_version) == (request.method, b"1.%d" % request.minor)
    assert event.target.endswith(request.target) or request.target in {b"/", b"*"}
    plain = re.compile(rb"[A-Za-z0-9-]+")
    kept = [(name, value) for name, value in event.headers.raw_items() if plain.fullmatch(name)]
    assert [field(name, value) for name, value in kept] == request.fields
    assert [name for name, _ in event.headers if plain.fullmatch(name)] == [lower for lower, _ in request.fields]


@examples(400)
@given(heads_near_the_border())
def test_h11_reads_the_same_where_the_fast_grammar_matches(buffer):
    end = buffer.find(b"\r\n\r\n")
    found = FAST_HEAD.fullmatch(buffer, 0, end + 2)
    if end < 0 or found is None or isinstance(attempt(buffer)[0], Reason):
        return
    method, target, minor, block = found.groups()
    event = witness(buffer[: end + 4])
    assert (event.method, event.target, event.http_version) == (method, target, b"1." + minor)
    if BLANK_AT_END in block:
        return
    split = [line.partition(b": ") for line in block.split(b"\r\n")[:-1]]
    assert event.headers.raw_items() == [(name, value) for name, _, value in split]


@examples(100)
@given(heads_near_the_border())
def test_in_whatever_pieces_it_comes_the_verdict_is_the_same(buffer):
    whole, split = attempt(buffer), byte_by_byte(buffer)
    if whole is None or not isinstance(whole[0], Reason):
        assert split == whole
    else:
        # The word may differ where a head has two flaws; the answer may not.
        assert split[0] is whole[0]


@examples(150)
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(PLAIN_FIELDS + RULED_FIELDS + ODD_PIECES), max_size=20).map(b"".join)
)
def test_any_bytes_give_a_head_or_a_protocol_error(buffer):
    attempt(buffer)
    attempt(buffer + b"\r\n\r\n")
    attempt(b"POST / HTTP/1.1\r\nHost: a\r\n" + buffer + b"\r\n\r\n")


@examples(150)
@given(heads_near_the_border(), st.lists(st.integers(1, 30), min_size=1))
def test_what_was_looked_at_need_not_be_looked_at_again(buffer, sizes):
    """In pieces, with what is known, the answer is that to the whole."""
    whole, at, known, step = attempt(buffer), 0, 0, 0
    verdict = None
    while verdict is None and at < len(buffer):
        at, step = min(len(buffer), at + sizes[step % len(sizes)]), step + 1
        verdict = attempt(buffer[:at], known=known)
        known = at
    assert type(verdict) is type(whole)
    if whole is not None:
        assert verdict[0] is whole[0] if isinstance(whole[0], Reason) else verdict == whole


def test_a_head_that_comes_byte_by_byte_is_looked_at_once(monkeypatch):
    looked = []
    real = vars(module)["flaw_in_bytes"]
    monkeypatch.setattr(module, "flaw_in_bytes", lambda part: looked.append(len(part)) or real(part))
    data = b"POST / HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 4000
    for size in range(1, len(data)):
        assert read_request_head(data[:size], LIMITS, size - 1) is None
    assert sum(looked) < 3 * len(data), "linear"
