"""Bounds under pressure: connections, buffers, slow readers, an upstream that is away for a moment."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import Received, RecordingUpstream
from tests.whole.wire import MIB, Client, github, once, request, turned_away

Configured = Callable[..., Hookward]
BODY = b'{"zen":"Approachable is better than simple."}'
ANSWER = (random.Random(3).randbytes(1_000_003) * 34)[: 32 * MIB]


def config(upstream: str, secret_file: Path, limits: str = "", route: str = "") -> str:
    return f"""
        listen = ["127.0.0.1:0"]
        upstream = "{upstream}"
        [limits]
        {limits}
        [route.github]
        path = "/"
        provider = "github"
        secrets = ["file:{secret_file}"]
        {route}
    """


def signed(content: bytes = BODY, secret: bytes = SECRET) -> bytes:
    return request("POST", "/", github(secret, content), content)


def resident_mib(hookward: Hookward) -> float:
    status = Path(f"/proc/{hookward.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def test_connections_of_one_address(configured: Configured, upstream: RecordingUpstream, secret_file: Path) -> None:
    hookward = configured(config(upstream.url, secret_file, "max_connections_per_address = 2"))
    with Client(hookward.address) as first, Client(hookward.address) as second:
        assert [one.ask(signed()).status for one in (first, second)] == [200, 200]
        assert turned_away(hookward.address)
        with Client(hookward.address, source="127.0.0.2") as other:
            assert other.ask(signed()).status == 200
        first.sock.shutdown(socket.SHUT_WR)
        assert first.ended() == b""
        with Client(hookward.address) as again:
            assert again.ask(signed()).status == 200


def test_connections_in_all(configured: Configured, upstream: RecordingUpstream, secret_file: Path) -> None:
    hookward = configured(config(upstream.url, secret_file, "max_connections = 2"))
    with Client(hookward.address) as first, Client(hookward.address, source="127.0.0.2") as second:
        assert [one.ask(signed()).status for one in (first, second)] == [200, 200]
        assert turned_away(hookward.address, source="127.0.0.3")


def test_a_spent_budget_is_503_after_a_wait(
    configured: Configured, upstream: RecordingUpstream, secret_file: Path
) -> None:
    hookward = configured(config(upstream.url, secret_file, 'buffer_budget = "64KiB"\nhold_window = "64KiB"'))
    content = bytes(60_000)
    with Client(hookward.address) as holder, Client(hookward.address, timeout_s=30) as waiter:
        holder.send(signed(content)[:-1])
        # What comes whole in one read needs no turn.
        assert once(hookward.address, signed()).status == 200
        answer = waiter.ask(signed(content)[:-1])
        assert (answer.status, answer.word) == (503, "overloaded")
        assert answer.get(b"Retry-After")
        holder.send(b"\0")
        assert holder.answer().status == 200


def test_held_bodies_take_no_more_of_the_disk_than_they_may(
    configured: Configured, upstream: RecordingUpstream, secret_file: Path
) -> None:
    """Anybody may send what turns out to be forged, and it is known only at its end."""
    limits = 'spill_budget = "1MiB"\nhold_window = "16KiB"'
    hookward = configured(config(upstream.url, secret_file, limits, 'body = "hold"'))
    for secret in (b"guess", SECRET):
        full = once(hookward.address, signed(bytes(1_200_000), secret))
        assert (full.status, full.word) == (503, "overloaded")
        assert full.get(b"Retry-After")
    # What was taken is given back, whatever the verdict was.
    for secret, status in ((b"guess", 403), (SECRET, 200)) * 2:
        assert once(hookward.address, signed(bytes(900_000), secret)).status == status


def test_a_slow_reader_costs_no_memory(configured: Configured, upstream: RecordingUpstream, secret_file: Path) -> None:
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
    hookward = configured(config(upstream.url, secret_file))
    before = resident_mib(hookward)
    with Client(hookward.address) as slow:
        slow.send(signed())
        upstream.wait_complete()
        # The answer is on its way and not read; others are served meanwhile.
        upstream.manner.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        assert [once(hookward.address, signed()).status for _ in range(20)] == [204] * 20
        assert hashlib.sha256(slow.answer().content).digest() == hashlib.sha256(ANSWER).digest()
    assert resident_mib(hookward) - before < 12


def test_a_reader_that_never_reads_is_cut(
    configured: Configured, upstream: RecordingUpstream, secret_file: Path
) -> None:
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
    hookward = configured(config(upstream.url, secret_file, 'write_timeout = "1s"'))
    with Client(hookward.address) as stuck:
        stuck.send(signed())
        [line] = hookward.logged({"webhook.ended_by": "sender"})
        assert line["webhook.reason"] == "write_timeout"


def test_hold_waits_for_the_upstream(configured: Configured, secret_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    hookward = configured(config(f"http://127.0.0.1:{port}", secret_file, route='hold = "10s"'))
    with Client(hookward.address) as client, Client(hookward.address) as forger:
        client.send(signed())
        # A forged delivery is not worth waiting for.
        assert forger.ask(signed(secret=b"guess")).status == 403
        with RecordingUpstream(port=port) as late:
            assert client.answer().status == 200
            assert late.wait_complete()[0].content == BODY


def test_observe_passes_and_tells(configured: Configured, upstream: RecordingUpstream, secret_file: Path) -> None:
    hookward = configured(config(upstream.url, secret_file, route='mode = "observe"'))
    assert once(hookward.address, signed(secret=b"guess")).status == 200
    assert once(hookward.address, request("POST", "/", {}, BODY)).status == 200
    assert once(hookward.address, signed()).status == 200
    seen = upstream.wait_complete(3)
    assert [one.get(b"Webhook-Verified") is not None for one in seen] == [False, False, True]
    lines = hookward.logged({"event.name": "hookward.exchange"}, 3)
    # The line of what would have been refused waits for its cause, and may come after that of a later one.
    assert {line.get("webhook.observed_reason"): line["webhook.verdict"] for line in lines} == {
        "signature_mismatch": "observed",
        "signature_missing": "observed",
        None: "admitted",
    }


def test_many_senders_at_once(configured: Configured, upstream: RecordingUpstream, secret_file: Path) -> None:
    def echo(one: Received) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(one.content) + one.content

    upstream.manner.answer = echo
    hookward = configured(config(upstream.url, secret_file))
    contents = [b"%d" % number * 1000 for number in range(100)]
    clients = [Client(hookward.address) for _ in contents]
    for client, content in zip(clients, contents, strict=True):
        client.send(signed(content))
    for client, content in zip(clients, contents, strict=True):
        with client:
            assert client.answer().content == content
