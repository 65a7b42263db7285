"""Memory and time before the proof, D13 to D17 of the threat model, on real sockets: bodies that nobody has signed."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.stage import KEY
from tests.whole.wire import PATIENCE_S, Client, github, request

MIB = 1 << 20
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[limits]
buffer_budget = "16MiB"
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

[route.mailgun]
path = "/mailgun"
provider = "mailgun"
secrets = ["file:{folder}/github.secret"]

[route.braintree]
path = "/braintree"
provider = "braintree"
secrets = ["file:{folder}/braintree.secret"]

[route.large]
path = "/large"
provider = "braintree"
secrets = ["file:{folder}/braintree.secret"]
max_body = "25MiB"
"""
CROWD = [f"127.0.0.{number}" for number in range(11, 15)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingUpstream) -> str:
    folder = tmp_path_factory.mktemp("buffers")
    for name, value in (("github", KEY), ("braintree", b"public:" + KEY)):
        secret = folder / f"{name}.secret"
        secret.write_bytes(value)
        secret.chmod(0o600)
    path = folder / "hookward.toml"
    path.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
    return str(path)


@pytest.fixture(scope="module")
def hookward(config: str) -> Iterator[Hookward]:
    running = Hookward("--config", config, secrets=[KEY])
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def fresh(config: str) -> Iterator[Hookward]:
    """One whose memory nobody has used before."""
    running = Hookward("--config", config, secrets=[KEY])
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
            for _ in range(30):
                stack.enter_context(Client(hookward.address, source=source)).send(data)
        assert in_two_reads(hookward, "/guest", "127.0.0.3") == 200
        assert in_two_reads(hookward, "/github", "127.0.0.1") == 200


@pytest.mark.parametrize("path", ["/guest", "/held"])
def test_d15_strangers_without_number_leave_room_for_listed_addresses(hookward: Hookward, path: str) -> None:
    size = 200_000 if path == "/guest" else 2 * MIB
    data = request("POST", path, github(b"guess", b"another body"), bytes(size))[:-1]
    with ExitStack() as stack:
        for number in range(120):
            stack.enter_context(Client(hookward.address, source=f"127.0.1.{number + 1}")).send(data)
        assert in_two_reads(hookward, "/github", "127.0.0.1") == 200


def resident_mib(hookward: Hookward) -> float:
    status = Path(f"/proc/{hookward.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def spilled(hookward: Hookward) -> int:
    """How many bodies are in temporary files."""
    links = []
    for entry in Path(f"/proc/{hookward.pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(entry.readlink()))
    return sum(link.endswith("(deleted)") for link in links)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"


def mailgun(pad: bytes = b"", key: bytes = KEY) -> bytes:
    """A delivery of Mailgun, as it signs today."""
    stamp = b"%d" % time.time()
    mac = hmac.new(key, stamp + b"token", hashlib.sha256).hexdigest().encode()
    return b'{"signature":{"timestamp":"%b","token":"token","signature":"%b"},"event-data":%b}' % (
        stamp,
        mac,
        pad or b"{}",
    )


def status(hookward: Hookward, path: str, body: bytes, content_type: str, source: str = "127.0.0.1") -> int:
    with Client(hookward.address, source=source) as client:
        return client.ask(request("POST", path, {"Content-Type": content_type}, body)).status


DEAR = {
    "objects": ("/mailgun", mailgun(b"[" + b"{}," * 250_000 + b"{}]")),
    "strings": ("/mailgun", mailgun(b"[" + b'"",' * 250_000 + b'""]')),
    "depth": ("/mailgun", mailgun(b"[" * 300_000 + b"]" * 300_000)),
    "fields": ("/braintree", b"bt_signature=a&bt_payload=b" + b"&a" * 500_000),
    "escapes": ("/braintree", b"bt_signature=a|00&bt_payload=" + b"%41" * 250_000),
}


@pytest.mark.parametrize("name", DEAR)
def test_d16_no_unsigned_document_takes_memory_or_the_loop(hookward: Hookward, name: str) -> None:
    """2 GiB and 9 s for a form of 24 MiB, 0.7 GiB and 2.4 s for JSON: that is what a parser made of them."""
    path, body = DEAR[name]
    assert status(hookward, path, mailgun(), "application/json") in {200, 403}
    before = resident_mib(hookward)
    for _ in range(3):
        assert status(hookward, path, body, "application/octet-stream") == 403
    assert resident_mib(hookward) - before < 16


def test_d16_such_schemes_take_a_small_body_unless_the_route_says_more(hookward: Hookward) -> None:
    for path, size, told in (("/mailgun", 2 * MIB, 413), ("/braintree", 2 * MIB, 413), ("/large", MIB // 2, 403)):
        assert status(hookward, path, b"bt_signature=a|00&bt_payload=" + bytes(size), "a/b") == told


def test_d16_a_large_genuine_document_is_delivered(hookward: Hookward, upstream: RecordingUpstream) -> None:
    """It is judged in a thread, small ones on the loop."""
    for size in (10, 30_000, 350_000):
        body = mailgun(b'"' + b"x" * size + b'"')
        assert status(hookward, "/mailgun", body, "application/json") == 200
        assert upstream.complete[-1].sha256 == hashlib.sha256(body).hexdigest()


def test_d17_bodies_that_never_end_are_counted_once(fresh: Hookward) -> None:
    """What a scheme needs whole was kept beside the budget: 276 MiB for twelve senders."""
    head = request(
        "POST", "/large", {"Content-Type": "application/x-www-form-urlencoded", "Transfer-Encoding": "chunked"}
    )
    chunk = b"%x\r\n%b\r\n" % (MIB // 2, b"bt_signature=".ljust(MIB // 2, b"a"))
    before = resident_mib(fresh)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(fresh.address, source=f"127.0.2.{n + 1}")) for n in range(40)]
        for client in clients:
            client.send(head + chunk)
        until(lambda: spilled(fresh) == len(clients))
        assert status(fresh, "/mailgun", mailgun(), "application/json") == 200
        assert resident_mib(fresh) - before < 12
