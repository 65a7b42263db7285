"""Memory and time before the proof, D13 to D17 of the threat model, on real sockets: bodies that nobody has signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.stage import KEY
from tests.whole.wire import Client, github, request

MIB = 1 << 20
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[limits]
buffer_budget = "8MiB"
spill_budget = "64MiB"
reserved_share = 20

[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/github.secret"]
allow = ["127.0.0.1"]

[route.guest]
path = "/guest"
provider = "github"
secrets = ["file:{folder}/github.secret"]

[route.held]
path = "/held"
provider = "github"
secrets = ["file:{folder}/github.secret"]
body = "hold"
"""
CROWD = [f"127.0.0.{number}" for number in range(11, 15)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def hookward(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingUpstream) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("buffers")
    secret, config = folder / "github.secret", folder / "hookward.toml"
    secret.write_bytes(KEY)
    secret.chmod(0o600)
    config.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
    running = Hookward("--config", str(config), secrets=[KEY])
    try:
        yield running
    finally:
        running.stop()


def in_two_reads(hookward: Hookward, path: str, source: str) -> int:
    """The status of a genuine delivery whose body comes behind its head, once that has been read."""
    content = bytes(20_000)
    fields = github(KEY, content) | {"Expect": "100-continue"}
    data = request("POST", path, fields, content)
    head, _, body = data.partition(b"\r\n\r\n")
    with Client(hookward.address, source=source) as client:
        client.send(head + b"\r\n\r\n")
        assert client.interim().status == 100
        return client.send(body[:100]).ask(body[100:]).status


def test_d13_windows_that_are_announced_take_nothing(hookward: Hookward) -> None:
    """A thousand well-formed signatures and a few bytes each used to reserve the whole budget."""
    fields = github(KEY, b"another body") | {"Transfer-Encoding": "chunked"}
    head = request("POST", "/guest", fields)
    with ExitStack() as stack:
        for source in CROWD:
            for _ in range(50):
                stack.enter_context(Client(hookward.address, source=source)).send(head + b"258\r\n" + bytes(600))
        assert in_two_reads(hookward, "/guest", "127.0.0.3") == 200
        assert in_two_reads(hookward, "/github", "127.0.0.1") == 200


def test_d14_no_few_addresses_fill_the_budget(hookward: Hookward) -> None:
    data = request("POST", "/guest", github(b"guess", b"another body"), bytes(200_000))[:-1]
    with ExitStack() as stack:
        for source in CROWD:
            for _ in range(20):
                stack.enter_context(Client(hookward.address, source=source)).send(data)
        assert in_two_reads(hookward, "/guest", "127.0.0.3") == 200
        assert in_two_reads(hookward, "/github", "127.0.0.1") == 200


@pytest.mark.parametrize("path", ["/guest", "/held"])
def test_d15_strangers_without_number_leave_room_for_listed_addresses(hookward: Hookward, path: str) -> None:
    size = 200_000 if path == "/guest" else 2 * MIB
    data = request("POST", path, github(b"guess", b"another body"), bytes(size))[:-1]
    with ExitStack() as stack:
        for number in range(60):
            stack.enter_context(Client(hookward.address, source=f"127.0.1.{number + 1}")).send(data)
        assert in_two_reads(hookward, "/github", "127.0.0.1") == 200
