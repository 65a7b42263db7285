"""The kernel's part of admission, on 127.0.0.0/8 and ::1: who is dropped, what a swap does, what is said without."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from proxy.core.addresses import AddressSet
from proxy.core.bpf import fit
from proxy.net import acceptor as acceptor_module
from proxy.net import kernel_filter as module
from proxy.net.acceptor import Acceptor
from proxy.net.kernel_filter import KernelFilter, attach
from proxy.net.listener import Listener
from proxy.net.sockets import detach_filter, dropped_packets
from tests.net.accepting import FakeSite, Made, dial, is_reset, listening, policy_of, receive, send, until
from tests.net.kernel import gets_in, needs_kernel_filter, option_memory

ONE = AddressSet.parse(["127.0.0.1"])
TWO = AddressSet.parse(["127.0.0.2"])
NOBODY = AddressSet.empty()
LONG = AddressSet.parse(f"10.{i >> 8}.{i & 255}.0/25" for i in range(3000)) | ONE


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    needs_kernel_filter()
    with listening() as sock:
        yield sock


def program(addresses: AddressSet):
    return fit(addresses).instructions


def into(listener: socket.socket, source: str) -> bool:
    return gets_in(listener, listener.getsockname(), source)


def test_who_is_not_in_the_program_is_dropped(listener):
    attach(listener, program(ONE))
    assert into(listener, "127.0.0.1")
    assert not into(listener, "127.0.0.2")
    assert dropped_packets(listener) == 1
    attach(listener, program(TWO))
    assert not into(listener, "127.0.0.1")
    assert into(listener, "127.0.0.2")
    detach_filter(listener)
    assert into(listener, "127.0.0.1")
    detach_filter(listener)


def test_both_families_on_one_socket():
    needs_kernel_filter()
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listening("[::]:0") as listener:
        port = listener.getsockname()[1]
        attach(listener, program(ONE))
        assert gets_in(listener, ("127.0.0.1", port), "127.0.0.1")
        assert not gets_in(listener, ("127.0.0.1", port), "127.0.0.2")
        assert not gets_in(listener, ("::1", port))
        attach(listener, program(AddressSet.parse(["::1", "10.0.0.0/8"])))
        assert gets_in(listener, ("::1", port))
        assert not gets_in(listener, ("127.0.0.1", port), "127.0.0.1")


def test_a_swap_leaves_no_gap(listener):
    """While two programs take turns, who is in both always gets in, and who is in none never does."""
    both = [program(ONE | LONG), program(ONE)]
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            attach(listener, both[swaps % 2])
            swaps += 1

    attach(listener, both[0])
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        while swaps < 200:
            assert into(listener, "127.0.0.1")
            assert not into(listener, "127.0.0.2")
            listener.accept()[0].close()
    finally:
        stop.set()
        thread.join()


def test_connections_live_on_when_their_address_goes(listener):
    """An accepted socket keeps the program under which it came, whatever the listening one has since."""
    attach(listener, program(ONE))
    with dial(listener) as client:
        attach(listener, program(NOBODY))
        sock, _ = listener.accept()
        with sock:
            client.sendall(b"still here")
            sock.settimeout(5)
            assert sock.recv(10) == b"still here"
            assert option_memory(sock) > 0
            detach_filter(sock)
            assert option_memory(sock) == 0


def test_a_list_that_is_too_long_is_widened_and_said(listener, run, caplog):
    async def main():
        kernel = KernelFilter(listener)
        kernel.use(LONG)
        assert kernel.in_force
        assert into(listener, "127.0.0.1")
        assert not into(listener, "127.0.0.2")
        kernel.use(LONG)

    with caplog.at_level(logging.INFO, "proxy"):
        run(main())
    [record] = [record for record in caplog.records if record.name == module.__name__]
    assert record.levelno == logging.WARNING
    assert "address ranges were joined with their neighbours to fit" in record.message


@pytest.mark.parametrize(("enough", "sizes"), [(4096, 1), (2000, 2), (600, 3)])
def test_a_host_with_little_option_memory_gets_a_shorter_program(listener, run, monkeypatch, enough, sizes):
    tried = []

    def strict(sock, instructions):
        tried.append(len(instructions))
        if len(instructions) > enough:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(module, "attach", strict)

    async def main():
        kernel = KernelFilter(listener)
        kernel.use(LONG)
        assert kernel.in_force

    run(main())
    assert len(tried) == sizes
    assert tried[-1] <= enough


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.EPERM, errno.ENOPROTOOPT])
def test_without_one_it_is_said_once_and_tried_again(listener, run, monkeypatch, caplog, error):
    def refuse(sock, instructions):
        raise OSError(error, "not today")

    async def main():
        kernel = KernelFilter(listener)
        with monkeypatch.context() as patch:
            patch.setattr(module, "attach", refuse)
            kernel.use(ONE)
            kernel.use(ONE)
            assert not kernel.in_force
            assert into(listener, "127.0.0.2")
        kernel.use(ONE)
        assert kernel.in_force
        assert not into(listener, "127.0.0.2")
        kernel.use(None)
        assert not kernel.in_force

    with caplog.at_level(logging.INFO, "proxy"):
        run(main())
    texts = [
        record.message.partition(str(listener.getsockname()[1]))[2]
        for record in caplog.records
        if record.name == module.__name__
    ]
    assert texts == [
        " off (not today): addresses that are not admitted are reset after accept",
        " on, 8 instructions: the kernel drops what no list admits",
        " off: the kernel drops nothing",
    ]


def test_elsewhere_than_on_linux_nothing_is_tried(run, monkeypatch, caplog):
    monkeypatch.setattr(sys, "platform", "darwin")

    async def main():
        with listening() as sock:
            kernel = KernelFilter(sock)
            kernel.use(ONE)
            assert not kernel.in_force
            assert dropped_packets(sock) == 0
            kernel.use(None)
            assert gets_in_anyway(sock)

    def gets_in_anyway(sock: socket.socket) -> bool:
        dial(sock, "127.0.0.2").close()
        return True

    run(main())
    assert "off (only Linux has it): addresses that are not admitted are reset after accept" in caplog.text


@pytest.mark.parametrize("before", [True, False], ids=["was_on", "never_on"])
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_what_another_holder_of_the_socket_has_set_does_not_stay(listener, run, monkeypatch, on, before):
    monkeypatch.setattr(acceptor_module, "FILTER_AGAIN_S", 0.001)

    async def main():
        site = FakeSite()
        acceptor = Acceptor(listener, site=site, slots=site.slots, gate=lambda: ONE, hand_over=Made())
        acceptor.start()
        asyncio.get_running_loop().remove_reader(listener)
        acceptor.shield(on=before)
        acceptor.shield(on=on)
        with listener.dup() as same:
            attach(same, program(TWO))
        await until(lambda: into(listener, "127.0.0.1"))
        assert into(listener, "127.0.0.2") is not on
        acceptor.stop()

    run(main())


async def test_an_acceptor_follows_its_gate_and_frees_whom_it_accepts(listener, run):
    site, taken, gate = FakeSite(), [], [ONE]

    def take(sock, peer, slot):
        slot.release()
        taken.append(sock)

    acceptor = Acceptor(listener, site=site, slots=site.slots, gate=lambda: gate[0], hand_over=take)
    acceptor.shield(on=True)
    assert not acceptor.is_shielded, "not before it has begun"
    acceptor.start()
    acceptor.shield(on=True)
    assert acceptor.is_shielded
    assert not into(listener, "127.0.0.2")
    with dial(listener) as client:
        await until(lambda: taken)
        assert option_memory(taken[0]) == 0
        gate[0] = TWO
        acceptor.shield(on=True)
        assert not into(listener, "127.0.0.1")
        assert site.slots.counters.refused_address == 0, "nobody whom the kernel drops is seen here"
        await send(client, b"x")
        taken[0].setblocking(False)
        assert await receive(taken[0]) == b"x"
    gate[0] = None
    acceptor.shield(on=True)
    assert not acceptor.is_shielded, "where everybody may come there is nothing to drop"
    gate[0] = ONE
    acceptor.shield(on=False)
    assert await is_reset(dial(listener, "127.0.0.2"))
    assert site.slots.counters.refused_address == 1
    for sock in taken:
        sock.close()
    acceptor.stop()
    acceptor.shield(on=True)


def test_whom_a_widened_program_lets_through_is_reset(listener, run, monkeypatch):
    monkeypatch.setattr(module, "SIZES", (64,))

    async def main():
        wide = AddressSet.parse(f"127.0.{i}.0/25" for i in range(0, 250, 2))
        site = FakeSite(policy_of(admission=wide))
        made = Made()
        guard = Listener(listener, site=site, slots=site.slots, factory=made)
        guard.start()
        guard.shield(on=True)
        assert guard.is_shielded
        assert not into(listener, "127.1.0.1")
        resets = [await is_reset(dial(listener, f"127.0.{i}.129")) for i in range(0, 20, 2)]
        assert all(resets)
        with dial(listener, "127.0.248.1") as client:
            await send(client, b"hello")
            assert await receive(client) == b"hello"
        assert site.slots.counters.refused_address == len(resets)
        await until(lambda: not site.slots.counters.open)
        await guard.abandon()

    run(main())


async def test_proxy_headers_and_unix_sockets_go_without(listener, run, tmp_path):
    site = FakeSite(policy_of(admission=ONE, trusted=ONE))
    proxied = Listener(listener, site=site, slots=site.slots, factory=Made(), proxy_protocol=True)
    local = Listener(listening(f"unix:{tmp_path}/in.sock"), site=site, slots=site.slots, factory=Made())
    for one in (proxied, local):
        one.start()
        one.shield(on=True)
        assert not one.is_shielded
    assert into(listener, "127.0.0.2")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/in.sock")
    await asyncio.gather(proxied.abandon(), local.abandon())


def test_a_reload_that_cannot_load_it_goes_on_without(run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "proxy.net.kernel_filter", None)

    async def main():
        with listening() as sock:
            site = FakeSite()
            acceptor = Acceptor(sock, site=site, slots=site.slots, gate=lambda: ONE, hand_over=Made())
            acceptor.start()
            acceptor.shield(on=True)
            assert not acceptor.is_shielded
            acceptor.shield(on=False)
            acceptor.stop()

    run(main())
    assert "the kernel filter cannot be loaded" in caplog.text
