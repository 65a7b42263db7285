"""Door to door: address, PROXY header, address, TLS, hand-over; and that every slot and descriptor comes back."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace

import pytest

from proxy.core import setup_faults as faults
from proxy.core.addresses import AddressSet, Peer
from proxy.core.setup_faults import SetupFault
from proxy.net import listener as module
from proxy.net.admission import ConnectionSlots
from proxy.net.listener import Listener
from proxy.net.sockets import close_by_reset
from proxy.net.tls import KeyPair, TlsContexts
from tests.net.accepting import (
    FakeSite,
    Made,
    dial,
    is_reset,
    listening,
    policy_of,
    receive,
    receive_exactly,
    send,
    until,
)
from tests.net.test_listener_proxy_header import LOCAL, V1, V2, V2_TLV

LOOPBACK = AddressSet.parse(["127.0.0.1"])
NAMED = AddressSet.parse(["192.0.2.7"])


class Started:
    """A listener with its site, its factory and its address."""

    def __init__(self, policy=None, *, tls=None, proxy_protocol=False, entry="127.0.0.1:0") -> None:
        self.noted: list[tuple[SetupFault, str]] = []
        self.site = FakeSite(policy or policy_of(), ConnectionSlots(lambda *noted: self.noted.append(noted)))
        self.made = Made()
        sock = listening(entry)
        self.address = sock.getsockname()
        self.listener = Listener(
            sock, site=self.site, slots=self.site.slots, factory=self.made, tls=tls, proxy_protocol=proxy_protocol
        )
        self.listener.start()
        self.counters = self.site.slots.counters

    async def end(self) -> None:
        await self.listener.abandon()
        for one in self.made:
            if one.transport is not None:
                one.transport.abort()
        await until(lambda: self.counters.open == 0)
        assert self.site.slots.groups == {}
        assert self.listener.setting_up == 0


@pytest.fixture
def tls(authority):
    return TlsContexts([KeyPair(*authority.write("a", "a.example")), KeyPair(*authority.write("b", "b.example"))])


@pytest.fixture
def client_tls(ca) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def echoes(sock: socket.socket) -> bool:
    await send(sock, b"hello")
    return await receive_exactly(sock, 5) == b"hello"


async def tls_echoes(sock: socket.socket, context: ssl.SSLContext, name: str = "a.example") -> set[str]:
    """The names in the certificate that came, after bytes went there and back."""
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    certificate = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    return {value for _, value in certificate["subjectAltName"]}


async def is_over(sock: socket.socket) -> bool:
    """Whether the other side ends the connection; in a handshake an end is as good as a reset."""
    try:
        return await receive(sock) == b""
    except ConnectionResetError:
        return True


class TestPlain:
    async def test_an_admitted_peer_is_handed_over(self, run):
        started = Started(policy_of(admission=LOOPBACK))
        with dial(started.address) as client:
            assert await echoes(client)
            [one] = started.made
            assert one.peer == Peer.of(*client.getsockname())
            assert not one.secure
            assert started.counters.open == started.counters.accepted == 1
        await until(lambda: one.lost)
        assert started.counters.open == 0
        await started.end()

    async def test_a_refused_peer_is_reset_and_the_factory_never_called(self, run):
        started = Started(policy_of(admission=LOOPBACK))
        assert await is_reset(dial(started.address, "127.0.0.2"))
        assert started.made == []
        assert started.counters.refused_address == 1
        await started.end()

    async def test_a_reload_counts_from_the_next_connection_on(self, run):
        started = Started(policy_of(admission=LOOPBACK))
        with dial(started.address) as old:
            assert await echoes(old)
            started.site.policy = policy_of(admission=NAMED)
            assert await is_reset(dial(started.address))
            assert await echoes(old)
        await started.end()

    async def test_stop_leaves_accepted_connections(self, run):
        started = Started()
        with dial(started.address) as client:
            assert await echoes(client)
            started.listener.stop()
            assert await echoes(client)
            with pytest.raises(ConnectionRefusedError):
                dial(started.address)
        await started.end()

    async def test_a_burst_is_accepted_whole(self, run):
        started = Started(policy_of(max_connections=500, max_connections_per_address=500))
        clients = [dial(started.address) for _ in range(200)]
        for client in clients:
            assert await echoes(client)
            client.close()
        await until(lambda: started.counters.open == 0)
        assert started.counters.accepted == 200
        await started.end()

    def test_unix(self, run, tmp_path):
        path = str(tmp_path / "hookward.sock")

        async def main():
            started = Started(policy_of(admission=AddressSet.parse(["unix:"])), entry=f"unix:{path}")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.setblocking(False)
                assert await echoes(client)
                assert started.made[0].peer == Peer.unix()
            await started.end()

        run(main())

    @pytest.mark.parametrize("waits", [0, 1, 2])
    async def test_what_no_transport_takes_is_reset_and_gives_everything_back(self, run, monkeypatch, waits):
        loop, told, step = asyncio.get_running_loop(), [], asyncio.Event()
        loop.set_exception_handler(lambda _, context: told.append(context))
        started = Started()

        async def fails(*_):
            for _each in range(waits):
                await step.wait()
                step.clear()
            raise OSError("no")

        with monkeypatch.context() as patch:
            patch.setattr(loop, "connect_accepted_socket", fails)
            with dial(started.address) as client:
                await until(lambda: started.counters.accepted)
                for _ in range(waits):
                    assert (started.listener.setting_up, told) == (1, [])
                    step.set()
                    await asyncio.sleep(0)
                assert await is_reset(client)
        assert [(one["message"], str(one["exception"])) for one in told] == [("a connection could not be set up", "no")]
        assert (started.counters.open, started.listener.setting_up) == (0, 0)
        await started.end()
        told.clear()

    async def test_a_factory_that_fails_costs_one_connection(self, run):
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        started = Started()

        def fail(*_, **__):
            raise RuntimeError("a bug")

        works, started.listener._factory = started.listener._factory, fail
        assert await is_reset(dial(started.address))
        await until(lambda: told)
        assert str(told[0]["exception"]) == "a bug"
        started.listener._factory = works
        with dial(started.address) as client:
            assert await echoes(client)
        await started.end()
        told.clear()


class TestTls:
    async def test_a_certificate_by_name(self, run, tls, client_tls):
        started = Started(tls=tls)
        assert await tls_echoes(dial(started.address), client_tls, "a.example") == {"a.example"}
        assert await tls_echoes(dial(started.address), client_tls, "b.example") == {"b.example"}
        assert all(one.secure for one in started.made)
        await until(lambda: started.counters.open == 0)
        assert started.counters.tls_failed == 0
        await started.end()

    async def test_a_new_certificate_serves_new_connections(self, run, tls, client_tls, authority):
        started = Started(tls=tls)
        reader, writer = await asyncio.open_connection(
            sock=dial(started.address), ssl=client_tls, server_hostname="a.example"
        )
        authority.write("a", "renewed.example")
        assert tls.reload_changed() == []
        assert await tls_echoes(dial(started.address), client_tls, "renewed.example") == {"renewed.example"}
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()
        await started.end()

    async def test_a_refused_peer_is_reset_before_the_handshake(self, run, tls):
        started = Started(policy_of(admission=LOOPBACK), tls=tls)
        assert await is_reset(dial(started.address, "127.0.0.2"))
        assert started.made == []
        assert started.counters.tls_failed == 0
        await started.end()

    async def test_a_client_that_sends_nothing_is_dropped_by_the_deadline(self, run, tls):
        started = Started(policy_of(tls_timeout_s=0.05), tls=tls)
        with dial(started.address) as client:
            assert await is_over(client)
            assert started.counters.tls_failed == 1
            assert started.counters.open == 0
        await started.end()

    @pytest.mark.parametrize(
        "sent",
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05nonsense", b"SSH-2.0-x\r\n", b"\x16\x03\x01"],
    )
    @pytest.mark.parametrize("how", ["ends", "resets", "closes"])
    async def test_a_handshake_that_fails(self, run, tls, sent, how):
        started = Started(policy_of(tls_timeout_s=1.0), tls=tls)
        client = dial(started.address)
        await send(client, sent)
        if how == "ends":
            client.shutdown(socket.SHUT_WR)
        elif how == "resets":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        else:
            client.close()
        await until(lambda: started.counters.tls_failed == 1)
        client.close()
        assert started.counters.open == 0
        await started.end()

    async def test_handshakes_are_bounded_and_given_back(self, run, tls, client_tls):
        started = Started(policy_of(max_handshakes=1), tls=tls)
        silent = dial(started.address)
        await until(lambda: started.counters.handshakes == 1)
        assert await is_reset(dial(started.address))
        assert started.counters.refused_handshakes == 1
        silent.close()
        await until(lambda: started.counters.handshakes == 0)
        assert await tls_echoes(dial(started.address), client_tls) == {"a.example"}
        assert started.counters.handshakes == 0
        await started.end()

    async def test_a_client_that_does_not_trust_us(self, run, tls):
        started = Started(tls=tls)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                sock=dial(started.address), ssl=ssl.create_default_context(), server_hostname="a.example"
            )
        # In TLS 1.3 the server may be done before the client looks: then the connection is simply lost.
        await until(lambda: started.counters.accepted == 1 and started.counters.open == 0)
        await started.end()

    async def test_a_handshake_under_way_survives_stop_and_ends_with_abandon(self, run, tls, client_tls):
        started = Started(tls=tls)
        first, second = dial(started.address), dial(started.address)
        await until(lambda: started.listener.setting_up == 2)
        started.listener.stop()
        assert await tls_echoes(first, client_tls) == {"a.example"}
        await started.listener.abandon()
        assert started.listener.setting_up == 0
        with second:
            assert await is_over(second)
        await started.end()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("proxied", [False, True])
async def test_abandon_at_any_moment(run, tls, secure, proxied):
    """Whatever has been made is either told that it is lost, or was never told that it is connected."""
    for turns in range(12):
        policy = policy_of(trusted=LOOPBACK)
        started = Started(policy, tls=tls if secure else None, proxy_protocol=proxied)
        with dial(started.address) as client:
            client.send(V1 if proxied else b"hello")
            started.listener._on_readable()
            for _ in range(turns):
                await asyncio.sleep(0)
            await started.listener.abandon()
            assert started.listener.setting_up == 0
            if not secure and started.made:
                assert started.made[0].transport is not None
                assert started.counters.open == 1
        await started.end()
        assert all(one.lost for one in started.made if one.transport is not None)


def behind(*, admission=NAMED, trusted=LOOPBACK, tls=None, **server) -> Started:
    return Started(policy_of(admission=admission, trusted=trusted, **server), tls=tls, proxy_protocol=True)


def refusals(started: Started) -> tuple[int, int, int]:
    counters = started.counters
    return counters.proxy_header_failed, counters.refused_address, counters.tls_failed


class TestProxyProtocol:
    @pytest.mark.parametrize("header", [V1, V2, V2_TLV], ids=["v1", "v2", "v2 with TLV"])
    async def test_the_address_inside_is_the_peer(self, run, header):
        started = behind()
        with dial(started.address) as client:
            await send(client, header + b"first")
            assert await receive_exactly(client, 5) == b"first"
            assert started.made[0].peer == Peer.of("192.0.2.7", 4000)
            assert started.made[0].received == b"first"
        await started.end()

    @pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
    async def test_byte_by_byte_and_then_tls_on_the_same_socket(self, run, header, tls, client_tls):
        started = behind(tls=tls)
        client = dial(started.address)
        for i in range(len(header)):
            await send(client, header[i : i + 1])
            await asyncio.sleep(0)
        assert await tls_echoes(client, client_tls, "b.example") == {"b.example"}
        assert started.made[0].peer.text == "192.0.2.7"
        await started.end()

    async def test_header_and_client_hello_in_one_piece(self, run, tls, client_tls):
        started = behind(tls=tls)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        here = client_tls.wrap_bio(incoming, outgoing, server_hostname="a.example")
        with dial(started.address) as client:
            with pytest.raises(ssl.SSLWantReadError):
                here.do_handshake()
            await send(client, V2 + outgoing.read())
            while True:
                try:
                    here.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    incoming.write(await receive(client))
            await send(client, outgoing.read())
            await until(lambda: started.made and started.made[0].transport)
        await started.end()

    async def test_only_trusted_proxies_may_connect(self, run):
        started = behind(admission=None)
        client = dial(started.address, "127.0.0.2")
        client.send(V1)
        assert await is_reset(client)
        assert started.made == []
        assert started.counters.refused_address == 1
        await started.end()

    async def test_the_address_inside_is_judged(self, run):
        started = behind(admission=AddressSet.parse(["203.0.113.0/24", "127.0.0.1"]))
        client = dial(started.address)
        await send(client, V1)
        assert await is_reset(client)
        assert started.made == []
        assert started.counters.refused_address == 1
        assert started.counters.open == 0
        await started.end()

    @pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["v2", "v1"])
    @pytest.mark.parametrize("admitted", [True, False])
    async def test_where_it_names_nobody_it_is_a_check_and_no_client(self, run, header, admitted):
        started = behind(admission=LOOPBACK if admitted else NAMED)
        with dial(started.address) as client:
            await send(client, header + b"GET / HTTP/1.0\r\n\r\n")
            assert (await receive(client)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await receive(client) == b""
        assert started.made == []
        await until(lambda: started.counters.open == 0)
        assert refusals(started) == (0, 0, 0)
        await started.end()

    @pytest.mark.parametrize("header", [b"", LOCAL, b"PROXY UNKNOWN\r\n"], ids=["none", "v2", "v1"])
    @pytest.mark.parametrize("secure", [False, True])
    async def test_a_check_that_only_connects_is_no_refusal(self, run, header, secure, tls):
        started = behind(tls=tls if secure else None)
        for end in (close_by_reset, lambda _: None):
            with dial(started.address) as client:
                await send(client, header)
                end(client)
            # Accepted in their order, so behind a header the check is known to have been there.
            with dial(started.address) as genuine:
                await send(genuine, V1)
                await until(lambda: started.counters.accepted)
            started.counters.accepted = 0
        await until(lambda: started.counters.open == 0 and started.listener.setting_up == 0)
        assert all(one.peer.text == "192.0.2.7" for one in started.made)
        assert refusals(started)[:2] == (0, 0)
        assert started.counters.tls_failed == 0, "nor are those that say no word of TLS"
        await started.end()

    async def test_a_check_over_tls(self, run, tls, client_tls):
        started = behind(tls=tls)
        client = dial(started.address)
        await send(client, LOCAL)
        reader, writer = await asyncio.open_connection(sock=client, ssl=client_tls, server_hostname="a.example")
        writer.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await until(lambda: started.counters.open == 0)
        assert started.made == []
        await started.end()

    async def test_no_proxy_is_a_client_because_it_is_trusted(self, run):
        started = behind(admission=AddressSet.parse(["203.0.113.0/24"]))
        started.site.policy = replace(
            started.site.policy, trusted_proxies=AddressSet.parse(["127.0.0.1", "192.0.2.0/24"])
        )
        client = dial(started.address)
        await send(client, V1)
        assert await is_reset(client)
        assert started.counters.refused_address == 1
        await started.end()

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"PROXY nonsense\r\n",
            b"PROXY " + b"x" * 300,
            b"\r\n\r\n\r\n",
        ],
        ids=["http", "tls", "broken", "endless", "blank lines"],
    )
    async def test_anything_else_is_reset(self, run, data, tls):
        for context in (None, tls):
            started = behind(tls=context)
            client = dial(started.address)
            await send(client, data)
            assert await is_reset(client)
            assert started.made == []
            assert started.counters.proxy_header_failed == 1
            assert started.counters.open == 0
            await started.end()

    @pytest.mark.parametrize("data", [b"", V1[:20], V2[:13]], ids=["nothing", "half of v1", "half of v2"])
    def test_a_late_header_is_reset(self, run, data, monkeypatch):
        take = vars(module)["take_header"]
        monkeypatch.setattr(module, "take_header", lambda sock: take(sock, 0.03))

        async def main():
            started = behind()
            client = dial(started.address)
            await send(client, data)
            assert await is_reset(client)
            assert started.counters.proxy_header_failed == 1
            assert started.noted == [(faults.LATE_HEADER, "127.0.0.1")]
            await started.end()

        run(main())

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"GET / HTTP/1.1\r\n\r\n", faults.HTTP_FOR_HEADER),
            (b"\x16\x03\x01\x02\x00\x01", faults.TLS_FOR_HEADER),
            (b"PROXY nonsense\r\n", faults.BROKEN_HEADER),
            (b"SSH-2.0-x\r\n", faults.NO_HEADER),
            (V1.replace(b"192.0.2.7", b"192.0.2.8"), faults.NAMED_NOT_LISTED),
        ],
    )
    async def test_what_came_instead_is_noted(self, run, data, fault):
        started = behind()
        client = dial(started.address)
        await send(client, data)
        assert await is_reset(client)
        named = "192.0.2.8" if fault is faults.NAMED_NOT_LISTED else "127.0.0.1"
        assert started.noted == [(fault, named)]
        await started.end()

    async def test_a_peer_that_is_no_proxy_is_noted(self, run):
        started = behind(trusted=NAMED)
        assert await is_reset(dial(started.address))
        assert started.noted == [(faults.NO_TRUSTED_PROXY, "127.0.0.1")]
        await started.end()

    async def test_the_caps_count_the_address_inside(self, run):
        started = behind(max_connections_per_address=1)
        with dial(started.address) as first:
            await send(first, V1)
            assert await echoes(first)
            second = dial(started.address)
            await send(second, V2)
            assert await is_reset(second)
            assert started.counters.refused_per_address == 1
            assert started.noted == [(faults.MANY_OF_ADDRESS, "192.0.2.7")], "the address inside"
        await started.end()

    async def test_connections_without_a_header_yet_count_in_all(self, run):
        started = behind(max_connections=1)
        with dial(started.address):
            await until(lambda: started.listener.setting_up == 1)
            assert await is_reset(dial(started.address))
            assert started.counters.refused_full == 1
            assert started.noted == [(faults.FULL, "127.0.0.1")]
        await started.end()

    async def test_abandon_ends_who_has_not_sent_a_header(self, run):
        started = behind()
        client = dial(started.address)
        await until(lambda: started.listener.setting_up == 1)
        await started.listener.abandon()
        assert await is_reset(client)
        await started.end()
