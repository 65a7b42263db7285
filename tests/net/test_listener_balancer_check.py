"""A load balancer's own check: answered by HTTP where it asks, ended where it does not, and never a delivery's 200."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.addresses import Peer
from proxy.core.setup_faults import NO_CLIENT
from proxy.net import listener as module
from proxy.net.admission import ConnectionSlots
from proxy.net.listener import CHECK_HEAD_BYTES, BalancerCheck
from tests.net.accepting import dial, listening, receive, send, until


class Checked:
    """A connection of a check, and what came of it."""

    def __init__(self) -> None:
        self.noted: list[tuple[object, str]] = []
        self.slots = ConnectionSlots(lambda *noted: self.noted.append(noted))
        self.counters = self.slots.counters
        self.closed = 0
        self.sock = listening()

    async def open(self):
        client = dial(self.sock)
        accepted, _ = self.sock.accept()
        accepted.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            lambda: BalancerCheck(self.slots, Peer.of("192.0.2.9"), self._close), accepted
        )
        return client

    def _close(self) -> None:
        self.closed += 1


async def heard(client) -> bytes:
    """All that comes until the end; b"reset" where it ends so."""
    data = b""
    try:
        while piece := await receive(client):
            data += piece
    except ConnectionResetError:
        return b"reset"
    return data


@pytest.mark.parametrize(
    "pieces",
    [
        [b"OPTIONS / HTTP/1.0\r\n\r\n"],
        [b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"],
        [b"HE", b"AD / HTTP/1.1\r\n", b"Host: a\r\n\r", b"\n"],
    ],
)
async def test_a_check_by_http_hears_200_and_the_end(run, pieces):
    checked = Checked()
    with await checked.open() as client:
        for piece in pieces:
            await send(client, piece)
            await asyncio.sleep(0)
        answer = await heard(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
    assert answer.endswith(b"Connection: close\r\n\r\n")
    await until(lambda: checked.closed)
    assert checked.counters.proxy_header_failed == 0
    checked.sock.close()


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"GETX / HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * CHECK_HEAD_BYTES,
        b"\x00" * (CHECK_HEAD_BYTES + 1),
    ],
    ids=["a delivery", "another method", "another case", "an endless head", "noise"],
)
async def test_a_delivery_is_never_told_200(run, data):
    checked = Checked()
    with await checked.open() as client:
        await send(client, data)
        assert await heard(client) == b"reset"
    await until(lambda: checked.closed == 1)
    assert checked.counters.proxy_header_failed == 1
    assert checked.noted == [(NO_CLIENT, "192.0.2.9")]
    checked.sock.close()


def test_a_check_has_its_deadline(run, monkeypatch):
    monkeypatch.setattr(module, "CHECK_TIMEOUT_S", 0.02)

    async def main():
        checked = Checked()
        with await checked.open() as client:
            await send(client, b"GET")
            assert await heard(client) == b"reset"
        await until(lambda: checked.closed == 1)
        assert checked.counters.proxy_header_failed == 0
        checked.sock.close()

    run(main())


async def test_what_follows_the_answer_is_not_asked_again(run):
    checked = Checked()
    with await checked.open() as client:
        await send(client, b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n")
        assert (await heard(client)).count(b"HTTP/1.1") == 1
    await until(lambda: checked.closed == 1)
    checked.sock.close()
