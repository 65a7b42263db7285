"""Request smuggling, F1 to F16 of docs/threat-model.md: each shape on a real socket, a genuine delivery right behind it
that must not be served. The signature is right each time, so that it is the framing that is refused.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from tests.whole.recorder import Manner
from tests.whole.scripted import RESET
from tests.whole.stage import KEY, MAX_BODY, Stage, delivery, head
from tests.whole.wire import Client, chunked, github, request

TE = b"Transfer-Encoding: chunked"
SMUGGLED = b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
HELLO = b"5\r\nhello\r\n"
END = b"0\r\n\r\n"


def table(*rows: tuple[object, ...]) -> list[object]:
    """Rows whose first column is their id."""
    return [pytest.param(*values, id=name) for name, *values in rows]


@pytest.mark.parametrize(
    ("lines", "body"),
    table(
        ("cl_te", [b"Content-Length: 56", TE], END + SMUGGLED),
        ("te_cl", [TE, b"Content-Length: 3"], b"33\r\n" + SMUGGLED + b"\r\n" + END),
        ("they_agree", [b"Content-Length: 15", TE], HELLO + END),
        ("no_content", [b"Content-Length: 0", TE], END),
        ("names_in_lower_case", [b"content-length: 5", b"transfer-encoding: chunked"], END),
        ("coding_in_upper_case", [b"Content-Length: 5", b"Transfer-Encoding: CHUNKED"], END),
        ("fields_apart", [b"Content-Length: 5", b"X-A: 1", b"X-B: 2", TE], END),
        ("length_twice", [b"Content-Length: 5", TE, b"Content-Length: 5"], END),
        ("coding_twice", [TE, b"Content-Length: 5", TE], END),
        ("other_coding", [b"Content-Length: 5", b"Transfer-Encoding: gzip, chunked"], END),
        ("bad_coding", [b"Content-Length: 5", b"Transfer-Encoding: xchunked"], END),
        ("empty_coding", [b"Content-Length: 5", b"Transfer-Encoding:"], END),
        ("bad_length", [b"Content-Length: x", TE], END),
        ("connection_lists_the_length", [b"Connection: Content-Length", b"Content-Length: 5", TE], END),
        ("connection_lists_the_coding", [b"Connection: Transfer-Encoding", b"Content-Length: 5", TE], END),
    ),
)
def test_f1_both_framings_at_once(stage: Stage, lines: list[bytes], body: bytes) -> None:
    stage.refuses(head(*lines, content=b"hello") + body, 400, "bad_request", "cl_te")


@pytest.mark.parametrize("value", [b"5, chunked", b"chunked"])
def test_f1_both_framings_in_http_1_0(stage: Stage, value: bytes) -> None:
    data = head(b"Content-Length: 5", b"Transfer-Encoding: " + value, content=b"hello", version=b"1.0")
    stage.refuses(data + END, 400, "bad_request", "cl_te")


BAD_CODINGS = (
    *(
        b"xchunked",
        b"chunkedx",
        b"chunke",
        b"chunked, identity",
        b"identity, chunked",
        b"identity",
        b"chunked, chunked",
    ),
    *(b"chunked,", b",chunked", b", chunked", b"chunked;q=1", b"chunked; a=b", b'"chunked"', b"'chunked'", b"", b" "),
    *(b"gzip", b"chunked, gzip", b"gzip chunked", b"chunked chunked", b"c hunked", b"none", b"false", b"0", b"*"),
    *(b"\xe3\x83\x81chunked", b"chunked\xa0", b"\x85chunked", b"ch\xfcnked", b"\xefchunked", b"cow, chunked"),
)


@pytest.mark.parametrize("value", BAD_CODINGS)
def test_f2_a_coding_that_is_not_exactly_chunked(stage: Stage, value: bytes) -> None:
    data = head(b"Transfer-Encoding: " + value, content=b"hello") + HELLO + END
    stage.refuses(data, 400, "bad_request", "bad_transfer_encoding")


@pytest.mark.parametrize(
    ("line", "detail"),
    table(
        ("tab_before", b"Transfer-Encoding:\tchunked", "tab_in_framing"),
        ("tab_after", b"Transfer-Encoding: chunked\t", "tab_in_framing"),
        ("tab_within", b"Transfer-Encoding: chun\tked", "tab_in_framing"),
        ("vertical_tab_before", b"Transfer-Encoding: \x0bchunked", "control_byte"),
        ("vertical_tab_after", b"Transfer-Encoding: chunked\x0b", "control_byte"),
        ("form_feed", b"Transfer-Encoding: \x0cchunked", "control_byte"),
        ("nul_before", b"Transfer-Encoding: \x00chunked", "nul"),
        ("nul_after", b"Transfer-Encoding: chunked\x00", "nul"),
        ("cr_within", b"Transfer-Encoding: chun\rked", "bare_cr"),
        ("cr_before", b"Transfer-Encoding:\rchunked", "bare_cr"),
        ("lf_before", b"Transfer-Encoding:\nchunked", "bare_lf"),
        ("lf_after", b"Transfer-Encoding: chunked\n", "bare_lf"),
        ("lf_hides_it", b"X-A: b\nTransfer-Encoding: chunked", "bare_lf"),
        ("cr_hides_it", b"X-A: b\rTransfer-Encoding: chunked", "bare_cr"),
        ("folded_value", b"Transfer-Encoding:\r\n chunked", "obs_fold"),
        ("folded_behind_another", b"X-A: b\r\n Transfer-Encoding: chunked", "obs_fold"),
        ("folded_second_half", b"Transfer-Encoding: chunked\r\n , identity", "obs_fold"),
        ("space_before_colon", b"Transfer-Encoding : chunked", "space_before_colon"),
        ("tab_before_colon", b"Transfer-Encoding\t: chunked", "space_before_colon"),
        ("no_colon", b"Transfer-Encoding chunked", "no_colon"),
        ("underscore", b"Transfer_Encoding: chunked", "underscore_name"),
        ("two_lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "bad_transfer_encoding"),
        ("two_lines_turned", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "bad_transfer_encoding"),
        ("two_equal_lines", b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked", "bad_transfer_encoding"),
        ("second_is_empty", b"Transfer-Encoding: chunked\r\nTransfer-Encoding:", "bad_transfer_encoding"),
    ),
)
def test_f2_a_coding_in_disguise(stage: Stage, line: bytes, detail: str) -> None:
    stage.refuses(head(line, content=b"hello") + HELLO + END, 400, "bad_request", detail)


@pytest.mark.parametrize(
    "value", [b"gzip, chunked", b"deflate,chunked", b"x-gzip , chunked", b"compress, gzip, chunked"]
)
def test_f2_a_known_coding_is_not_spoken(stage: Stage, value: bytes) -> None:
    data = head(b"Transfer-Encoding: " + value) + END
    stage.refuses(data, 501, "coding_unsupported", "transfer_coding")


@pytest.mark.parametrize("value", [b"chunked", b"identity", b"gzip, chunked", b""])
def test_f3_a_coding_in_http_1_0(stage: Stage, value: bytes) -> None:
    data = head(b"Transfer-Encoding: " + value, content=b"hello", version=b"1.0") + HELLO + END
    stage.refuses(data, 400, "bad_request", "te_in_http10")


BAD_LENGTHS = (
    *(
        b"+5",
        b"-5",
        b"-0",
        b"0x5",
        b"5x",
        b"x",
        b"1_0",
        b"5 5",
        b"5, 5",
        b"5,5",
        b"5, 6",
        b"5,",
        b",5",
        b"",
        b" ",
        b"5;",
    ),
    *(b"5.0", b"5e0", b'"5"', b"'5'", b"(5)", b"5%", b"05 ,5", b"\xd9\xa5", b"\xef\xbc\x95", b"5\xa0", b"\xb2", b"nan"),
    *(b"18446744073709551621", b"9" * 20, b"0" * 20, b"9" * 200, b"1" * 4000),
)


@pytest.mark.parametrize("value", BAD_LENGTHS, ids=lambda value: repr(value[:24]))
def test_f4_a_length_that_is_not_digits(stage: Stage, value: bytes) -> None:
    short = value[:3500]
    data = head(b"Content-Length: " + short, content=b"hello") + b"hello"
    stage.refuses(data, 400, "bad_request", "bad_content_length")


@pytest.mark.parametrize("length", [MAX_BODY + 1, 2**31, 2**32 + 5, 2**63 - 1, 9_999_999_999_999_999_999])
def test_f4_a_length_that_would_overflow_elsewhere(stage: Stage, length: int) -> None:
    stage.refuses(head(b"Content-Length: %d" % length, content=b"hello") + b"hello", 413, "body_too_large")


@pytest.mark.parametrize(
    ("lines", "detail"),
    table(
        ("differ", [b"Content-Length: 5", b"Content-Length: 6"], "bad_content_length"),
        ("equal", [b"Content-Length: 5", b"Content-Length: 5"], "bad_content_length"),
        ("other_case", [b"Content-Length: 5", b"content-length: 0"], "bad_content_length"),
        ("three", [b"Content-Length: 5"] * 3, "bad_content_length"),
        ("leading_zero", [b"Content-Length: 5", b"Content-Length: 05"], "bad_content_length"),
        ("second_is_empty", [b"Content-Length: 5", b"Content-Length:"], "bad_content_length"),
        ("underscore", [b"Content-Length: 5", b"Content_Length: 6"], "underscore_name"),
        ("underscore_alone", [b"Content_Length: 5"], "underscore_name"),
        ("space_before_colon", [b"Content-Length : 5"], "space_before_colon"),
        ("folded", [b"Content-Length:\r\n 5"], "obs_fold"),
        ("folded_digits", [b"Content-Length: 1\r\n 0"], "obs_fold"),
        ("tab", [b"Content-Length:\t5"], "tab_in_framing"),
        ("vertical_tab", [b"Content-Length: \x0b5"], "control_byte"),
        ("nul", [b"Content-Length: 5\x00"], "nul"),
        ("delete", [b"Content-Length: 5\x7f"], "control_byte"),
    ),
)
def test_f4_more_than_one_length(stage: Stage, lines: list[bytes], detail: str) -> None:
    stage.refuses(head(*lines, content=b"hello") + b"hello", 400, "bad_request", detail)


BAD_SIZES = (
    *(
        b"",
        b" 5",
        b"5 ",
        b"\t5",
        b"5\t",
        b"+5",
        b"-5",
        b"-0",
        b"0x5",
        b"5_",
        b"1_0",
        b"5h",
        b"g",
        b"5,",
        b"5.0",
        b'"5"',
    ),
    *(b"\xd9\xa5", b"5\xa0", b"\xef\xbc\x95", b"\x0b5", b"5\x0c", b"\x005", b"5\x00", b"5\x7f", b"five", b"5 5", b"5%"),
    *(b"10000000000000005", b"0" * 17, b"f" * 17, b"0" * 200 + b"5", b"0" * 5000),
)


@pytest.mark.parametrize("size", BAD_SIZES, ids=lambda size: repr(size[:20]))
def test_f5_a_chunk_size_that_is_not_hex(stage: Stage, size: bytes) -> None:
    data = head(TE, content=b"hello") + size + b"\r\nhello\r\n" + END
    stage.refuses(data, 400, "bad_request", "bad_chunk")


@pytest.mark.parametrize("size", [b"%x" % (MAX_BODY + 1), b"7fffffff", b"ffffffff", b"100000005", b"f" * 16])
def test_f5_a_chunk_size_over_the_limit(stage: Stage, size: bytes) -> None:
    stage.refuses(head(TE, content=b"hello") + size + b"\r\nhello\r\n" + END, 413, "body_too_large", "chunk_size")
    later = head(TE, content=b"hello") + HELLO + size + b"\r\nhello\r\n" + END
    stage.refuses(later, 413, "body_too_large", "chunk_size")


@pytest.mark.parametrize(
    ("body", "detail"),
    table(
        ("lf_after_size", b"5\nhello\r\n" + END, "bare_lf"),
        ("cr_after_size", b"5\rhello\r\n" + END, "bad_chunk"),
        ("lf_cr_after_size", b"5\n\rhello\r\n" + END, "bare_lf"),
        ("two_cr_after_size", b"5\r\r\nhello\r\n" + END, "bad_chunk"),
        ("lf_after_data", b"5\r\nhello\n" + END, "bare_lf"),
        ("cr_after_data", b"5\r\nhello\r" + END, "bad_chunk"),
        ("none_after_data", b"5\r\nhello" + END, "bad_chunk"),
        ("two_other_bytes_after_data", b"5\r\nhelloXX" + END, "bad_chunk"),
        ("two_lf_after_data", b"5\r\nhello\n\n" + END, "bare_lf"),
        ("lf_cr_after_data", b"5\r\nhello\n\r" + END, "bare_lf"),
        ("data_too_long", b"5\r\nhello!\r\n" + END, "bad_chunk"),
        ("data_too_short", b"5\r\nhell\r\n" + END, "bare_lf"),
        ("empty_line_after_data", b"5\r\nhello\r\n\r\n" + END, "bad_chunk"),
        ("lf_after_zero", HELLO + b"0\n\r\n", "bare_lf"),
        ("lf_after_the_end", HELLO + b"0\r\n\n", "bare_lf"),
        ("cr_after_the_end", HELLO + b"0\r\n\rX", "bad_trailer"),
        ("two_lf_at_the_end", HELLO + b"0\n\n", "bare_lf"),
        ("no_end", HELLO, "bad_chunk"),
        ("zero_without_an_empty_line", HELLO + b"0\r\n", "bad_trailer"),
        ("lf_after_an_extension", b"5;a\nhello\r\n" + END, "bare_lf"),
        ("lf_after_a_trailer", HELLO + b"0\r\nA: b\n\r\n", "bare_lf"),
        ("lf_ends_the_trailers", HELLO + b"0\r\nA: b\r\n\n", "bare_lf"),
    ),
)
def test_f6_line_ends_in_chunks(stage: Stage, body: bytes, detail: str) -> None:
    stage.refuses(head(TE, content=b"hello") + body, 400, "bad_request", detail)


@pytest.mark.parametrize(
    "extension",
    [
        *(b";", b";;", b"; ", b"; a", b" ;a", b";a ", b"\t;a", b";a;", b";a=", b";=b", b";a =b", b";a= b", b";a,b"),
        *(b';a="b', b';a=b"', b';a="b"c', b";a=(b)", b";a\x00", b";a\x01", b";a\x08", b";a\x0b", b";a\x0c", b";a\x7f"),
        *(b";a\r", b";a\rb", b";\r", b';a="\r"', b';a="\x00"', b';a="\t"', b";\xe9", b';a="\xe9"', b";a" + b"b" * 300),
    ],
    ids=lambda extension: repr(extension[:20]),
)
def test_f7_what_is_no_chunk_extension(stage: Stage, extension: bytes) -> None:
    data = head(TE, content=b"hello") + b"5" + extension + b"\r\nhello\r\n" + END
    stage.refuses(data, 400, "bad_request", "bad_chunk")
    last = head(TE, content=b"hello") + HELLO + b"0" + extension + b"\r\n\r\n"
    stage.refuses(last, 400, "bad_request", "bad_chunk")


@pytest.mark.parametrize("extension", [b";a", b";a=b", b";a;b;c", b';a="b c"', b';a="\\""', b";a=b;c=d", b";a" * 60])
def test_f7_extensions_end_here(stage: Stage, extension: bytes) -> None:
    data = head(TE, content=b"hello") + b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"
    got = stage.passes(data)
    assert (got.content, got.get_all(b"Content-Length"), got.get(b"Transfer-Encoding")) == (b"hello", [b"5"], None)


TRAILERS = (
    *(b"Content-Length: 100", b"Transfer-Encoding: chunked", b"Host: evil", b"X-Forwarded-For: 203.0.113.9"),
    *(b"Authorization: Bearer x", b"Webhook-Verified: github", b"X-Hub-Signature-256: sha256=" + b"0" * 64),
    *(b"X-GitHub-Event: release", b"Connection: close", b"Trailer: x", b"X-Odd: \xff"),
)


@pytest.mark.parametrize("trailer", TRAILERS)
def test_f8_trailers_are_dropped(stage: Stage, trailer: bytes) -> None:
    got = stage.passes(head(TE, b"Trailer: x", content=b"hello") + HELLO + b"0\r\n" + trailer + b"\r\n\r\n")
    assert (got.content, got.get_all(b"Content-Length"), got.get(b"Transfer-Encoding")) == (b"hello", [b"5"], None)
    name, _, value = trailer.partition(b": ")
    assert value not in got.get_all(name)


def test_f8_a_streamed_body_goes_on_without_its_trailers(stage: Stage) -> None:
    content = b"x" * 60_000
    body = chunked(content, 5000)[:-2] + b"X-Late: 1\r\nContent-Length: 3\r\n\r\n"
    got = stage.passes(head(TE, content=content) + body)
    assert (got.content, got.get(b"Content-Length"), got.get_all(b"Transfer-Encoding")) == (content, None, [b"chunked"])


def test_f8_a_signature_in_a_trailer_does_not_count(stage: Stage) -> None:
    fields = github(KEY, b"hello")
    signature = fields.pop("X-Hub-Signature-256")
    data = request("POST", "/github", fields | {"Transfer-Encoding": "chunked", "Trailer": "X-Hub-Signature-256"})
    trailer = f"0\r\nX-Hub-Signature-256: {signature}\r\n\r\n".encode()
    stage.refuses(data + HELLO + trailer, 403, "signature_missing")


START = b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 0"


@pytest.mark.parametrize(
    ("data", "detail"),
    table(
        ("cr_in_value", START + b"\r\nX-A: b\rc\r\n\r\n", "bare_cr"),
        ("cr_at_the_end_of_a_value", START + b"\r\nX-A: b\r\r\n\r\n", "bare_cr"),
        ("cr_in_name", START + b"\r\nX\r-A: b\r\n\r\n", "bare_cr"),
        ("cr_alone_ends_the_head", START + b"\r\nX-A: b\r\r", "bare_cr"),
        ("lf_in_value", START + b"\r\nX-A: b\nc: d\r\n\r\n", "bare_lf"),
        ("lf_throughout", START.replace(b"\r", b"") + b"\n\n", "bare_lf"),
        ("lf_ends_the_head", START + b"\r\n\n", "bare_lf"),
        ("lf_lf_ends_the_head", START + b"\n\n", "bare_lf"),
        ("lf_ends_the_request_line", b"POST /github HTTP/1.1\nHost: a\r\n\r\n", "bare_lf"),
        ("cr_ends_the_request_line", b"POST /github HTTP/1.1\rHost: a\r\n\r\n", "bare_cr"),
        ("lf_cr", START + b"\r\nX-A: b\n\r\n\r\n", "bare_lf"),
        ("nul_in_value", START + b"\r\nX-A: \x00\r\n\r\n", "nul"),
        ("nul_in_name", START + b"\r\nX\x00A: b\r\n\r\n", "nul"),
        ("nul_in_target", START.replace(b"/github", b"/github\x00") + b"\r\n\r\n", "nul"),
        ("bell", START + b"\r\nX-A: \x07\r\n\r\n", "control_byte"),
        ("escape", START + b"\r\nX-A: \x1b[31m\r\n\r\n", "control_byte"),
        ("delete", START + b"\r\nX-A: \x7f\r\n\r\n", "control_byte"),
        ("vertical_tab", START + b"\r\nX-A:\x0bb\r\n\r\n", "control_byte"),
        ("folded_with_space", START + b"\r\nX-A: b\r\n c\r\n\r\n", "obs_fold"),
        ("folded_with_tab", START + b"\r\nX-A: b\r\n\tc\r\n\r\n", "obs_fold"),
        ("folded_empty", START + b"\r\nX-A: b\r\n \r\n\r\n", "obs_fold"),
        ("space_before_colon", START + b"\r\nX-A : b\r\n\r\n", "space_before_colon"),
        ("tab_before_colon", START + b"\r\nX-A\t: b\r\n\r\n", "space_before_colon"),
        ("space_in_name", START + b"\r\nX A: b\r\n\r\n", "bad_field_name"),
        ("first_field_begins_with_space", b"POST /github HTTP/1.1\r\n Host: a\r\n\r\n", "obs_fold"),
        ("first_field_begins_with_tab", b"POST /github HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", "obs_fold"),
        ("blank_line_of_spaces", START + b"\r\n  \r\n\r\n", "obs_fold"),
        ("empty_name", START + b"\r\n: b\r\n\r\n", "bad_field_name"),
        ("no_colon", START + b"\r\nX-A\r\n\r\n", "no_colon"),
        ("name_with_a_brace", START + b"\r\nX{A: b\r\n\r\n", "bad_field_name"),
        ("name_in_quotes", START + b'\r\n"X": b\r\n\r\n', "bad_field_name"),
        ("name_over_ascii", START + b"\r\nX\xe9: b\r\n\r\n", "bad_field_name"),
        ("two_spaces_in_the_request_line", b"POST  /github HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("tab_in_the_request_line", b"POST\t/github HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("space_after_the_version", b"POST /github HTTP/1.1 \r\nHost: a\r\n\r\n", "bad_request_line"),
        ("four_words", b"POST /github x HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("method_in_brackets", b"(POST) /github HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("target_over_ascii", b"POST /github\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("version_in_lower_case", b"POST /github http/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("version_of_three_digits", b"POST /github HTTP/1.10\r\nHost: a\r\n\r\n", "bad_request_line"),
        ("version_of_letters", b"POST /github HTTP/x.1\r\nHost: a\r\n\r\n", "bad_request_line"),
    ),
)
def test_f9_bytes_that_no_head_may_hold(stage: Stage, data: bytes, detail: str) -> None:
    stage.refuses(data, 400, "bad_request", detail)


@pytest.mark.parametrize(
    "data",
    [head(b"Content-Length: 5", TE), head(TE) + b"x\r\n", b"nonsense\r\n\r\n", head(b"Expect: x")],
    ids=["head", "chunk", "line", "expect"],
)
def test_f10_nothing_is_parsed_after_a_refusal(stage: Stage, data: bytes) -> None:
    with stage.nothing_arrives(), stage.client() as client:
        client.send(data + delivery(name="along"))
        assert client.answer().status in {400, 417}
        client.send(b"".join(delivery(name=f"late-{number}") for number in range(20)))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.ended() == b""


@pytest.mark.parametrize(
    ("target", "fields", "status", "word"),
    table(
        ("path", "/nowhere", {}, 404, "path_not_matched"),
        ("unsigned", "/github", {}, 403, "signature_missing"),
        ("forged", "/github", github(b"guess", SMUGGLED), 403, "signature_mismatch"),
        ("held_and_forged", "/hold", github(b"guess", SMUGGLED), 403, "signature_mismatch"),
        ("token", "/query?token=guess", {}, 403, "token_mismatch"),
    ),
)
def test_f11_the_body_of_a_refused_request_is_no_request(
    stage: Stage, target: str, fields: dict[str, str], status: int, word: str
) -> None:
    stage.refuses_each(request("POST", target, fields, SMUGGLED), status, word)
    in_chunks = request("POST", target, fields, SMUGGLED * 3, chunk_size=len(SMUGGLED))
    with stage.nothing_arrives(), stage.client() as client:
        head_, _, body = in_chunks.partition(b"\r\n\r\n")
        answer = client.ask(head_ + b"\r\n\r\n") if word != "signature_mismatch" else client.ask(in_chunks)
        stage.holds(answer, status, word)
        if answer.get(b"Connection") == b"close":
            client.send(body)
            assert client.ended() == b""


def test_f11_the_rest_of_a_refused_body_is_no_request(stage: Stage) -> None:
    data = request("POST", "/nowhere", {}, b"x" * 100 + SMUGGLED * 10)
    with stage.nothing_arrives(), stage.client() as client:
        stage.holds(client.ask(data[:150]), 404, "path_not_matched")
        client.send(data[150:])
        assert client.ended() == b""


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_f12_after_an_early_answer_the_connection_closes(stage: Stage, framing: str) -> None:
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nearly\n"
    stage.scripted.play(early, RESET, on="head")
    fields = {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Content-Length": str(len(SMUGGLED) + 1)}
    if framing == "expect":
        fields["Expect"] = "100-continue"
    start, rest = (b"34\r\nx", SMUGGLED + b"\r\n" + END) if framing == "chunked" else (b"x", SMUGGLED)
    with stage.nothing_arrives(), stage.client() as client:
        answer = client.ask(request("POST", "/scripted", fields) + start)
        assert (answer.content, answer.get(b"Connection")) == (b"early\n", b"close")
        client.send(rest + delivery(name="late"))
        assert client.ended() == b""
    assert len(stage.scripted.seen) == 1


@pytest.mark.parametrize(
    ("data", "status", "word"),
    table(
        ("simple", b"GET /open\r\n", 400, "bad_request"),
        ("simple_with_fields", b"GET /open\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("simple_with_a_space", b"GET /open \r\n\r\n", 400, "bad_request"),
        ("simple_with_lf", b"GET /open\n", 400, "bad_request"),
        ("said", b"GET /open HTTP/0.9\r\nHost: a\r\n\r\n", 505, "version_unsupported"),
        ("version_1_2", b"GET /open HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version_unsupported"),
        ("version_2_0", b"GET /open HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version_unsupported"),
        ("version_9_9", b"GET /open HTTP/9.9\r\nHost: a\r\n\r\n", 505, "version_unsupported"),
        ("version_2", b"GET /open HTTP/2\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("other_protocol", b"GET /open ICAP/1.0\r\nHost: a\r\n\r\n", 400, "bad_request"),
    ),
)
def test_f13_http_0_9_and_other_versions(stage: Stage, data: bytes, status: int, word: str) -> None:
    stage.refuses(data, status, word)


def test_f14_one_empty_line_before_a_request_is_skipped(stage: Stage) -> None:
    assert stage.passes(b"\r\n" + delivery()).content == b"{}"
    with stage.client() as client:
        assert [client.ask(b"\r\n" + delivery()).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    "lead", [b"\r\n\r\n", b"\r\n" * 100, b"\n", b"\r", b" ", b"\t", b"\r\n ", b"\x00", b"\r\r\n", b"\n\n"]
)
def test_f14_more_than_an_empty_line_before_a_request(stage: Stage, lead: bytes) -> None:
    stage.refuses(lead + delivery(), 400, "bad_request")


def test_f15_pipelined_requests_are_served_one_at_a_time(stage: Stage) -> None:
    gate = threading.Event()
    stage.upstream.forget()
    stage.upstream.manner = Manner(lambda one: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + one.content, gate=gate)
    bodies = [b"%02d" % number for number in range(30)]
    try:
        with stage.client() as client:
            client.send(b"".join(delivery(body) for body in bodies))
            stage.upstream.wait_complete()
            assert stage.upstream.open >= 1
            assert len(stage.upstream.seen) == 1
            gate.set()
            assert [client.answer().content for _ in bodies] == bodies
        assert [one.content for one in stage.upstream.seen] == bodies
        assert len({one.connection for one in stage.upstream.seen}) == 1
    finally:
        gate.set()
        stage.upstream.manner = Manner()


def test_f15_reading_stops_while_a_request_is_served(stage: Stage) -> None:
    gate = threading.Event()
    stage.upstream.forget()
    stage.upstream.manner = Manner(gate=gate)
    sent, block = 0, bytes(1 << 20)
    try:
        with stage.client() as client:
            client.send(delivery())
            stage.upstream.wait_complete()
            client.sock.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while sent < 64 << 20:
                    sent += client.sock.send(block)
            assert sent < 16 << 20, "what the kernel holds, not what we do"
            assert len(stage.upstream.seen) == 1
            gate.set()
            client.sock.settimeout(15)
            assert [client.answer().status for _ in range(2)] == [200, 400]
    finally:
        gate.set()
        stage.upstream.manner = Manner()


@pytest.mark.parametrize(
    "data",
    table(
        ("http_2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("tls_hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))),
        ("tls_hello_sslv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
        ("ssh_banner", b"SSH-2.0-OpenSSH_9.6p1 Debian-3\r\n"),
        ("proxy_header", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"),
        ("proxy_header_v2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x7f\x00\x00\x01" * 2 + b"\x00\x01\x00\x02"),
        ("smtp", b"EHLO scanner\r\n"),
        ("redis", b"*1\r\n$4\r\nPING\r\n"),
        ("rtsp", b"OPTIONS / RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        ("sip", b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm\r\n\r\n"),
        ("rdp", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"),
        ("postgres", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
        ("socks", b"\x05\x01\x00"),
        ("zeroes", bytes(512)),
        ("all_bytes", bytes(range(255, -1, -1))),
        ("fastcgi", b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
    ),
)
def test_f16_other_protocols_on_the_port(stage: Stage, data: bytes) -> None:
    with stage.nothing_arrives(), stage.client() as client:
        answer = client.ask(data + delivery(name="behind"))
        assert client.ended() == b""
    assert answer.status in {400, 505}
    stage.holds(answer, answer.status, answer.word)


def test_bytes_may_come_one_by_one(stage: Stage) -> None:
    whole = head(TE, content=b"hello") + b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n"
    stage.upstream.forget()
    with Client(stage.hookward.address) as client:
        for byte in whole:
            client.send(bytes([byte]))
        assert client.answer().status == 200
        with contextlib.suppress(ConnectionError):
            for byte in head(b"Content-Length: 5", TE) + HELLO:
                client.send(bytes([byte]))
        assert client.answer().status == 400
    assert [one.content for one in stage.upstream.seen] == [b"hello"]
