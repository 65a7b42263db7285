"""curl command lines: quoting as a shell does it, data as curl sends it, and no surprise on what is no command."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Mistake
from proxy.tools.pasted import CurlRequest, read_curl


def no_file(path: str) -> bytes:
    raise ValueError(f"asked for {path}")


def read(text: str, files: dict[str, bytes] | None = None) -> CurlRequest:
    return read_curl(text, no_file if files is None else files.__getitem__)


def test_as_a_browser_copies_it():
    request = read(
        "curl 'https://h.example/in?x=1' \\\n  -X 'POST' \\\n  -H 'content-type: application/json' \\\r\n"
        '  --data-raw $\'{"a":"it\\\'s \\u00e9\\\\n"}\' \\\n  --compressed --insecure'
    )
    assert (request.method, request.url) == ("POST", "https://h.example/in?x=1")
    assert ("content-type", "application/json") in request.fields
    assert request.body == '{"a":"it\'s é\\n"}'.encode()
    assert not request.variables


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("-d a=1 -d b=2", b"a=1&b=2"),
        ("--data '{\"a\": 1}'", b'{"a": 1}'),
        ('-d "a \\"b\\" \\$c \\\\ \\d"', b'a "b" $c \\ \\d'),
        ("-d a\\ b", b"a b"),
        ("-da=1", b"a=1"),
        ("--data=x", b"x"),
        ("-d @f", b"lineline"),
        ("--data-binary @f", b"line\r\nline\n"),
        ("--json @f", b"line\r\nline\n"),
        ("--data-raw @f", b"@f"),
        ("--data-urlencode 'a=b c&'", b"a=b+c%26"),
        ("--data-urlencode 'b c'", b"b+c"),
        ("-d $'\\x41\\101\\t\\e\\q'", b"AA\t\x1bq"),
        ("-d ''", b""),
        ("-d 'zażółć'", "zażółć".encode()),
        ("", None),
    ],
)
def test_data(text: str, body: bytes | None):
    request = read(f"curl {text} http://h/", {"f": b"line\r\nline\n"})
    assert request.body == body
    assert request.method == ("GET" if body is None else "POST")


def test_headers_and_shorthands():
    request = read("curl -sSL -XPUT h/x -H 'A: b' -H 'Empty:' -A agent -u user:pw -b c=d -e ref -o out -m 5 | jq .")
    assert (request.method, request.url) == ("PUT", "http://h/x")
    fields = dict(request.fields)
    assert fields["A"] == "b"
    assert "Empty" not in fields
    assert fields["User-Agent"] == "agent"
    assert fields["Authorization"] == "Basic dXNlcjpwdw=="
    assert (fields["Cookie"], fields["Referer"]) == ("c=d", "ref")


def test_defaults_of_curl():
    fields = dict(read("/usr/bin/curl http://h -d x").fields)
    assert fields["Content-Type"] == "application/x-www-form-urlencoded"
    assert fields["Accept"] == "*/*"
    assert dict(read("curl h --json {}").fields)["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ('curl h -H "X: $mac"', True),
        ('curl h -H "X: $(cat x)"', True),
        ("curl h -d `date`", True),
        ("curl h -d $x", True),
        ("curl h -H 'X: $mac'", False),
        ("curl h -d 'cost: 5$'", False),
    ],
)
def test_variables_are_noticed(text: str, variables: bool):
    assert read(text).variables is variables


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wget http://h", "no curl command"),
        ("curl", "no URL"),
        ("curl -d 'open", "not closed"),
        ("curl h -F a=b", "multipart"),
        ("curl h -G -d a=b", "query"),
        ("curl h -T f", "uploads"),
        ("curl h -d @f", "asked for f"),
    ],
)
def test_what_cannot_be_known(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        read(text)


def test_a_body_does_not_show():
    assert "hush" not in repr(read("curl h -d hush"))


@given(st.text(max_size=80))
def test_any_text_is_a_request_or_a_mistake(text: str):
    with contextlib.suppress(Mistake, KeyError):
        read("curl " + text, {})
