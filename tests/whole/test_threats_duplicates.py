"""What somebody who recorded deliveries, or a store that is in trouble, could make of the memory of duplicates."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import OK, Received, RecordingUpstream
from tests.whole.wire import Answer, Client, github, once, request

Start = Callable[..., Hookward]
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
GITHUB_WAITS_S = 10.0
PUSH = b'{"ref":"refs/heads/main"}'


def delivery(target: str = "/hooks/github", number: int = 1, content: bytes = PUSH) -> bytes:
    return request("POST", target, github(SECRET, content, delivery=f"d-{number}"), content)


@pytest.fixture
def begin(start: Start, upstream: RecordingUpstream, secret_file: Path) -> Start:
    """hookward with a route for GitHub that refuses what was delivered, and the flags given."""

    def one(*flags: object) -> Hookward:
        return start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--path", "/hooks/github", "--provider", "github"),
            *("--secret-file", secret_file, "--duplicates", "refuse-delivered", *flags),
            secrets=[SECRET],
        )

    return one


def is_duplicate(answer: Answer) -> bool:
    return (answer.status, answer.word) == (200, "duplicate_delivered")


def test_s10_a_failed_delivery_is_not_burnt_by_a_replay_to_another_path(
    begin: Start, upstream: RecordingUpstream
) -> None:
    """The application fails at the webhook's own path, and says yes to whatever comes below."""
    hookward = begin()

    def answer(got: Received) -> bytes:
        return FAILED if got.target == b"/hooks/github" else OK

    upstream.manner.answer = answer
    assert once(hookward.address, delivery()).status == 500
    for number, target in enumerate(["/hooks/github/anything", "/hooks/github/x?a=b"], start=1):
        assert once(hookward.address, delivery(target, number)).status == 200
        assert is_duplicate(once(hookward.address, delivery(target, number))), "there it was delivered"
    upstream.manner.answer = OK
    retry = once(hookward.address, delivery())
    assert (retry.status, retry.word) == (200, "ok")
    assert upstream.complete[-1].target == b"/hooks/github"
    assert is_duplicate(once(hookward.address, delivery()))


@pytest.mark.parametrize("target", ["/hooks/github?again=1", "/hooks/github/", "/hooks/github?"])
def test_s10_a_replay_with_another_query_or_a_slash_is_a_replay(
    begin: Start, upstream: RecordingUpstream, target: str
) -> None:
    """Nobody signs the query: if it counted, whoever recorded a delivery could replay it without end."""
    hookward = begin()
    assert once(hookward.address, delivery()).status == 200
    assert is_duplicate(once(hookward.address, delivery(target, 2)))
    assert len(upstream.complete) == 1


def test_d10_a_locked_store_makes_deliveries_wait_once_and_not_for_each_other(
    begin: Start, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    """Two seconds for each of them, one after the other, would be more than GitHub waits."""
    path = tmp_path / "duplicates.sqlite3"
    hookward = begin("--duplicates-store", "sqlite", "--duplicates-path", path)
    assert once(hookward.address, delivery()).status == 200
    with closing(sqlite3.connect(path, isolation_level=None)) as database, ExitStack() as stack:
        database.execute("BEGIN IMMEDIATE")
        numbers = range(2, 22)
        clients = [stack.enter_context(Client(hookward.address)) for _ in numbers]
        for number, client in zip(numbers, clients, strict=True):
            client.send(delivery(number=number, content=b'{"n":%d}' % number))
        assert [client.answer().status for client in clients] == [200] * len(clients)
    assert hookward.said("the store of duplicates fails")
    assert len(upstream.complete) == 1 + len(clients)
    assert hookward.err.text.count("the store of duplicates fails") == 1
    lines = hookward.logged({"webhook.reason": "delivered"}, 1 + len(clients))
    assert max(line["http.server.request.duration"] for line in lines) < GITHUB_WAITS_S
