"""A delivery as a curl line, raw HTTP and HAR: run by a real shell and a real curl, it is the same to the byte."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.console.copies import FORMS, as_curl, as_har, as_raw, escaped, export, quoted
from proxy.console.kept import Masking
from proxy.http1 import value_of
from tests.console.kept import keep, post
from tests.examples import examples
from tests.whole.wire import Reader, split_head

needs_shell = pytest.mark.skipif(not (shutil.which("sh") and shutil.which("curl")), reason="needs sh and curl")
PLAIN = Masking(None)

VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30).map(
    lambda text: text.strip().encode("latin-1")
)
NASTY = st.sampled_from(
    [
        *(
            b"'; touch /tmp/owned; '",
            b"$(touch /tmp/owned)",
            b"`id`",
            b"\\",
            b"\\\\'",
            b'"',
            b"!!",
            b"%s%n%%",
            b"-",
            b"--",
        ),
        *(b"@/etc/passwd", b"\\047", b"a\tb", b"${HOME}", b"\xe9\xff", b"*", b"~", b"#", b"&", b";", b"''", b"\\'"),
    ]
)
BODIES = st.binary(max_size=300) | NASTY | st.lists(NASTY, max_size=5).map(b"\n".join)
NAMES = st.sampled_from(
    [b"X-A", b"X-Event", b"User-Agent", b"Accept", b"Content-Type", b"x~odd!#$%&'*+^_`|", b"X-Empty"]
)
TARGETS = st.sampled_from(
    [b"/hook", b"/hook?a=b&c=d", b"/hook?x='$(id)'", b"/hook?q=%27`id`", b"/hook?[1-9]{a,b}", b"/~x!"]
)


@given(st.binary(max_size=200).filter(lambda word: b"\0" not in word and not word.endswith(b"\n")) | NASTY)
@settings(examples(30))
@needs_shell
def test_a_quoted_word_is_one_word_of_exactly_these_bytes(word: bytes) -> None:
    script = b"printf '%%s' %b" % quoted(word)
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout == word


@given(BODIES)
@settings(examples(30))
@needs_shell
def test_an_escaped_body_is_printed_as_it_is(body: bytes) -> None:
    assert escaped(body).isascii()
    script = b"printf '%b'" % escaped(body)
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout == body


class Listener:
    """Takes requests, one a connection, and answers each with nothing."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.got: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            with sock:
                reader = Reader(sock)
                start, fields = split_head(reader.until(b"\r\n\r\n"))
                known = {name.lower(): value for name, value in fields}
                if known.get(b"transfer-encoding"):
                    body = reader.chunks()
                else:
                    body = reader.exactly(int(known.get(b"content-length", b"0")))
                self.got.append((start, fields, body))
                sock.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.sock.shutdown(socket.SHUT_RDWR)  # wakes its thread
    found.sock.close()
    found.thread.join(5)


@given(TARGETS, st.lists(st.tuples(NAMES, VALUES | NASTY), max_size=4, unique_by=lambda pair: pair[0]), BODIES)
@settings(examples(30))
@needs_shell
def test_the_line_sends_what_came(
    listener: Listener, target: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    host = b"127.0.0.1:%d" % listener.sock.getsockname()[1]
    given = {name: value.strip(b" \t") for name, value in fields}
    head, _ = post(target, given, body)
    kept = keep(head.replace(b"hooks.example.com", host), body)
    assert kept.head is not None
    line = as_curl(kept, kept.head, PLAIN)
    assert line.isascii()
    subprocess.run(
        ["sh", "-c", line], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    )
    start, sent, content = listener.got.pop()
    assert start == b"POST %b HTTP/1.1" % target
    assert content == body
    # As it was read: fields with odd names count for nothing.
    assert sorted(sent) == sorted((line[: len(name)], value_of((name, line))) for name, line in kept.head.fields)


def test_a_large_body_is_piped() -> None:
    head, body = post(body=b"x" * 200_000)
    kept = keep(head, body)
    assert kept.head is not None
    assert as_curl(kept, kept.head, PLAIN).startswith(b"printf 'xxx")


def test_raw_is_what_came() -> None:
    head, body = post(b"/hook?a=1", {b"X-A": b"b"}, b"hello")
    kept = keep(head, body)
    assert kept.head is not None
    assert as_raw(kept, kept.head, PLAIN) == head + body


def test_har_has_both_sides() -> None:
    kept = keep(*post(b"/hook?a=1", {b"Content-Type": b"text/plain"}, b"\xff\x00"), status=200)
    assert kept.head is not None
    kept.take_answer([b"ok"])
    [entry] = json.loads(as_har(kept, kept.head, PLAIN))["log"]["entries"]
    assert entry["request"]["url"] == "http://hooks.example.com/hook?a=1"
    assert base64.b64decode(entry["request"]["postData"]["text"]) == b"\xff\x00"
    assert (entry["response"]["status"], entry["response"]["content"]["text"]) == (200, "ok")


def test_every_form_is_given_with_its_bytes() -> None:
    kept = keep(*post(body=b"\xe9"))
    for form in FORMS:
        found = export(kept, PLAIN, form)
        assert found is not None
        assert found["name"]
        data = base64.b64decode(str(found["base64"]))
        assert found["text"] == (None if form == "raw" else data.decode())
    assert export(kept, PLAIN, "else") is None
    assert export(keep(None, b"no head"), PLAIN, "raw") is None
