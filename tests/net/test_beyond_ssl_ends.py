"""How TLS ends on real sockets, under both loops: alerts, causes, ``close_notify``, and the bounds of all that."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl

import pytest
import trustme

from proxy.net import beyond_ssl as module
from proxy.net.admission import ConnectionSlots
from proxy.net.beyond_ssl import LINGER_BYTES, fault_of, say_end
from proxy.net.causes import FaultDigest
from proxy.net.listener import Listener
from proxy.net.tls import KeyPair, TlsContexts
from tests.net.accepting import FakeSite, Made, dial, listening, policy_of, receive, send, until
from tests.net.conftest import Authority
from tests.net.test_listener_proxy_header import LOCAL, V1, V2

#: RFC 8446 section 6.2.
HANDSHAKE_FAILURE, PROTOCOL_VERSION, UNKNOWN_CA, CERTIFICATE_REQUIRED, BAD_RECORD_MAC = 40, 70, 48, 116, 20
RECORD_OVERFLOW = 22


class Guarded:
    """A listener that speaks TLS, and the lines that it has for the journal."""

    def __init__(self, tls: TlsContexts, **server: float) -> None:
        self.lines: list[str] = []
        self.faults = FaultDigest(asyncio.get_running_loop(), self.lines.append)
        self.site = FakeSite(policy_of(**server), ConnectionSlots(self.faults.note))
        self.made = Made()
        sock = listening()
        self.address = sock.getsockname()
        self.listener = Listener(sock, site=self.site, slots=self.site.slots, factory=self.made, tls=tls)
        self.listener.start()
        self.counters = self.site.slots.counters

    def tells(self, *causes: str) -> bool:
        """Whether the lines are those of ``causes`` and no others."""
        found = [re.fullmatch(r"TLS failed: (.+) \(from 127\.0\.0\.1\): .+", line) for line in self.lines]
        assert [match and match[1].partition(":")[0] for match in found] == list(causes), self.lines
        return True

    async def end(self) -> None:
        await self.listener.abandon()
        for one in self.made:
            if one.transport is not None:
                one.transport.abort()
        await until(lambda: self.counters.open == 0)
        assert self.counters.handshakes == 0
        self.faults.close()


@pytest.fixture
def clients() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: Authority, clients: trustme.CA, tmp_path) -> TlsContexts:
    cert, key = authority.write("a", "a.example")
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return TlsContexts([KeyPair(cert, key, client_ca=str(tmp_path / "clients.pem"), client_required=True)])


@pytest.fixture
def open_tls(authority: Authority) -> TlsContexts:
    return TlsContexts([KeyPair(*authority.write("b", "a.example"))])


def trusting(ca: trustme.CA, *, of: trustme.CA | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if of is not None:
        of.issue_cert("ci.example.com").configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Wire:
    """A client's TLS in memory over a real socket, so that every record can be seen and spoilt."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="a.example")

    async def flush(self) -> None:
        if data := self.outgoing.read():
            await send(self.sock, data)

    async def call(self, what):
        """``what`` of the TLS object, with all the reading that it needs."""
        while True:
            try:
                result = what()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await receive(self.sock)
                self.incoming.write(data)
                if not data:
                    self.incoming.write_eof()
            else:
                await self.flush()
                return result

    async def shake_hands(self) -> None:
        await self.call(self.tls.do_handshake)

    async def greet(self) -> None:
        """Shake hands, and hear what was said."""
        await self.shake_hands()
        self.tls.write(b"hello")
        await self.flush()
        assert await self.read() == b"hello"

    async def shake_hands_and_read(self) -> bytes:
        await self.shake_hands()
        return await self.read()

    async def read(self) -> bytes:
        data: bytes = await self.call(lambda: self.tls.read(65536))
        return data


async def to_end(sock: socket.socket) -> bytes:
    """What comes until the other side ends; a reset fails the test."""
    data = b""
    while more := await receive(sock):
        data += more
    return data


def hello(version: bytes = b"\3\3", suites: bytes = bytes.fromhex("c02bc02f")) -> bytes:
    """A ClientHello of TLS 1.2 or before."""
    extensions = bytes.fromhex("000a00060004001d0017" + "000d00080006040308040401")
    body = version + bytes(32) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


def fatal(data: bytes) -> int:
    """Which fatal alert ``data`` is, and nothing else: one record in the clear."""
    assert len(data) == 7, data
    assert (data[0], data[3:6]) == (21, b"\0\2\2"), data
    return data[6]


@pytest.mark.parametrize(
    ("sent", "alert", "cause"),
    [
        pytest.param(hello(b"\3\1"), PROTOCOL_VERSION, "unsupported protocol", id="tls_1_0"),
        pytest.param(hello(b"\3\2"), PROTOCOL_VERSION, "unsupported protocol", id="tls_1_1"),
        pytest.param(hello(b"\3\0"), HANDSHAKE_FAILURE, "version too low", id="ssl_3"),
        pytest.param(hello(suites=bytes.fromhex("002f0035")), HANDSHAKE_FAILURE, "no shared cipher", id="no_cipher"),
        pytest.param(b"\x16\3\1\xff\xff" + bytes(100), RECORD_OVERFLOW, "packet length too long", id="long_record"),
    ],
)
async def test_a_hello_that_is_refused_gets_its_alert_and_a_line(run, open_tls, sent, alert, cause):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        await send(client, sent)
        assert fatal(await to_end(client)) == alert
    await until(lambda: guarded.counters.tls_failed == 1 and guarded.counters.open == 0)
    assert guarded.tells(cause)
    await guarded.end()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "of a stranger"])
async def test_a_client_without_the_certificate_is_told_so(run, tls, ca, version, shown):
    guarded = Guarded(tls)
    with dial(guarded.address) as client:
        wire = Wire(client, trusting(ca, of=None if shown == "none" else trustme.CA(), version=version))
        with pytest.raises(ssl.SSLError) as told:
            await wire.shake_hands_and_read()
    if shown == "none":
        wanted = "HANDSHAKE_FAILURE" if version is ssl.TLSVersion.TLSv1_2 else "CERTIFICATE_REQUIRED"
        cause = "peer did not return a certificate"
    else:
        wanted = "UNKNOWN_CA"
        cause = "the client's certificate"
    assert wanted in told.value.reason
    await until(lambda: guarded.counters.tls_failed == 1)
    assert guarded.tells(cause)
    assert not guarded.made[0].transport
    await guarded.end()


async def test_a_client_that_does_not_trust_us_has_a_line(run, open_tls):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        wire = Wire(client, ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            await wire.shake_hands()
        await wire.flush()
        await to_end(client)
    await until(lambda: guarded.lines)
    assert guarded.lines[0].startswith("TLS failed: tlsv1 alert unknown ca")
    await guarded.end()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_record_that_was_changed_on_its_way_gets_its_alert(run, open_tls, ca, version):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        wire = Wire(client, trusting(ca, version=version))
        await wire.greet()
        wire.tls.write(b"spoilt")
        record = bytearray(wire.outgoing.read())
        record[-1] ^= 1
        await send(client, bytes(record))
        with pytest.raises(ssl.SSLError) as told:
            await wire.read()
        assert "BAD_RECORD_MAC" in told.value.reason
        assert await to_end(client) == b""
    await until(lambda: guarded.counters.open == 0)
    assert guarded.made[0].received == b"hello"
    assert guarded.tells("decryption failed or bad record mac, after the handshake")
    assert guarded.counters.tls_done == 1
    await guarded.end()


async def test_what_comes_behind_the_failure_does_not_turn_the_alert_into_a_reset(run, open_tls):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        await send(client, hello(b"\3\1"))
        data = await receive(client)
        await send(client, bytes(64 * 1024))
        assert fatal(data + await to_end(client)) == PROTOCOL_VERSION
    await until(lambda: guarded.counters.open == 0)
    await guarded.end()


@pytest.mark.parametrize("how", ["silent", "sending"])
def test_a_failed_connection_is_kept_for_no_longer_than_it_takes(run, open_tls, monkeypatch, how):
    """A client that does not end its side holds its place for LINGER_S, or for LINGER_BYTES of its noise."""
    monkeypatch.setattr(module, "LINGER_S", 0.05 if how == "silent" else 60.0)

    async def main():
        guarded = Guarded(open_tls, tls_timeout_s=60.0)
        with dial(guarded.address) as client:
            await send(client, hello(b"\3\1"))
            assert fatal(await to_end(client)) == PROTOCOL_VERSION
            if how == "sending":
                with pytest.raises(ConnectionError):
                    await send(client, bytes(64 * LINGER_BYTES))
            await until(lambda: guarded.counters.open == 0)
        await guarded.end()

    run(main())


async def test_the_deadline_of_the_handshake_is_a_cause_and_a_probe_of_the_port_is_none(run, open_tls):
    guarded = Guarded(open_tls, tls_timeout_s=0.05)
    dial(guarded.address).close()
    await until(lambda: guarded.counters.accepted == 1 and not guarded.counters.open)
    assert (guarded.lines, guarded.counters.tls_failed) == ([], 0)
    with dial(guarded.address) as client:
        await send(client, hello()[:20])
        client.shutdown(socket.SHUT_WR)
        await until(lambda: guarded.counters.tls_failed == 1)
    with dial(guarded.address) as client:
        await until(lambda: guarded.counters.tls_failed == 2)
    assert guarded.tells("ended by the client in the middle of the handshake", "tls_timeout")
    assert guarded.counters.tls_faults == {"gone": 1, "timeout": 1}
    await guarded.end()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("behind", [b"", b"unread"])
async def test_the_end_is_said_while_we_still_read(run, open_tls, ca, version, behind):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        wire = Wire(client, trusting(ca, version=version))
        await wire.greet()
        [one] = guarded.made
        heard: list[bytes] = []
        one.data_received = heard.append  # type: ignore[method-assign, assignment]  # no echo behind our end
        one.transport.write(b"goodbye")
        say_end(one.transport)
        assert await wire.read() == b"goodbye"
        assert await wire.read() == b"", "close_notify"
        if behind:
            wire.tls.write(behind)
            await wire.flush()
            await until(lambda: heard == [behind])
        await wire.call(wire.tls.unwrap)
        client.shutdown(socket.SHUT_WR)
        await until(lambda: one.lost)
    assert guarded.lines == []
    await guarded.end()


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\n\r\n{}",
    b"PATCH / HTTP/1.0\r\n\r\n",
    b"HEAD / ",
]


@pytest.mark.parametrize("sent", REQUESTS)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_plain_http_is_answered_and_told(run, open_tls, sent, pieces):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        for at in range(pieces):
            await send(client, sent[at : at + 1] if at < pieces - 1 else sent[at:])
            await until(lambda: guarded.counters.handshakes or guarded.counters.tls_failed)
        answer = await to_end(client)
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in head
    assert text == (b"" if sent.startswith(b"HEAD") else module._PLAIN_TEXT)
    await until(lambda: guarded.counters.tls_failed == 1 and not guarded.counters.open)
    assert guarded.tells("http request")
    assert "answered 400" in guarded.lines[0]
    assert guarded.counters.tls_faults == {"http_on_tls_port": 1}
    await guarded.end()


async def test_half_a_word_of_http_waits_for_its_deadline(run, open_tls):
    guarded = Guarded(open_tls, tls_timeout_s=0.05)
    with dial(guarded.address) as client:
        await send(client, b"PO")
        await until(lambda: guarded.counters.tls_failed == 1)
    assert guarded.tells("tls_timeout")
    await guarded.end()


@pytest.mark.parametrize("header", [V1, V2, LOCAL])
async def test_a_proxy_header_that_is_not_expected_is_told(run, open_tls, header):
    guarded = Guarded(open_tls)
    with dial(guarded.address) as client:
        await send(client, header + hello())
        assert await to_end(client) == b"", "OpenSSL has no alert for what is no TLS"
    await until(lambda: guarded.counters.tls_failed == 1)
    assert guarded.tells("a connection begins with a PROXY header, and none is expected")
    assert 'proxy_protocol = "require"' in guarded.lines[0]
    assert guarded.counters.tls_faults == {"proxy_header_unexpected": 1}
    await guarded.end()


def test_the_words_of_a_cause_are_of_a_closed_list():
    assert fault_of(ssl.SSLError(1, "[SSL] noise")).said == "TLS failed: unknown"
    assert fault_of(ConnectionAbortedError("any text")).word == "timeout"
    assert fault_of(ConnectionResetError("any text")).word == "gone"
