"""What a workload plays on: the origin, a peer before it, and the proof that the peer does its work."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import trustme

from bench.load import delivery
from bench.load.closed import unverified
from bench.load.process import FailedError, Server, free_port
from bench.load.refused import STRANGER
from bench.peers.catalogue import ROOT, Peer, Place

PROXY_CORE, LOAD_CORE = "0", "1"
ANSWER_S = 20.0


@dataclass(frozen=True)
class Scale:
    """How much of everything: the run's options, as the workloads see them."""

    folder: Path
    seconds: float = 1.0
    large_bytes: int = 25 << 20
    idle_connections: int = 5000
    own_client: bool = False
    pinned: bool = True
    python: str = sys.executable  # of hookward and the other peers in Python

    @property
    def proxy_core(self) -> str:
        return PROXY_CORE if self.pinned else ""

    @property
    def load_core(self) -> str:
        return LOAD_CORE if self.pinned else ""


@dataclass(frozen=True)
class Stage:
    """The origin's port and what all peers of a run share."""

    scale: Scale
    origin: int
    secret: Path
    cert: Path
    key: Path

    def place(self, *, tls: bool, workers: int = 1) -> Place:
        """A folder and a port for one instance."""
        port = free_port()
        folder = Path(tempfile.mkdtemp(prefix=f"{port}-", dir=self.scale.folder))  # a port may come again
        place = Place(folder, port, self.origin, self.secret, workers=workers, python=self.scale.python)
        return replace(place, cert=self.cert, key=self.key) if tls else place

    @contextlib.contextmanager
    def running(self, peer: Peer, *, tls: bool = False, workers: int = 1) -> Iterator[Server]:
        """The peer, started; with more than one worker it has the load's core too."""
        place = self.place(tls=tls, workers=workers)
        cores = f"{PROXY_CORE},{LOAD_CORE}" if self.scale.pinned and workers > 1 else self.scale.proxy_core
        with Server(peer.name, peer.start(place), place.port, cores, place.folder / "stderr.log", ROOT) as server:
            yield server


@contextlib.contextmanager
def stage(scale: Scale) -> Iterator[Stage]:
    """An origin, a secret and a certificate (ECDSA P-256, as most public ones are)."""
    # As an installation does. Where the environment forbids bytecode, each start would compile what was changed last.
    subprocess.run([scale.python, "-m", "compileall", "-q", str(ROOT / "proxy")], check=True)
    secret, cert, key = (scale.folder / name for name in ("secret", "cert.pem", "key.pem"))
    secret.write_bytes(delivery.SECRET)
    issued = trustme.CA().issue_cert("hooks.example.com", "127.0.0.1")
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    port = free_port()
    command = [sys.executable, "-m", "bench.load.origin", "--port", str(port)]
    with Server("origin", command, port, scale.load_core, scale.folder / "origin.log", ROOT):
        yield Stage(scale, port, secret, cert, key)


def count(origin: int) -> int:
    """How many complete requests the origin has had."""
    connection = http.client.HTTPConnection("127.0.0.1", origin, timeout=ANSWER_S)
    with contextlib.closing(connection):
        connection.request("GET", "/count")
        return int(connection.getresponse().read().split()[0])


def post(port: int, data: bytes, *, tls: bool = False, source: str = "127.0.0.1") -> int:
    """The status of the answer, 0 if there was none."""
    try:
        sock = socket.create_connection(("127.0.0.1", port), ANSWER_S, (source, 0))
        with unverified().wrap_socket(sock) if tls else sock as connection:
            with contextlib.suppress(ConnectionError):  # refused before all was sent: the answer tells
                connection.sendall(data)
            answer = b""
            while b"\r\n" not in answer:
                piece = connection.recv(65536)
                if not piece:
                    return 0
                answer += piece
    except OSError:
        return 0
    return int(answer.split(b" ", 2)[1])


def check(peer: Peer, server: Server, origin: int, genuine: bytes, forged: bytes, *, tls: bool = False) -> None:
    """A peer that does not do its work is not measured: FailedError.

    A genuine delivery is answered 200 and is complete at the origin once, a forged one is neither.
    """
    before = count(origin)
    status = post(server.port, genuine, tls=tls)
    if status != 200 or count(origin) - before != int(peer.forwards):
        raise FailedError(f"a genuine delivery ended with {status}, {count(origin) - before} at the origin")
    if peer.guards:
        before = count(origin)
        status = post(server.port, forged, tls=tls)
        if status == 200 or count(origin) != before:
            raise FailedError(f"a forged delivery ended with {status}, {count(origin) - before} at the origin")


def check_refuses(server: Server, origin: int, genuine: bytes) -> None:
    """A stranger's genuine delivery must not pass."""
    before = count(origin)
    status = post(server.port, genuine, source=STRANGER)
    if status == 200 or count(origin) != before:
        raise FailedError(f"a stranger's delivery ended with {status}")
