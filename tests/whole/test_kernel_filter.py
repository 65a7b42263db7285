"""``kernel_filter`` in a running hookward: dropped where it is on, reset where it is off, right after each change."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.net.kernel import SYN_SENT, attempt, needs_kernel_filter, state
from tests.whole.namespaces import Wire, wired
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.test_address_sets import Feed
from tests.whole.wire import PATIENCE_S, Client, request

Configured = Callable[..., Hookward]

NEAR = ["10.255.77.1/24", "fd77::1/64"]
FAR = ["10.255.77.2/24", "10.255.77.3/24", "fd77::2/64", "fd77::3/64"]


@pytest.fixture(autouse=True)
def kernel() -> None:
    needs_kernel_filter()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired(NEAR, FAR) as made:
        yield made


def metrics(hookward: Hookward) -> str:
    """What the admin listener says, which listens last. A worker that is being replaced may cut it short."""
    deadline = monotonic() + PATIENCE_S
    while True:
        try:
            with Client(hookward.addresses[-1]) as client:
                return client.ask(request("GET", "/metrics", host="127.0.0.1"), method="GET").content.decode()
        except ConnectionError:
            assert monotonic() < deadline


def number(hookward: Hookward, name: str) -> float:
    """One of its numbers."""
    text = metrics(hookward)
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline


def fate(hookward: Hookward, source: str, address: tuple[str, int] | None = None) -> str:
    """What becomes of a delivery from that address: "dropped", "reset" or its status."""
    to = address or hookward.address
    dropped = number(hookward, "hookward_kernel_dropped_packets")
    with attempt(to, source) as sock:
        while state(sock) == SYN_SENT:
            if number(hookward, "hookward_kernel_dropped_packets") > dropped:
                return "dropped"
        sock.setblocking(True)
        sock.settimeout(PATIENCE_S)
        try:
            sock.sendall(request("POST", "/hooks", {}, b"{}"))
            return sock.recv(65536).split(b" ")[1].decode()
        except ConnectionError:
            return "reset"


def text(upstream: RecordingUpstream, allow: str, *, mode: str = "auto", more: str = "") -> str:
    return (
        f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\nadmin = "127.0.0.1:0"\n'
        f'kernel_filter = "{mode}"\n{more}\n'
        f'[route.hooks]\npath = "/hooks"\nallow = ["{allow}"]\n'
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_it_drops_whom_no_list_admits_and_follows_reloads(
    configured: Configured, upstream: RecordingUpstream, tmp_path: Path, workers: int
) -> None:
    path, more = tmp_path / "hookward.toml", f"workers = {workers}"

    def reload(allow: str, *, mode: str = "auto") -> None:
        done = number(hookward, 'hookward_reloads_total{result="done"}')
        path.write_text(text(upstream, allow, mode=mode, more=more))
        hookward.signal(signal.SIGHUP)
        until(lambda: number(hookward, 'hookward_reloads_total{result="done"}') > done)

    hookward = configured(text(upstream, "127.0.0.1", more=more), listeners=2)
    assert "only 127.0.0.1 may connect, the kernel filter drops all others" in hookward.err.text
    assert "on, 8 instructions: the kernel drops what no list admits" in hookward.err.text
    assert number(hookward, "hookward_kernel_filters") == 1
    assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["200", "dropped"]
    with Client(hookward.address) as open_before:
        open_before.ask(request("POST", "/hooks", {}, b"{}"))
        reload("127.0.0.2")
        assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["dropped", "200"]
        # An open connection is not cut by the kernel: it is told what it is to be told.
        assert open_before.ask(request("POST", "/hooks", {}, b"{}")).status in (200, 403)
    assert number(hookward, 'hookward_accept_refused_total{cause="address"}') == 0
    reload("127.0.0.2", mode="off")
    assert number(hookward, "hookward_kernel_filters") == 0
    assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["reset", "200"]
    assert number(hookward, 'hookward_accept_refused_total{cause="address"}') == 1


def test_off_is_the_default_and_resets(configured: Configured, upstream: RecordingUpstream) -> None:
    hookward = configured(text(upstream, "127.0.0.1").replace('kernel_filter = "auto"\n', ""), listeners=2)
    assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["200", "reset"]
    assert number(hookward, "hookward_kernel_filters") == 0


@pytest.mark.parametrize("allow", ["127.0.0.0/8", "all"])
def test_it_drops_what_is_denied(configured: Configured, upstream: RecordingUpstream, allow: str) -> None:
    hookward = configured(text(upstream, allow, more='deny = ["127.0.0.2"]'), listeners=2)
    assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3")] == ["200", "dropped", "200"]


def test_it_follows_address_sets(configured: Configured, upstream: RecordingUpstream, tmp_path: Path) -> None:
    feed = Feed(None)
    try:
        office = f'[ip_set.office]\nurl = "{feed.url}"\njson = "prefixes[].cidr"\nrefresh = "1s"'
        more = f'state_dir = "{tmp_path}/state"\n{office}'
        hookward = configured(text(upstream, "set:office", more=more), listeners=2)
        assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["200", "dropped"]
        feed.content = feed.listing("127.0.0.2")
        assert hookward.said("1 (127.0.0.2) added, 1 (127.0.0.1) removed")
        until(lambda: number(hookward, "hookward_policy_generation") == 2)
        assert [fate(hookward, source) for source in ("127.0.0.1", "127.0.0.2")] == ["dropped", "200"]
    finally:
        feed.close()


def test_plain_tcp_has_its_own_list_and_a_trusted_proxy_may_connect(
    configured: Configured, upstream: RecordingUpstream
) -> None:
    to = upstream.url.removeprefix("http://")
    more = (
        f'trusted_proxies = ["127.0.0.3"]\n[tcp.raw]\nlisten = "127.0.0.1:0"\nupstream = "{to}"\nallow = ["127.0.0.2"]'
    )
    hookward = configured(text(upstream, "127.0.0.1", more=more), listeners=3)
    raw = hookward.addresses[1]
    assert number(hookward, "hookward_kernel_filters") == 2
    assert [fate(hookward, f"127.0.0.{n}") for n in (1, 2, 3)] == ["200", "dropped", "403"]
    assert [fate(hookward, f"127.0.0.{n}", raw) for n in (1, 2, 3)] == ["dropped", "200", "dropped"]


def test_between_two_hosts(configured: Configured, upstream: RecordingUpstream, wire: Wire) -> None:
    """Real addresses of both families on a real interface, on one dual-stack socket."""
    toml = (
        'listen = ["[::]:8443"]\nupstream = "http://127.0.0.1:1"\nadmin = "127.0.0.1:0"\nkernel_filter = "auto"\n'
        '[route.hooks]\npath = "/hooks"\nallow = ["10.255.77.2", "fd77::2"]\n'
    )
    hookward = wire.inside("near", lambda: configured(toml, listeners=2))

    def outcome(source: str) -> str:
        to = ("fd77::1" if ":" in source else "10.255.77.1", 8443)
        before = wire.inside("near", lambda: number(hookward, "hookward_kernel_dropped_packets"))
        with wire.inside("far", lambda: attempt(to, source)) as sock:
            while state(sock) == SYN_SENT:
                if wire.inside("near", lambda: number(hookward, "hookward_kernel_dropped_packets")) > before:
                    return "dropped"
            sock.setblocking(True)
            sock.settimeout(PATIENCE_S)
            sock.sendall(request("POST", "/hooks", {}, b"{}"))
            return sock.recv(65536).split(b" ")[1].decode()

    sources = [address.partition("/")[0] for address in FAR]
    assert [outcome(source) for source in sources] == ["502", "dropped", "502", "dropped"]
    refused = wire.inside("near", lambda: number(hookward, 'hookward_accept_refused_total{cause="address"}'))
    assert refused == 0
