"""The accept loop: who is reset, what a host without descriptors means, and that nothing is read."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.net import acceptor as module
from proxy.net.acceptor import Acceptor, peer_of
from tests.net.accepting import FakeSite, dial, is_reset, listening, policy_of, until

ONLY_ONE = AddressSet.parse(["127.0.0.1"])


class Taker:
    """Takes over, and closes at the end."""

    def __init__(self) -> None:
        self.taken: list[tuple[socket.socket, Peer]] = []

    def __call__(self, sock, peer, slot) -> None:
        self.taken.append((sock, peer))
        self.slot = slot

    def close(self) -> None:
        for sock, _ in self.taken:
            sock.close()


def accepting(site: FakeSite, *, sock=None, allow: AddressSet | None = None) -> tuple[Acceptor, Taker, tuple[str, int]]:
    taker = Taker()
    sock = sock or listening()
    address = sock.getsockname()
    acceptor = Acceptor(sock, site=site, slots=site.slots, gate=lambda: allow, hand_over=taker)
    acceptor.start()
    return acceptor, taker, address


def test_who_is_outside_is_reset_and_never_handed_over(run, caplog):
    async def main():
        site = FakeSite()
        acceptor, taker, address = accepting(site, allow=ONLY_ONE)
        assert await is_reset(dial(address, "127.0.0.2"))
        assert site.slots.counters.refused_address == 1
        assert site.slots.counters.open == 0
        assert taker.taken == []
        acceptor.stop()

    run(main())
    assert [record for record in caplog.records if record.name.startswith("proxy")] == []


async def test_who_has_connected_before_the_end_is_taken(run):
    site = FakeSite()
    acceptor, taker, address = accepting(site)
    with dial(address), dial(address), dial(address):
        assert taker.taken == [], "the loop has not looked yet"
        acceptor.take_queue()
        acceptor.stop()
        acceptor.take_queue()
        assert len(taker.taken) == 3
        for sock, _ in taker.taken:
            sock.close()
    with pytest.raises(ConnectionRefusedError):
        dial(address)


async def test_who_is_inside_is_handed_over_ready_to_use(run):
    site = FakeSite()
    acceptor, taker, address = accepting(site, allow=ONLY_ONE)
    with dial(address) as client:
        await until(lambda: taker.taken)
        [(sock, peer)] = taker.taken
        assert peer == Peer.of(*client.getsockname())
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert (type(sock.family), type(sock.type)) == (int, int), "looking up Enum members takes 2 us"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        # A lingering reset of refused ones must not be what an admitted one inherits.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == bytes(8)
    assert site.slots.counters.open == 1
    taker.slot.release()
    taker.close()
    acceptor.stop()


async def test_a_flood_of_refused_peers_does_not_starve_the_loop(run):
    site = FakeSite()
    sock = listening()
    clients = [dial(sock, "127.0.0.2") for _ in range(module.ACCEPT_SHARE + 6)]
    acceptor, _, _ = accepting(site, sock=sock, allow=ONLY_ONE)
    acceptor._on_readable()
    assert site.slots.counters.refused_address == module.ACCEPT_SHARE
    for client in clients:
        assert await is_reset(client)
    acceptor.stop()


@pytest.mark.parametrize(
    ("cap", "counter"), [("max_connections", "refused_full"), ("max_connections_per_address", "refused_per_address")]
)
async def test_over_a_cap_is_reset(run, cap, counter):
    site = FakeSite(policy_of(**{cap: 1}))
    acceptor, taker, address = accepting(site)
    first = dial(address)
    await until(lambda: taker.taken)
    assert await is_reset(dial(address))
    assert getattr(site.slots.counters, counter) == 1
    taker.slot.release()
    second = dial(address)
    await until(lambda: len(taker.taken) == 2)
    assert site.slots.counters.accepted == 2
    first.close()
    second.close()
    taker.close()
    acceptor.stop()


async def test_stop_refuses_newcomers_at_once_and_leaves_who_is_there(run):
    site = FakeSite()
    acceptor, taker, address = accepting(site)
    with dial(address) as client:
        await until(lambda: taker.taken)
        acceptor.stop()
        acceptor.stop()
        with pytest.raises(ConnectionRefusedError):
            dial(address)
        taker.taken[0][0].send(b"still here")
        assert await asyncio.get_running_loop().sock_recv(client, 100) == b"still here"
    taker.close()


class FailingSocket:
    """A listening socket whose accept fails as long as ``errors`` last."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self.sock, self.errors = sock, list(errors)
        self.family = sock.family

    def _accept(self):
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self.sock._accept()  # type: ignore[attr-defined]

    def __getattr__(self, name):
        return getattr(self.sock, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EBADF])
def test_without_descriptors_accepting_pauses_and_recovers(run, monkeypatch, caplog, number):
    monkeypatch.setattr(module, "PAUSE_S", 0.01)

    async def main():
        site = FakeSite()
        sock = FailingSocket(listening(), number, number)
        acceptor, taker, address = accepting(site, sock=sock)
        with dial(address):
            await until(lambda: taker.taken)
            assert site.slots.counters.accept_paused == 2
        taker.close()
        acceptor.stop()

    run(main())
    assert [record.message for record in caplog.records if record.name == module.__name__] == [
        f"cannot accept ({os.strerror(number)}): new connections wait"
    ]


def test_it_does_not_spin_while_it_pauses(run, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 30.0)

    async def main():
        site = FakeSite()
        sock = FailingSocket(listening(), *[errno.EMFILE] * 100)
        acceptor, _, address = accepting(site, sock=sock)
        with dial(address):
            await until(lambda: site.slots.counters.accept_paused)
            for _ in range(50):
                await asyncio.sleep(0)
            assert site.slots.counters.accept_paused == 1
            acceptor.stop()  # in the middle of a pause: the timer is gone too

    run(main())


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN])
async def test_an_error_of_one_connection_is_not_an_error_of_the_next(run, number):
    site = FakeSite()
    acceptor, taker, address = accepting(site, sock=FailingSocket(listening(), number))
    with dial(address):
        await until(lambda: taker.taken)
    assert site.slots.counters.accept_paused == 0
    taker.close()
    acceptor.stop()


async def test_unix_peers_are_judged_too(run, tmp_path):
    path = tmp_path / "hookward.sock"
    loop = asyncio.get_running_loop()
    for allow, admitted in ((AddressSet.parse(["unix:"]), True), (ONLY_ONE, False)):
        site = FakeSite()
        acceptor, taker, _ = accepting(site, sock=listening(f"unix:{path}"), allow=allow)
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, str(path))
            if admitted:
                await until(lambda seen=taker: seen.taken)
                assert taker.taken[0][1] == Peer.unix()
            else:
                assert await loop.sock_recv(client, 1) == b""
                assert site.slots.counters.refused_address == 1
        taker.close()
        acceptor.stop()


@pytest.mark.parametrize(
    ("family", "address", "text"),
    [
        (socket.AF_INET, ("192.0.2.7", 4000), "192.0.2.7"),
        (socket.AF_INET6, ("2001:db8::7", 4000, 0, 0), "2001:db8::7"),
        (socket.AF_INET6, ("::192.0.2.7", 4000, 0, 0), "::c000:207"),
        (socket.AF_INET6, ("::1", 4000, 0, 0), "::1"),
        (socket.AF_INET6, ("::ffff:192.0.2.7", 4000, 0, 0), "192.0.2.7"),
        (socket.AF_INET6, ("fe80::1%eth0", 4000, 0, 2), "fe80::1"),
    ],
)
def test_the_kernels_address_is_the_peer(family, address, text):
    assert peer_of(family, address) == Peer.of(text, 4000)


@given(st.ip_addresses(v=6), st.integers(0, 96))
def test_the_kernels_text_is_as_canonical_as_ours(address, zeros):
    number = int(address) >> zeros
    text = socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
    assert peer_of(socket.AF_INET6, (text, 4000, 0, 0)) == Peer.of(text, 4000)
