"""Saved deliveries: every form gives the same head and body, and what had to be mended is noted."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.request_head import read_request_head
from proxy.errors import Mistake, ProtocolError
from proxy.http1 import RequestHead
from proxy.tools.saved_delivery import Saved, read_saved
from tests.policies import HEAD_LIMITS

HEAD = b"POST /in?x=1 HTTP/1.1\r\nHost: h.example\r\nX-Sig: ab\r\nContent-Length: 4\r\n\r\n"


def head_of(saved: Saved) -> RequestHead:
    parsed = read_request_head(saved.head, HEAD_LIMITS)
    assert parsed is not None
    assert parsed[1] == len(saved.head)
    return parsed[0]


def har(**request: object) -> bytes:
    made = {
        "method": "POST",
        "url": "https://h.example/in?x=1",
        "headers": [{"name": "X-Sig", "value": "ab"}],
        **request,
    }
    return json.dumps({"log": {"entries": [{"startedDateTime": "2026-03-01T09:15:00Z", "request": made}]}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"body",
        HEAD.replace(b"\r\n", b"\n") + b"body",
        HEAD.replace(b"HTTP/1.1", b"HTTP/2") + b"body\n",
        HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n",
        HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"body",
        HEAD.replace(b"Content-Length: 4\r\n", b"") + b"body",
        b"\n\n" + HEAD + b"body\r\n",
        b"\xef\xbb\xbf" + HEAD + b"body",
        b"".join(b"> " + line + b"\n" for line in HEAD.split(b"\r\n")[:-2]) + b"\nbody",
        b"curl 'https://h.example/in?x=1' -H 'X-Sig: ab' -d body",
        b"$ curl https://h.example/in?x=1 -H 'X-Sig: ab' -d body",
        har(postData={"text": "body"}),
        har(postData={"text": base64.b64encode(b"body").decode(), "encoding": "base64"}),
    ],
)
def test_every_form_gives_the_same(data: bytes):
    saved = read_saved(data)
    head = head_of(saved)
    assert saved.body == b"body"
    assert (head.method, head.target, head.host) == (b"POST", b"/in?x=1", b"h.example")
    assert (head.get(b"x-sig"), head.content_length) == (b"ab", 4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (HEAD + b"body", ""),
        (HEAD.replace(b"\r\n", b"\n") + b"body", "LF"),
        (HEAD + b"body\n", "a newline behind the body"),
        (HEAD + b"body and more", "9 bytes behind"),
        (HEAD + b"bo", "2 bytes are here, and its Content-Length is 4"),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/2") + b"body", "HTTP/1.1"),
        (HEAD.replace(b"Host: h.example\r\n", b"") + b"body", "no Host"),
        (HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"body", "not in chunks"),
        (b'curl h -d x -H "X-Sig: $mac"', "shell variables"),
        (har(postData={"text": "a\N{REPLACEMENT CHARACTER}"}), "has lost bytes"),
        (har(postData={"params": [{"name": "a", "value": "b c"}]}), "written again"),
    ],
)
def test_what_was_mended_is_noted(data: bytes, said: str):
    notes = read_saved(data).notes
    assert (said in notes[0] and len(notes) == 1) if said else notes == ()


def test_a_form_of_a_har_file_is_written_again():
    assert read_saved(har(postData={"params": [{"name": "a", "value": "b c"}]})).body == b"a=b+c"


def test_entries_of_a_har_file():
    one, two = json.loads(har(method="GET")), json.loads(har(postData={"text": "2"}))
    both = json.dumps({"log": {"entries": one["log"]["entries"] + two["log"]["entries"]}}).encode()
    assert read_saved(both).body == b"2"
    assert "entry 2 of 2" in read_saved(both).notes[0]
    assert read_saved(both, entry=1).body == b""
    assert read_saved(both).at == 1772356500.0
    with pytest.raises(ValueError, match="from 1 to 2"):
        read_saved(both, entry=3)


def test_pseudo_headers_and_framing_are_not_taken_over():
    headers = [
        {"name": ":method", "value": "POST"},
        {"name": "Content-Length", "value": "99"},
        {"name": "X", "value": "1"},
    ]
    head = head_of(read_saved(har(headers=headers, postData={"text": "1234"})))
    assert (head.content_length, head.get(b"x"), len(head.fields)) == (4, b"1", 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no saved delivery"),
        (b"just text", "no saved delivery"),
        (b"{", "is none"),
        (b"[" * 5000, "no saved delivery"),
        (b"{" + b'"a":{' * 3000, "is none"),
        (b'{"event": 1}', "no HAR file"),
        (b'{"log":{"entries":[{}]}}', "no request"),
        (har(url="http://[", postData={"text": "x"}), "raw HTTP"),
        (har(headers=[{"name": "X\nY", "value": "1"}]), "raw HTTP"),
        (har(headers=[{"name": "X", "value": "1\r\n2"}]), "raw HTTP"),
        (har(postData={"text": "?", "encoding": "base64"}), "not in base64"),
        (b"curl h -d @secret", "reads the file"),
        (b"curl", "no saved delivery"),
    ],
)
def test_what_is_none(data: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        read_saved(data)


def test_nothing_of_it_shows():
    assert "hush" not in repr(read_saved(HEAD + b"hush"))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda a, b: HEAD[:a] + b + HEAD[a:], st.integers(0, 90), st.binary(max_size=9)),
    )
)
def test_anything_is_a_delivery_or_a_mistake(data: bytes):
    with contextlib.suppress(Mistake, ProtocolError):
        read_request_head(read_saved(data).head, HEAD_LIMITS)


@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "log",
                        "entries",
                        "request",
                        "method",
                        "url",
                        "headers",
                        "postData",
                        "text",
                        "params",
                        "name",
                        "value",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_delivery_or_a_mistake(tree: object):
    with contextlib.suppress(Mistake):
        read_saved(json.dumps({"log": {"entries": [tree]}}).encode())
