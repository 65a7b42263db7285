"""Deliveries that are kept, over real processes: an application that is away, kill -9, several workers, commands."""

from __future__ import annotations

import hmac
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Answer, Client, github, once, request

Start = Callable[..., Hookward]
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
DEAD = 3
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


class Place:
    """A configuration with a route that keeps, and the commands on its store."""

    def __init__(self, folder: Path, start: Start, upstream: RecordingUpstream) -> None:
        self.folder, self._start, self.upstream = folder, start, upstream
        (folder / "github.secret").write_bytes(SECRET)
        (folder / "github.secret").chmod(0o600)
        self.config = folder / "hookward.toml"
        self.admin = f'admin = "unix:{folder}/admin.sock"'

    def begin(self, route: str = 'deliver = "queue"', top: str = "", url: str = "") -> Hookward:
        self.config.write_text(
            f'listen = "127.0.0.1:0"\nupstream = "{url or self.upstream.url}"\nstate_dir = "state"\n{top}\n'
            f'[route.hook]\nprovider = "github"\nsecrets = ["file:github.secret"]\n'
            f'retry = {{ first = "100ms", most = "200ms" }}\n{route}\n'
        )
        return self._start("--config", self.config, secrets=[SECRET])

    def command(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "queue", *words, "-c", str(self.config)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def ask_admin(self, target: bytes) -> Answer:
        asked = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target
        return once(str(self.folder / "admin.sock"), asked, method="GET")

    def conditions(self) -> list[int]:
        """Of all that is kept, as the store has it."""
        with closing(sqlite3.connect(self.folder / "state" / "queue" / "queue.sqlite3")) as database:
            return [condition for (condition,) in database.execute("SELECT condition FROM deliveries")]

    def listed(self, *words: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.command("list", "--json", *words).splitlines()]


def until(condition: Callable[[], object]) -> bool:
    """Wait until it holds, within a deadline."""
    deadline, pause = monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        if monotonic() > deadline:
            return False
        pause.wait(0.02)
    return True


@pytest.fixture
def place(tmp_path: Path, start: Start, upstream: RecordingUpstream) -> Place:
    return Place(tmp_path, start, upstream)


def delivery(number: int = 1, content: bytes | None = None) -> bytes:
    content = b'{"n":%d}' % number if content is None else content
    return request("POST", "/", github(SECRET, content, delivery=f"d-{number}"), content)


def sent(hookward: Hookward, number: int = 1, content: bytes | None = None) -> Answer:
    return once(hookward.address, delivery(number, content))


def bodies(upstream: RecordingUpstream) -> list[bytes]:
    return [bytes(one.content) for one in upstream.complete]


def test_it_is_kept_then_delivered(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin()
    answer = sent(hookward)
    assert (answer.status, answer.word) == (202, "accepted")
    [got] = upstream.wait_complete()
    assert bytes(got.content) == b'{"n":1}'
    assert got.get(b"Webhook-Attempt") == b"1"
    assert got.get(b"Webhook-Accepted-At")
    assert got.get(b"X-Request-Id") == answer.get(b"X-Request-Id")
    assert (got.get(b"Webhook-Verified") or b"").startswith(b"github; secret=")
    [line] = hookward.logged({"event.name": "hookward.attempt"})
    assert (line["webhook.attempt"], line["webhook.outcome"], line["webhook.delivery_id"]) == (1, "delivered", "d-1")


def test_a_large_body_goes_through_the_disk(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin()
    content = b"x" * 100_000, b"y" * 1_000_000
    for number, one in enumerate(content):
        assert sent(hookward, number, one).status == 202
    upstream.wait_complete(2)
    assert set(bodies(upstream)) == set(content)
    assert until(lambda: not list((place.folder / "state" / "queue" / "bodies").iterdir()))


def test_what_is_forged_is_refused_and_not_kept(place: Place) -> None:
    hookward = place.begin()
    assert once(hookward.address, delivery().replace(b'{"n":1}', b'{"n":2}')).status == 403
    assert place.listed() == []


def test_kill_and_start_again_loses_nothing(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = FAILED
    hookward = place.begin()
    for number in range(10):
        assert sent(hookward, number).status == 202
    hookward.process.send_signal(signal.SIGKILL)
    hookward.wait()
    assert len(place.listed()) == 10, "at rest"
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    place.begin()
    assert until(lambda: {b'{"n":%d}' % number for number in range(10)} <= set(bodies(upstream)))
    assert until(lambda: place.conditions() == [])


def test_a_fallback_is_direct_until_it_must_not_be(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin('deliver = "fallback"')
    answer = sent(hookward)
    assert (answer.status, upstream.complete[0].get(b"Webhook-Attempt")) == (200, None)


def test_a_fallback_keeps_for_an_application_that_is_away(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin('deliver = "fallback"', url="http://127.0.0.1:9")
    assert sent(hookward).word == "accepted"
    [kept] = place.listed()
    assert kept["reason"] in {"accepted", "upstream_unreachable"}
    place.config.write_text(place.config.read_text().replace("http://127.0.0.1:9", upstream.url))
    hookward.process.send_signal(signal.SIGHUP)
    assert until(lambda: bodies(upstream) == [b'{"n":1}'])


def test_what_the_application_refuses_is_a_dead_letter(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = GONE
    hookward = place.begin()
    name = sent(hookward).content.split()[1].decode()
    assert until(lambda: place.conditions() == [DEAD])
    shown = place.command("show", name)
    assert "answered 410" in shown
    assert "X-Hub-Signature-256" in shown
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert "1 would be replayed" in place.command("replay", "--dead", "--dry-run")
    assert place.command("replay", "--dead") == "1 replayed\n"
    assert until(lambda: len(upstream.complete) == 2)
    assert upstream.complete[1].get(b"Webhook-Attempt") == b"2"
    assert until(lambda: place.conditions() == [])


def test_a_dead_letter_is_no_duplicate(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = GONE
    hookward = place.begin('deliver = "queue"\nduplicates = "refuse-delivered"')
    assert sent(hookward).word == "accepted"
    assert until(lambda: place.conditions() == [DEAD])
    assert until(lambda: sent(hookward).word == "accepted"), "it may come again"


def test_what_was_accepted_is_a_duplicate(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin('deliver = "queue"\nduplicates = "refuse-delivered"')
    assert sent(hookward).word == "accepted"
    again = sent(hookward)
    assert (again.status, again.word) == (202, "duplicate_delivered")
    upstream.wait_complete()
    assert len(upstream.complete) == 1


def test_a_route_is_paused_and_goes_on(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin('deliver = "fallback"')
    assert sent(hookward).status == 200
    place.command("pause", "hook")
    assert until(lambda: sent(hookward, 2).word == "accepted")
    [row] = [json.loads(line) for line in place.command("--json").splitlines()]
    assert row["paused"]
    assert row["waiting"] >= 1
    before = len(upstream.complete)
    place.command("resume", "hook")
    assert until(lambda: len(upstream.complete) > before)
    assert until(lambda: place.conditions() == [])


def test_what_is_kept_is_dropped_and_exported(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = FAILED
    hookward = place.begin()
    names = [sent(hookward, number).content.split()[1].decode() for number in range(3)]
    [line] = [json.loads(line) for line in place.command("export", names[0]).splitlines()]
    assert line["body_base64"] == "eyJuIjowfQ=="
    assert "removes for good" in _error(place, "drop", "--search", "route:hook")
    hookward.stop()
    assert place.command("drop", names[0]) == "1 dropped\n"
    assert place.command("drop", "--search", "route:hook", "--yes") == "2 dropped\n"
    assert place.conditions() == []
    assert "not there" in _error(place, "show", names[0])


def _error(place: Place, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "queue", *words, "-c", str(place.config)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode in {1, 64}
    return done.stderr


def test_a_full_queue_refuses_and_drops_nothing(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = FAILED
    hookward = place.begin(top=f'{place.admin}\n[queue]\nmax_bytes = "64KiB"\n')
    answers = [sent(hookward, number, b"x" * 10_000) for number in range(10)]
    words = [answer.word for answer in answers]
    assert words == ["accepted"] * words.count("accepted") + ["queue_full"] * words.count("queue_full")
    assert answers[-1].status == 503
    assert answers[-1].get(b"Retry-After")
    ready = place.ask_admin(b"/readyz")
    assert ready.status == 503
    assert b"the queue takes no delivery: full" in ready.content
    assert b"queue" not in place.ask_admin(b"/readyz?exclude=queue").content
    assert len(place.listed()) == words.count("accepted") > 3


def test_several_workers_share_it(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin(top="workers = 2")
    errors: list[str] = []

    def send(first: int) -> None:
        for number in range(first, first + 10):
            answer = sent(hookward, number)
            if answer.word != "accepted":
                errors.append(answer.word)

    threads = [threading.Thread(target=send, args=(10 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert until(lambda: len(set(bodies(upstream))) == 40)
    assert len(upstream.complete) == 40, "each once"


def test_an_order_is_kept(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = FAILED
    hookward = place.begin('deliver = "queue"\norder = "strict"')
    with Client(hookward.address) as client:
        for number in range(5):
            assert client.ask(delivery(number)).status == 202
    upstream.manner.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert until(lambda: place.conditions() == [])
    seen = list(dict.fromkeys(bodies(upstream)))
    assert seen == [b'{"n":%d}' % number for number in range(5)]


def test_metrics_tell_of_it(place: Place, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = GONE
    hookward = place.begin(top=place.admin)
    assert sent(hookward).word == "accepted"
    assert until(lambda: place.conditions() == [DEAD])

    def told() -> bool:
        answer = place.ask_admin(b"/metrics")
        return (
            b'hookward_queue_deliveries{route="hook",state="dead"} 1' in answer.content
            and b'hookward_queue_attempts_total{route="hook",outcome="dead"} 1' in answer.content
        )

    assert until(told)


def test_each_attempt_is_signed_again_on_request(place: Place, upstream: RecordingUpstream) -> None:
    hookward = place.begin('deliver = "queue"\nresign = true')
    large = b"x" * 200_000
    for number, content in enumerate((b"small", large)):
        assert sent(hookward, number, content).word == "accepted"
    for got in upstream.wait_complete(2):
        mac = hmac.new(SECRET, got.content, "sha256").hexdigest().encode()
        assert got.get(b"X-Hub-Signature-256") == b"sha256=" + mac
        assert (got.get(b"Webhook-Verified") or b"").endswith(b"; resigned")
    assert set(bodies(upstream)) == {b"small", large}
