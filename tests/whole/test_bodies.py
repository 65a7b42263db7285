"""Bodies as they cross: byte-exact, hashed while they pass, and never complete at the upstream without a verdict."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import MIB, Client, chunked, github, once, request

Start = Callable[..., Hookward]
LARGE = (random.Random(25).randbytes(MIB + 17) * 25)[: 25 * MIB]
GITHUB = ("--provider", "github", "--path", "/", "--secret-file")


def flipped(content: bytes, before_end: int) -> bytes:
    """The content with one bit changed, so many bytes before its end."""
    at = len(content) - before_end
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "github.secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def upstream(lasting_upstream: RecordingUpstream) -> RecordingUpstream:
    lasting_upstream.renew()
    return lasting_upstream


@pytest.fixture
def guarded(start_once: Start, upstream: RecordingUpstream, key: Path) -> Start:
    def begin(*argv: str) -> Hookward:
        return start_once(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url), *(*GITHUB, key, *argv), secrets=(SECRET,)
        )

    return begin


@pytest.mark.parametrize("mode", ["tail", "hold"])
@pytest.mark.parametrize("chunk_size", [0, 65536], ids=["length", "chunked"])
def test_25_mib_arrive_with_the_same_hash(
    guarded: Start, upstream: RecordingUpstream, mode: str, chunk_size: int
) -> None:
    hookward = guarded("--body", mode)
    answer = once(hookward.address, request("POST", "/", github(SECRET, LARGE), LARGE, chunk_size=chunk_size))
    assert (answer.status, answer.content) == (200, b"ok\n")
    [got] = upstream.wait_complete()
    assert got.sha256 == hashlib.sha256(LARGE).hexdigest()
    line = hookward.line_of(got.get(b"X-Request-Id"))
    assert line["webhook.verdict"] == "admitted"
    assert line["http.request.body.size"] == len(LARGE)


@pytest.mark.parametrize("mode", ["tail", "hold"])
@pytest.mark.parametrize("chunk_size", [0, 65536], ids=["length", "chunked"])
def test_one_bit_near_the_end_and_it_is_never_complete(
    guarded: Start, upstream: RecordingUpstream, mode: str, chunk_size: int
) -> None:
    hookward = guarded("--body", mode)
    fields = github(SECRET, LARGE)
    data = request("POST", "/", fields, flipped(LARGE, 100), chunk_size=chunk_size)
    answer = once(hookward.address, data)
    assert (answer.status, answer.word) == (403, "signature_mismatch")
    assert once(hookward.address, request("POST", "/", github(SECRET, b"{}"), b"{}")).status == 200
    [genuine] = upstream.wait_complete()
    assert genuine.content == b"{}"
    if mode == "hold":
        assert upstream.incomplete == []
    else:
        upstream.wait(lambda me: me.seen[0].broken_off, "the end of the aborted request")
        [broken] = upstream.incomplete
        assert broken.length < len(LARGE)


@pytest.mark.parametrize("cut", [1, 100, 20_000, 300_000])
@pytest.mark.parametrize("chunk_size", [0, 50_000], ids=["length", "chunked"])
def test_a_sender_that_vanishes_completes_nothing(
    guarded: Start, upstream: RecordingUpstream, chunk_size: int, cut: int
) -> None:
    hookward = guarded()
    content = LARGE[:MIB]
    fields = github(SECRET, content, delivery=f"{chunk_size}-{cut}")
    with Client(hookward.address) as client:
        client.send(request("POST", "/", fields, content, chunk_size=chunk_size)[:-cut])
    hookward.logged({"webhook.ended_by": "sender", "webhook.delivery_id": f"{chunk_size}-{cut}"})
    assert once(hookward.address, request("POST", "/", github(SECRET, b"{}"), b"{}")).status == 200
    [genuine] = upstream.wait_complete()
    assert genuine.content == b"{}"


def test_in_tail_nothing_leaves_while_the_body_fits_the_window(guarded: Start, upstream: RecordingUpstream) -> None:
    hookward = guarded()
    content = LARGE[: 256 * 1024]
    fields = github(SECRET, content)
    refused = once(hookward.address, request("POST", "/", fields, flipped(content, 1)))
    assert refused.word == "signature_mismatch"
    assert once(hookward.address, request("POST", "/", fields, content)).status == 200
    upstream.wait_complete()
    assert [one.complete for one in upstream.seen] == [True]


def test_in_tail_a_large_body_streams_before_its_end(guarded: Start, upstream: RecordingUpstream) -> None:
    hookward = guarded()
    content = LARGE[: 2 * MIB]
    data = request("POST", "/", github(SECRET, content), content)
    with Client(hookward.address) as client:
        client.send(data[:-1])
        upstream.wait(lambda me: me.bytes > MIB, "the beginning of the body")
        assert upstream.complete == []
        client.send(data[-1:])
        assert client.answer().status == 200
    assert upstream.wait_complete()[0].content == content


def test_no_early_answer_reaches_a_sender_that_is_not_admitted(guarded: Start, upstream: RecordingUpstream) -> None:
    upstream.manner.when = "head"
    hookward = guarded()
    content = LARGE[: 4 * MIB]
    data = request("POST", "/", github(SECRET, content), flipped(content, 1))
    answer = once(hookward.address, data)
    assert answer.word == "signature_mismatch"
    assert upstream.complete == []


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 256 * 1024, 256 * 1024 + 1, 300 * 1024])
@pytest.mark.parametrize("chunk_size", [0, 1000], ids=["length", "chunked"])
def test_sizes_around_the_windows(guarded: Start, upstream: RecordingUpstream, size: int, chunk_size: int) -> None:
    hookward = guarded()
    content = LARGE[:size]
    answer = once(hookward.address, request("POST", "/", github(SECRET, content), content, chunk_size=chunk_size))
    assert answer.status == 200
    assert upstream.wait_complete()[0].content == content


def test_bytes_one_by_one(guarded: Start, upstream: RecordingUpstream) -> None:
    hookward = guarded()
    content = b'{"ref":"refs/heads/main"}'
    with Client(hookward.address) as client:
        for byte in request("POST", "/", github(SECRET, content), content, chunk_size=3):
            client.send(bytes([byte]))
        assert client.answer().status == 200
    assert upstream.wait_complete()[0].content == content


def test_a_compressed_body_stays_compressed(guarded: Start, upstream: RecordingUpstream) -> None:
    hookward = guarded()
    content = gzip.compress(b'{"a":1}' * 1000)
    fields = github(SECRET, content) | {"Content-Encoding": "gzip"}
    assert once(hookward.address, request("POST", "/", fields, content)).status == 200
    [got] = upstream.wait_complete()
    assert (got.content, got.get(b"Content-Encoding")) == (content, b"gzip")


def test_chunk_extensions_and_trailers_do_not_cross(guarded: Start, upstream: RecordingUpstream) -> None:
    hookward = guarded()
    fields = github(SECRET, b"hello") | {"Transfer-Encoding": "chunked", "Trailer": "X-Evil"}
    answer = once(hookward.address, request("POST", "/", fields) + b"5;a=b\r\nhello\r\n0\r\nX-Evil: 1\r\n\r\n")
    assert answer.status == 200
    [got] = upstream.wait_complete()
    assert got.content == b"hello"
    assert got.get(b"X-Evil") is None
    assert got.get(b"Trailer") is None


def test_without_a_signature_the_body_is_a_pipe(start: Start, upstream: RecordingUpstream) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open")
    with Client(hookward.address) as client:
        client.send(request("POST", "/x", {"Transfer-Encoding": "chunked"}) + b"3\r\nabc\r\n")
        upstream.wait(lambda me: me.bytes == 3, "the first chunk")
        client.send(chunked(b"def", 3))
        assert client.answer().status == 200
    assert upstream.wait_complete()[0].content == b"abcdef"


def test_a_slow_upstream_slows_its_own_sender_only(guarded: Start, upstream: RecordingUpstream) -> None:
    upstream.manner.gate = gate = threading.Event()
    hookward = guarded()
    with Client(hookward.address) as slow, Client(hookward.address) as quick:
        slow.send(request("POST", "/", github(SECRET, LARGE[:MIB]), LARGE[:MIB]))
        upstream.wait_complete(1)
        upstream.manner.gate = None
        assert quick.ask(request("POST", "/", github(SECRET, b"{}"), b"{}")).status == 200
        gate.set()
        assert slow.answer().status == 200
