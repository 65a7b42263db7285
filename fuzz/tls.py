"""Conversations in TLS that end badly, or should not: what hookward says to each, against the alert that is due.

    make tls [ARGS="--only finished"]

``RAW`` begin with bytes that no library would send; ``KEYED`` go on from a handshake of tlslite-ng, which sends what it
is told to. Each names the alert that RFC 8446, RFC 5246 or the extension's own RFC asks for. Where OpenSSL's habit is
another one and as safe, it stands in ``ACCEPTED`` with the reason. Anything else fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from tlslite.constants import AlertDescription, ContentType
from tlslite.errors import TLSAbruptCloseError, TLSError, TLSRemoteAlert
from tlslite.handshakesettings import HandshakeSettings
from tlslite.messages import Message
from tlslite.tlsconnection import TLSConnection
from tlslite.utils.keyfactory import parsePEMKey
from tlslite.x509certchain import X509CertChain

from tests.whole.process import Hookward

NAME = "hooks.example.com"
PATIENCE_S = 20.0
TLS_TIMEOUT_S = 2
Address = tuple[str, int]

ALERTS = {number: name for name, number in vars(AlertDescription).items() if isinstance(number, int)}


# -- what a client says first


def sized(size: int, content: bytes) -> bytes:
    """``content`` behind its length in so many bytes."""
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + sized(2, content)


def record(content: bytes, kind: int = 22, version: bytes = b"\3\1") -> bytes:
    return bytes([kind]) + version + sized(2, content)


GROUPS = extension(10, sized(2, bytes.fromhex("001d0017")))
SIGNATURES = extension(13, sized(2, bytes.fromhex("0403080408050401")))
POINT = bytes([9]) + bytes(31)  # the base point of X25519
SHARE = extension(51, sized(2, bytes.fromhex("001d") + sized(2, POINT)))
VERSIONS = extension(43, sized(1, b"\3\4"))
HOST = extension(0, sized(2, b"\0" + sized(2, NAME.encode())))
OLD = GROUPS + SIGNATURES + HOST
NEW = OLD + VERSIONS + SHARE
GCM = bytes.fromhex("c02bc02f")
AES_1_3 = bytes.fromhex("13011302")


def hello(
    extensions: bytes = OLD,
    *,
    version: bytes = b"\3\3",
    session: bytes = b"",
    suites: bytes = GCM,
    compression: bytes = b"\0",
    behind: bytes = b"",
) -> bytes:
    """A ClientHello, without its record."""
    body = version + bytes(32) + sized(1, session) + sized(2, suites) + sized(1, compression)
    body += (sized(2, extensions) if extensions else b"") + behind
    return b"\1" + sized(3, body)


def hello13(extensions: bytes = NEW, **more: bytes) -> bytes:
    return hello(extensions, **{"suites": AES_1_3, "session": bytes(32), **more})


RAW: dict[str, tuple[bytes, str]] = {
    "TLS 1.2": (record(hello()), "hello"),
    "TLS 1.3": (record(hello13()), "hello"),
    "a name that is not ours": (record(hello(OLD.replace(b"hooks", b"other"))), "hello"),
    "a hello in records of one byte": (b"".join(record(bytes([byte])) for byte in hello()), "hello"),
    "SSL 3": (record(hello(version=b"\3\0"), version=b"\3\0"), "protocol_version"),
    "TLS 1.0": (record(hello(version=b"\3\1")), "protocol_version"),
    "TLS 1.1": (record(hello(version=b"\3\2")), "protocol_version"),
    "old versions in the list": (record(hello(OLD + extension(43, b"\4\3\1\3\2"))), "protocol_version"),
    "an empty list of versions": (record(hello(OLD + extension(43, b"\0"))), "decode_error"),
    "SSL 2": (b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + bytes(60), "protocol_version"),
    "no common cipher": (record(hello(suites=b"\0\x2f")), "handshake_failure"),
    "no common cipher of 1.3": (record(hello13(suites=b"\x13\x7f")), "handshake_failure"),
    "no cipher at all": (record(hello(suites=b"")), "decode_error"),
    "no common group": (record(hello(SIGNATURES + extension(10, b"\0\2\x12\x34"))), "handshake_failure"),
    "no common group of 1.3": (
        record(hello13(SIGNATURES + VERSIONS + extension(10, b"\0\2\x12\x34") + extension(51, b"\0\0"))),
        "handshake_failure",
    ),
    "no common signature": (record(hello(GROUPS + extension(13, b"\0\2\xfe\xfe"))), "handshake_failure"),
    "1.3 without signatures": (record(hello13(GROUPS + VERSIONS + SHARE)), "missing_extension"),
    "1.3 without a share": (record(hello13(OLD + VERSIONS)), "missing_extension"),
    "1.3 without groups": (record(hello13(SIGNATURES + VERSIONS + SHARE)), "missing_extension"),
    "a share of zeros": (record(hello13(NEW.replace(POINT, bytes(32)))), "illegal_parameter"),
    "a share that is short": (
        record(hello13(OLD + VERSIONS + extension(51, sized(2, b"\0\x1d" + sized(2, POINT[:31]))))),
        "illegal_parameter",
    ),
    "a share off the curve": (
        record(hello13(OLD + VERSIONS + extension(51, sized(2, b"\0\x17" + sized(2, b"\4" + bytes(64)))))),
        "illegal_parameter",
    ),
    "a fallback": (record(hello(suites=GCM + b"\x56\0")), "inappropriate_fallback"),
    "compression alone": (record(hello(compression=b"\1")), "illegal_parameter"),
    "1.3 with compression": (record(hello13(compression=b"\1\0")), "illegal_parameter"),
    "a renegotiation at the start": (record(hello(OLD + extension(0xFF01, b"\1x"))), "handshake_failure"),
    "an extension twice": (record(hello(OLD + GROUPS)), "illegal_parameter"),
    "an empty list of names": (record(hello(GROUPS + SIGNATURES + extension(0, b"\0\0"))), "decode_error"),
    "a length behind the end": (record(hello(OLD + b"\0\x17\0\x09")), "decode_error"),
    "bytes behind the extensions": (record(hello(behind=b"xx")), "decode_error"),
    "a session of 33 bytes": (record(hello(session=bytes(33))), "decode_error"),
    "a fragment length that is none": (record(hello(OLD + extension(1, b"\x63"))), "illegal_parameter"),
    "a key before its list's end": (
        record(hello13(OLD + VERSIONS + extension(41, sized(2, b"") + sized(2, b"")) + SHARE)),
        "illegal_parameter",
    ),
    "only http/2": (record(hello(OLD + extension(16, sized(2, b"\2h2")))), "no_application_protocol"),
    "a message of no kind": (record(b"\x63" + sized(3, b"xxxx")), "unexpected_message"),
    "a message without end": (record(b"\1\xff\xff\xff" + bytes(64)), "illegal_parameter"),
    "Finished first": (record(b"\x14" + sized(3, bytes(12))), "unexpected_message"),
    "application data first": (record(b"GET / HTTP/1.1\r\n\r\n", 23), "unexpected_message"),
    "ChangeCipherSpec first": (record(b"\1", 20), "unexpected_message"),
    "a heartbeat first": (record(b"\1\xff\xff", 24), "unexpected_message"),
    "a record of no kind": (record(b"xxxx", 99), "unexpected_message"),
    "an empty record": (record(b"") + record(hello()), "unexpected_message"),
    "a record that is too long": (b"\x16\3\1\x48\1" + bytes(18433), "record_overflow"),
    "HTTP": (b"POST /github HTTP/1.1\r\nHost: hooks.example.com\r\n\r\n", "unexpected_message"),
    "a banner": (b"SSH-2.0-OpenSSH_9.6\r\n", "unexpected_message"),
    "an alert": (record(b"\2\x28", 21), "closed"),
    "half a hello": (record(hello())[:40], "closed"),
    "nothing": (b"", "closed"),
}


#: To plain HTTP on the port.
PLAIN = b"HTTP/1.1 400"


def heard(sock: socket.socket) -> str:
    """What comes in the clear: "hello", the name of an alert, "HTTP/1.1 400", "closed" or "reset"."""
    data = b""
    try:
        while True:
            while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[3:5], "big")):
                if data[0] == ContentType.alert:
                    return ALERTS.get(data[6], str(data[6]))
                if data[0] == ContentType.handshake:
                    return "hello"
                data = data[end:]
            piece = sock.recv(65536)
            if not piece:
                if data.startswith(PLAIN):
                    return PLAIN.decode()
                return "closed" if not data else f"closed behind {data!r}"
            data += piece
    except ConnectionResetError:
        return "reset"


def say(place: Address, data: bytes) -> str:
    with socket.create_connection(place, timeout=PATIENCE_S) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        return heard(sock)


# -- what a client says under its keys


class Spoilt(TLSConnection):  # type: ignore[misc]
    """A client whose messages are changed before they are sent. ``spoil`` takes a message and gives one."""

    spoil: Callable[[Any], Any] = staticmethod(lambda message: message)

    def _sendMsg(self, msg: Any, *args: Any, **named: Any) -> Iterator[int]:  # noqa: N802 - the library's name
        return super()._sendMsg(self.spoil(msg), *args, **named)  # type: ignore[no-any-return]

    def _queue_message(self, msg: Any) -> None:
        super()._queue_message(self.spoil(msg))

    def put(self, kind: int, content: bytes) -> None:
        for _ in super()._sendMsg(Message(kind, bytearray(content)), randomizeFirstBlock=False):
            pass


@dataclass
class Keyed:
    """A handshake with these versions and this certificate, and what is said behind it."""

    due: str
    versions: tuple[int, ...] = (3, 4)
    then: Callable[[Spoilt], object] | None = None
    spoils: str = ""  # the class of the message whose last byte is changed
    certificate: str = ""  # "ours", "stranger", "": none
    asks: bool = False  # at the hookward that requires a certificate


def put(kind: int, content: bytes) -> Callable[[Spoilt], object]:
    return lambda client: client.put(kind, content)


def stretched(client: Spoilt) -> None:
    """A record with one byte more than there may be."""
    client._user_record_limit = client._send_record_limit = 1 << 15
    client.put(ContentType.application_data, bytes((1 << 14) + 1))


def torn(client: Spoilt) -> None:
    """A record whose last byte is not what was encrypted."""
    records = client._recordLayer._recordSocket
    sock, sent = records.sock, bytearray()
    records.sock = Gathering(sent)
    client.put(ContentType.application_data, b"GET / HTTP/1.1\r\n\r\n")
    records.sock = sock
    sent[-1] ^= 1
    sock.sendall(sent)
    sock.flush()


class Gathering:
    """Takes what would be sent."""

    def __init__(self, sent: bytearray) -> None:
        self._sent = sent

    def send(self, data: bytes) -> int:
        self._sent += data
        return len(data)


def both(name: str, due: str, **more: Any) -> dict[str, Keyed]:
    """The same in both versions."""
    return {f"{name}, 1.{minor - 1}": Keyed(due, (3, minor), **more) for minor in (3, 4)}


REQUEST = b"GET / HTTP/1.1\r\nHost: hooks.example.com\r\nConnection: close\r\n\r\n"
KEYED: dict[str, Keyed] = {
    **both("a request", "served", then=put(23, REQUEST)),
    **both(
        "empty records before a request",
        "served",
        then=lambda c: ([c.put(23, b"") for _ in range(8)], c.put(23, REQUEST)),
    ),
    **both("close_notify", "close_notify", then=put(21, b"\1\0")),
    **both("a fatal alert", "closed", then=put(21, b"\2\x28")),
    **both("a Finished that is not", "decrypt_error", spoils="Finished"),
    **both("a torn record", "bad_record_mac", then=torn),
    **both("a record that is too long", "record_overflow", then=stretched),
    **both("a record of no kind", "unexpected_message", then=put(99, b"xxxx")),
    **both("a heartbeat", "unexpected_message", then=put(24, b"\1\xff\xff")),
    **both("ChangeCipherSpec afterwards", "unexpected_message", then=put(20, b"\1")),
    **both("Finished again", "unexpected_message", then=put(22, b"\x14" + sized(3, bytes(12)))),
    "a renegotiation, 1.2": Keyed("no_renegotiation", (3, 3), put(22, hello())),
    "a hello again, 1.3": Keyed("unexpected_message", (3, 4), put(22, hello13())),
    "a KeyUpdate, 1.3": Keyed("illegal_parameter", (3, 4), put(22, b"\x18" + sized(3, b"\2"))),
    "an empty handshake message, 1.3": Keyed("unexpected_message", (3, 4), put(22, b"")),
    "no certificate, 1.2": Keyed("handshake_failure", (3, 3), asks=True),
    "no certificate, 1.3": Keyed("certificate_required", (3, 4), asks=True),
    **both("a stranger's certificate", "unknown_ca", certificate="stranger", asks=True),
    **both("our certificate", "served", then=put(23, REQUEST), certificate="ours", asks=True),
    **both("a proof that is none", "decrypt_error", spoils="CertificateVerify", certificate="ours", asks=True),
}

#: Where OpenSSL says something else that is as safe: the name, what it says, and why that will do.
ACCEPTED: dict[str, tuple[str, str]] = {
    "SSL 3": ("handshake_failure", "OpenSSL is built without it"),
    "an empty list of versions": ("protocol_version", "none of them is ours"),
    "no cipher at all": ("illegal_parameter", "an empty list is read, and refused"),
    "compression alone": ("decode_error", "the list is refused either way"),
    "only http/2": ("hello", "Python's ssl goes on without a protocol: HTTP/1.1 is all that is spoken then"),
    "an empty record": ("hello", "OpenSSL passes over 32 of them"),
    "an alert": ("unexpected_message", "a hello comes first"),
    "HTTP": (PLAIN.decode(), "this is no TLS, so no alert would be read"),
    "a banner": ("closed", "this is no TLS, so no alert would be read"),
}


def spoiler(kind: str) -> Callable[[Any], Any]:
    def spoil(message: Any) -> Any:
        if type(message).__name__ != kind:
            return message
        content = message.write()
        content[-1] ^= 1
        return Message(message.contentType, content)

    return spoil


@dataclass
class Stage:
    """Two hookwards, one of which requires certificates of clients."""

    folder: Path
    open: Address
    strict: Address

    def keyed(self, one: Keyed) -> str:
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = one.versions
        # The library compresses what it has offered to read, whether or not it was asked to.
        settings.certificate_compression_send = settings.certificate_compression_receive = []
        chain = key = None
        if one.certificate:
            chain = X509CertChain()
            chain.parsePemList((self.folder / f"{one.certificate}.pem").read_text())
            key = parsePEMKey((self.folder / f"{one.certificate}.key").read_text(), private=True)
        with socket.create_connection(self.strict if one.asks else self.open, timeout=PATIENCE_S) as sock:
            client = Spoilt(sock)
            client.closeSocket = False
            client.ignoreAbruptClose = False
            client.spoil = spoiler(one.spoils)
            try:
                client.handshakeClientCert(chain, key, settings=settings, serverName=NAME)
                if one.then is not None:
                    one.then(client)
                return "served" if client.read(min=1).startswith(b"HTTP/1.1 ") else "close_notify"
            except TLSRemoteAlert as alert:
                return ALERTS.get(alert.description, str(alert.description))
            except (TLSAbruptCloseError, ConnectionResetError, BrokenPipeError) as error:
                return "closed" if isinstance(error, TLSAbruptCloseError) else "reset"
            except TLSError as error:
                return f"{type(error).__name__}: {error}"

    def says(self, name: str) -> str:
        """What hookward says in the conversation ``name``."""
        return say(self.open, RAW[name][0]) if name in RAW else self.keyed(KEYED[name])


def due(name: str) -> str:
    """What it should say."""
    return ACCEPTED[name][0] if name in ACCEPTED else RAW[name][1] if name in RAW else KEYED[name].due


CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "http://127.0.0.1:9"
[limits]
tls_timeout = "{timeout}s"
[[tls]]
cert = "{folder}/server.pem"
key = "{folder}/server.key"
{clients}
[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/secret"]
"""


def write(folder: Path, name: str, issued: trustme.LeafCert) -> None:
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    (folder / f"{name}.key").chmod(0o600)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Both, for the time of the block; ``folder`` takes their files."""
    clients = trustme.CA(key_type=trustme.KeyType.RSA)
    write(folder, "server", trustme.CA().issue_cert(NAME))
    for name, authority in (("ours", clients), ("stranger", trustme.CA(key_type=trustme.KeyType.RSA))):
        write(folder, name, authority.issue_cert("ci.example.com", key_type=trustme.KeyType.RSA))
    clients.cert_pem.write_to_path(str(folder / "clients.pem"))
    (folder / "secret").write_bytes(os.urandom(16).hex().encode())
    (folder / "secret").chmod(0o600)
    required = f'client_ca = "{folder}/clients.pem"\nclient_cert = "require"'
    places: list[Address] = []
    with contextlib.ExitStack() as stack:
        for name, asked in (("open", ""), ("strict", required)):
            config = folder / f"{name}.toml"
            config.write_text(CONFIG.format(folder=folder, clients=asked, timeout=TLS_TIMEOUT_S))
            hookward = Hookward("--config", str(config))
            stack.callback(hookward.stop)
            places.append(hookward.address)
        yield Stage(folder, *places)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.tls", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="conversations whose name holds this")
    options = parser.parse_args(argv)
    others = 0
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        names = [name for name in [*RAW, *KEYED] if options.only in name]
        for name in names:
            said, wanted = stage.says(name), due(name)
            others += said != wanted
            why = (
                f", due {wanted}" if said != wanted else f" (accepted: {ACCEPTED[name][1]})" if name in ACCEPTED else ""
            )
            print(f"{'ok  ' if said == wanted else 'FAIL'} {name}: {said}{why}")
    accepted = sum(name in ACCEPTED for name in names)
    print(f"{len(names)} conversations, {accepted} accepted differences, {others} failed")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
