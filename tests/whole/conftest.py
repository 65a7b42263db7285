"""Fixtures of the whole-process tests: an upstream that remembers, a factory that starts hookward, certificates.

    def test_x(start, upstream):
        hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open")
        answer = once(hookward.address, request(content=b"hello"))
        [got] = upstream.wait_complete()

``start`` stops what it started when the test ends and checks that nothing crashed and no secret was printed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import trustme

from tests.whole.administrator import Host
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.stage import Stage, staged

Start = Callable[..., Hookward]
SECRET = b"It's a Secret to Everybody"


@dataclass(frozen=True)
class Certificates:
    """A certificate for hooks.example.com, localhost and 127.0.0.1 in files, and contexts that fit."""

    cert: Path
    key: Path
    ca: Path
    client: ssl.SSLContext
    server: ssl.SSLContext


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def lasting_upstream() -> Iterator[RecordingUpstream]:
    """For a file whose tests share a hookward; each of them finds it renewed where ``upstream`` is this one."""
    with RecordingUpstream() as one:
        yield one


@pytest.fixture
def start() -> Iterator[Start]:
    yield from starting()


@pytest.fixture(scope="module")
def start_once() -> Iterator[Start]:
    """As ``start``, for all tests of a file; whoever asks with the same arguments gets the same one."""
    yield from starting(cache)


def starting(remember: Callable[[Start], Start] = lambda begin: begin) -> Iterator[Start]:
    running: list[Hookward] = []

    def begin(*argv: object, **options: object) -> Hookward:
        hookward = Hookward(*map(str, argv), **options)
        running.append(hookward)
        return hookward

    yield remember(begin)
    for hookward in reversed(running):
        hookward.stop()


@pytest.fixture
def configured(start: Callable[..., Hookward], tmp_path: Path) -> Callable[..., Hookward]:
    """Start from the text of a TOML file; ``listen`` is set to a free port unless the text sets it."""

    def begin(text: str, *argv: object, **options: object) -> Hookward:
        path = tmp_path / "hookward.toml"
        if not text.lstrip().startswith("listen"):
            text = 'listen = ["127.0.0.1:0"]\n' + text
        path.write_text(text)
        return start("--config", path, *argv, **options)

    return begin


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """GitHub's own example secret in a file."""
    path = tmp_path / "github.secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def host(tmp_path: Path, upstream: RecordingUpstream, start: Callable[..., Hookward]) -> Host:
    """A host whose administrator follows the operations guide."""
    return Host(tmp_path, upstream, start)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One process for all tests of threats: each of them leaves it as it was."""
    with staged(tmp_path_factory.mktemp("stage")) as one:
        yield one


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("hooks.example.com", "localhost", "127.0.0.1")
    cert, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    authority.cert_pem.write_to_path(str(ca))
    client = ssl.create_default_context(cafile=str(ca))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return Certificates(cert, key, ca, client, server)
