"""Nothing configured: what is on this machine may pass, and a tunnel in front does not open it by omission."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Answer, Client, once, request, turned_away

Start = Callable[..., Hookward]


@pytest.fixture
def upstream(lasting_upstream: RecordingUpstream) -> RecordingUpstream:
    lasting_upstream.renew()
    return lasting_upstream


@pytest.fixture
def hookward(start_once: Start, upstream: RecordingUpstream) -> Hookward:
    return start_once("--listen", "127.0.0.1:0", "--upstream", upstream.url)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1", "127.8.9.1:80", "[::1]:80", "app.localhost"]
)
def test_loopback_passes(hookward: Hookward, host: str) -> None:
    assert once(hookward.address, request("POST", "/any/path", {}, b"hello", host=host)).status == 200


@pytest.mark.parametrize("host", ["hooks.example.com", "localhost.example.com", "127.0.0.1.example.com", "192.0.2.1"])
def test_another_host_does_not(hookward: Hookward, upstream: RecordingUpstream, host: str) -> None:
    answer = once(hookward.address, request("POST", "/", {}, b"hello", host=host))
    assert (answer.status, answer.word) == (403, "address_refused")
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via", "CF-Connecting-IP"],
)
def test_what_came_through_a_tunnel_does_not(hookward: Hookward, upstream: RecordingUpstream, name: str) -> None:
    answer = once(hookward.address, request("POST", "/", {name: "127.0.0.1"}, b"hello", host="localhost"))
    assert (answer.status, answer.word) == (403, "address_refused")
    assert upstream.connections == 0


def test_the_banner_says_what_to_set(hookward: Hookward) -> None:
    for flag in ("--provider", "--secret-file", "--allow"):
        assert hookward.said(flag)


def test_open_forwards_everything_and_says_so(start: Start, upstream: RecordingUpstream) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open")
    assert once(hookward.address, request("PUT", "/x", {"Via": "1.1 a"}, b"hello")).status == 200
    assert hookward.said("open")


def test_a_peer_outside_the_list_is_reset_at_accept(start: Start, upstream: RecordingUpstream) -> None:
    hookward = start("--listen", "0.0.0.0:0", "--upstream", upstream.url, "--allow", "127.0.0.1")
    assert turned_away(hookward.address, source="127.0.0.2") == "reset"

    def ask() -> Answer:
        with Client(hookward.address, source="127.0.0.1") as friend:
            return friend.ask(request("POST", "/", {}, b"x"))

    assert ask().status == 200
    assert len(upstream.wait_complete()) == 1
