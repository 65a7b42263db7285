"""``tail``: of a running process, with and without a console, of several workers, and of a log."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import FlagError
from proxy.tools import tail
from tests.whole.conftest import SECRET, secret_file, start, upstream
from tests.whole.process import Hookward, Output, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import github, once, request

__all__ = ["secret_file", "start", "upstream"]

Start = Callable[..., Hookward]


class Tail:
    """``hookward tail``, running."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "proxy", "tail", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def lines(self, count: int) -> list[str]:
        found = self.out.wait(lambda lines: lines[:count] if len(lines) >= count else None)
        assert found, self.err.text
        return list(found)

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(20)
        self.out.finish()
        self.err.finish()
        return code


@pytest.fixture
def tailing() -> Iterator[Callable[..., Tail]]:
    running: list[Tail] = []

    def begin(*words: object) -> Tail:
        running.append(Tail(*words))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def flags(upstream: RecordingUpstream, secret_file: Path, tmp_path: Path) -> list[object]:
    return [
        *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--path", "/hooks", "--provider", "github"),
        *("--secret-file", secret_file, "--state-dir", tmp_path),
    ]


def send(hookward: Hookward, name: str, path: str = "/hooks", key: bytes = SECRET) -> None:
    once(hookward.address, request("POST", path, github(key, b"{}", delivery=name), b"{}"))


@pytest.mark.parametrize(
    "more", [[], ["--console", "127.0.0.1:0"], ["--workers", "2"]], ids=["plain", "console", "workers"]
)
def test_what_comes_is_printed(
    start: Start,
    upstream: RecordingUpstream,
    secret_file: Path,
    tmp_path: Path,
    tailing: Callable[..., Tail],
    more: list[str],
) -> None:
    hookward = start(*flags(upstream, secret_file, tmp_path), *more, listeners=2 if "--console" in more else 1)
    one = tailing("--follow", hookward.pid, "--json", "event:push")
    done = threading.Event()

    def keep_sending() -> None:
        number = 0
        while not done.wait(0.05):
            number += 1
            send(hookward, f"d-{number}")
            send(hookward, f"n-{number}", path="/nothing")

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        events = [json.loads(line) for line in one.lines(3)]
    finally:
        done.set()
        sender.join()
    assert {event["route"] for event in events} == {"default"}
    assert {event["verdict"] for event in events} == {"admitted"}
    one.stop()
    assert once(hookward.address, request("GET", "/nothing")).status == 404


def test_it_ends_with_its_process(
    start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path, tailing: Callable[..., Tail]
) -> None:
    hookward = start(*flags(upstream, secret_file, tmp_path))
    one = tailing("--follow", next(tmp_path.glob("hookward-*.sock")))
    hookward.stop()
    assert one.process.wait(20) == 0


LINE = {
    "timestamp": "2026-11-29T12:00:00.000000Z",
    "webhook.reason": "signature_mismatch",
    "webhook.verdict": "refused",
    "http.route": "github",
    "webhook.delivery_id": "d-1",
    "client.address": "192.0.2.7",
    "http.response.status_code": 403,
    "http.server.request.duration": 0.25,
    "http.request.method": "POST",
    "url.path": "/hooks\u001b[2J",
    "webhook.why": "The secret is another one.",
    "webhook.mend": "Set it again.",
}


def test_of_a_log_through_a_rotation(tmp_path: Path, tailing: Callable[..., Tail]) -> None:
    log = tmp_path / "access.log"
    log.write_text(
        "".join(json.dumps({**LINE, "webhook.delivery_id": f"d-{n}"}) + "\n" for n in range(20)) + "no json\n"
    )
    one = tailing("--follow", log, "-n", "2", "status:4xx", "ip:192.0.2.0/24")
    first = one.lines(4)
    assert ["id=d-18" in first[0], "id=d-19" in first[2]] == [True, True]
    assert first[1] == "    The secret is another one. Set it again."
    assert "\x1b" not in "".join(first)
    with log.open("a") as file:
        file.write(json.dumps({**LINE, "webhook.delivery_id": "d-20"})[:50])
        file.flush()
        file.write(json.dumps({**LINE, "webhook.delivery_id": "d-20"})[50:] + "\n")
        file.write(json.dumps({**LINE, "http.response.status_code": 200}) + "\n")
    assert "id=d-20" in one.lines(5)[4]
    log.rename(tmp_path / "access.log.1")
    log.write_text(json.dumps({**LINE, "webhook.delivery_id": "d-21"}) + "\n")
    assert "id=d-21" in one.lines(7)[6]


def test_of_standard_input() -> None:
    ecs = {"@timestamp": "2026-11-29T12:00:00Z", "event.reason": "delivered", "http.response.status_code": 200}
    text = json.dumps(LINE) + "\n" + json.dumps(ecs) + "\n"
    command = [sys.executable, "-m", "proxy", "tail", "--follow", "-", "--compact"]
    found = subprocess.run(
        command, input=text, capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    lines = found.stdout.splitlines()
    assert [line.split()[1:] for line in lines] == [
        ["NO", "403", "github", "signature_mismatch"],
        ["--", "200", "-", "delivered"],
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nope:x"], "no search word"),
        (["--follow", "999999999"], "no hookward with the PID"),
        (["--follow", "/no/such/file"], "there is no file"),
        (["--follow", "/no/such.sock"], "no private socket"),
    ],
)
def test_what_cannot_be_followed_is_said(argv: list[str], says: str) -> None:
    with pytest.raises(FlagError, match=says):
        tail.main(argv)
