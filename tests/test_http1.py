"""What is written is what h11 reads, and prebuilt answers say no more than they should."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1 import (
    Framing,
    RequestHead,
    as_chunk,
    build_refusal,
    field,
    http_date,
    phrase_of,
    read_http_date,
    value_of,
    write_request_head,
    write_response_head,
)
from proxy.reasons import Reason

DATE = b"Mon, 23 Nov 2026 10:00:00 GMT"


def head(*fields: tuple[bytes, bytes]) -> RequestHead:
    lowered = [field(name, value) for name, value in fields]
    names = [lower for lower, _ in lowered]
    return RequestHead(
        method=b"POST",
        target=b"/",
        minor=1,
        names=names,
        lines=[line for _, line in lowered],
        path=b"/",
        query=None,
        host=b"a",
        framing=Framing.NONE,
        content_length=None,
        keep_alive=True,
        expect_continue=False,
        values={entry[0]: value_of(entry) for entry in reversed(lowered)},
        repeated=frozenset(name for name in names if names.count(name) > 1),
    )


def test_fields_are_found_by_lower_case_name() -> None:
    one = head((b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3"))
    assert (one.get(b"x-a"), one.get(b"x-b"), one.get(b"x-c")) == (b"1", b"3", None)
    assert (one.get_all(b"x-a"), one.get_all(b"x-b"), one.get_all(b"x-c")) == ([b"1", b"2"], [b"3"], [])


def events(connection: h11.Connection, data: bytes) -> list[Any]:
    connection.receive_data(data)
    found: list[Any] = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return found
        found.append(event)


def test_a_request_is_read_as_it_was_meant() -> None:
    data = write_request_head(b"POST", b"/a?b=c", [(b"Host", b"x"), (b"Transfer-Encoding", b"chunked")])
    data += b"".join(as_chunk([b"hel", b"lo"], last=False) + as_chunk([b"!" * 17], last=True))
    request, *contents, end = events(h11.Connection(h11.SERVER), data)
    assert (request.method, request.target) == (b"POST", b"/a?b=c")
    assert b"".join(bytes(content.data) for content in contents) == b"hello" + b"!" * 17
    assert isinstance(end, h11.EndOfMessage)


def read_answer(data: bytes, method: bytes = b"POST") -> tuple[h11.Response, bytes]:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"x")]))
    connection.send(h11.EndOfMessage())
    answer, *contents, end = events(connection, data)
    assert isinstance(end, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
    return answer, b"".join(bytes(content.data) for content in contents)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status], ids=lambda reason: reason.word)
@pytest.mark.parametrize("close", [False, True])
def test_a_refusal_says_a_word_and_an_id(reason: Reason, close: bool) -> None:
    answer, content = read_answer(build_refusal(reason, close=close).write(b"id-1", DATE))
    fields = dict(answer.headers)
    assert (answer.status_code, content) == (reason.status, f"{reason.word} id-1\n".encode())
    assert (fields[b"date"], fields[b"x-request-id"]) == (DATE, b"id-1")
    assert fields.get(b"connection") == (b"close" if close else None)
    assert fields[b"content-type"].startswith(b"text/plain")


def test_a_refusal_of_head_has_no_content_but_its_length() -> None:
    refusal = build_refusal(Reason.PATH_NOT_MATCHED, close=False)
    answer, content = read_answer(refusal.write(b"id-1", DATE, head_only=True), b"HEAD")
    assert content == b""
    assert dict(answer.headers)[b"content-length"] == b"22"


def test_a_provider_may_demand_another_status_and_fields() -> None:
    refusal = build_refusal(Reason.SIGNATURE_MISMATCH, close=True, status=401, extra=[(b"WWW-Authenticate", b"Basic")])
    answer, _ = read_answer(refusal.write(b"id-1", DATE))
    assert (answer.status_code, dict(answer.headers)[b"www-authenticate"]) == (401, b"Basic")
    assert refusal.status == 401


def test_no_content_is_said_without_content_and_without_a_length() -> None:
    written = build_refusal(Reason.DUPLICATE_DELIVERED, close=False, status=204).write(b"id-1", DATE)
    answer, content = read_answer(written)
    assert (answer.status_code, content) == (204, b"")
    assert dict(answer.headers).keys() & {b"content-length", b"content-type"} == set()


def test_phrases() -> None:
    assert (phrase_of(404), phrase_of(799)) == (b"Not Found", b"")


def test_an_answer_with_an_empty_phrase_is_read() -> None:
    answer, _ = read_answer(write_response_head(299, b"", [(b"Content-Length", b"0")]))
    assert answer.status_code == 299


@given(st.integers(0, 253_402_300_799))
def test_a_date_is_written_as_the_standard_library_does_and_read_again(second: int) -> None:
    assert http_date(second) == formatdate(second, usegmt=True)
    assert read_http_date(http_date(second)) == second


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon, 23 Nov 2026 10:00:00",
        "Mon, 23 Nov 2026 10:00:00 GMT ",
        "Mon, 31 Nov 2026 10:00:00 GMT",
        "Mon, 23 Nix 2026 10:00:00 GMT",
        "Mon, 23 Nov 2026 24:00:00 GMT",
        "Mon, 23 Nov 0000 10:00:00 GMT",
        "Monday, 23-Nov-26 10:00:00 GMT",
        "Mon, \u0662\u0663 Nov 2026 10:00:00 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_http_date(text) is None
