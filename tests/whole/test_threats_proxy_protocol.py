"""Threats behind the PROXY protocol: whom its header names is final, and what names nobody is no client."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from bench.load.process import free_port
from proxy.core.addresses import Peer
from proxy.core.proxy_protocol import LOCAL, write_v2
from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program, served
from tests.whole.wire import PATIENCE_S, Client, once, request, turned_away

CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"
proxy_protocol = "require"
trusted_proxies = ["127.0.0.0/8"]
admin = "127.0.0.1:0"
{tls}

[route.listed]
path = "/"
methods = ["GET", "POST", "OPTIONS"]
allow = [{allow}]
"""
OPEN_BESIDE = '\n[route.beside]\npath = "/beside"\nopen = true\n'
FORGED = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}


@pytest.fixture
def behind(
    start: Callable[..., Hookward], upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path
) -> Callable[..., Hookward]:
    """Start a hookward that wants PROXY headers."""

    def begin(more: str = "", *, tls: bool = False, allow: str = "192.0.2.0/24") -> Hookward:
        path = tmp_path / "hookward.toml"
        keys = f'[tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"' if tls else ""
        path.write_text(CONFIG.format(upstream=upstream.url, tls=keys, allow=f'"{allow}"') + more)
        return start("--config", path, listeners=2)

    return begin


def header(source: str) -> bytes:
    return write_v2(Peer.of(source, 4711), Peer.of("127.0.0.1", 443))


def refusals(hookward: Hookward) -> dict[str, int]:
    """What was refused before a first request, by its cause, as the metrics say."""
    answer = once(hookward.addresses[-1], request("GET", "/metrics", host="127.0.0.1"), method="GET")
    text = answer.content.decode()
    rows = [line for line in text.splitlines() if line.startswith("hookward_accept_refused_total")]
    assert rows
    return {row.partition(" ")[0]: int(float(row.rpartition(" ")[2])) for row in rows}


@pytest.mark.parametrize("source", ["127.0.0.9", "198.51.100.7"])
def test_g5_no_field_changes_whom_a_proxy_header_names(
    behind: Callable[..., Hookward], upstream: RecordingUpstream, source: str
) -> None:
    hookward = behind(OPEN_BESIDE)
    for name, value in FORGED.items():
        with Client(hookward.address) as sender:
            sender.send(header(source))
            answer = sender.ask(request(fields={name: value}, content=b"{}"))
            assert (answer.status, answer.word) == (403, "address_refused")
            answer = sender.ask(request(target="/beside", fields={name: value}, content=b"{}"))
            assert answer.status == 200
    assert hookward.logged({"client.address": source, "network.peer.address": source}, 4)
    for one in upstream.wait_complete(2):
        assert one.get(b"X-Forwarded-For") == source.encode()
        assert one.get(b"Forwarded") is None


def test_g5_a_trusted_network_is_no_list_of_clients(
    behind: Callable[..., Hookward], upstream: RecordingUpstream
) -> None:
    hookward = behind()
    data = request(fields=FORGED, content=b"{}")
    assert turned_away(hookward.address, header("127.0.0.9") + data) == "reset"
    with Client(hookward.address) as listed:
        assert listed.send(header("192.0.2.7")).ask(request(content=b"{}")).status == 200
    assert len(upstream.wait_complete()) == 1
    assert sum(refusals(hookward).values()) == 1


@pytest.mark.parametrize("named", [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n"])
def test_g6_who_is_not_named_is_no_client(
    behind: Callable[..., Hookward], upstream: RecordingUpstream, named: bytes
) -> None:
    """Although the load balancer's own address is on the list."""
    hookward = behind(allow="127.0.0.0/8")
    for method in ("OPTIONS", "GET"):
        with Client(hookward.address) as check:
            answer = check.send(named).ask(request(method), method=method)
            assert (answer.status, answer.content) == (200, b"")
            assert check.ended() == b""
    assert not any(refusals(hookward).values())
    delivery = request(content=b"{}")
    assert turned_away(hookward.address, named + delivery) == "reset"
    assert sum(refusals(hookward).values()) == 1
    with Client(hookward.address) as listed:
        assert listed.send(header("127.0.0.9")).ask(delivery).status == 200
    assert len(upstream.wait_complete()) == 1
    assert upstream.connections == 1


HAPROXY = """
global
  stats socket {folder}/stats
defaults
  mode {mode}
  timeout connect 5s
  timeout client 9s
  timeout server 9s
frontend stats
  mode http
  bind 127.0.0.1:{stats}
  stats enable
  stats uri /stats
backend hooks
  {option}
  server one 127.0.0.1:{hookward} check inter 100ms rise 1 fall 1 {check}
"""


@pytest.mark.parametrize(
    ("tls", "option", "check", "status"),
    [
        (False, "", "send-proxy-v2", "L4OK"),
        (False, "", "send-proxy", "L4OK"),
        (True, "", "send-proxy-v2", "L4OK"),
        (False, "option httpchk", "send-proxy-v2", "L7OK"),
        (False, "option httpchk GET /healthz", "send-proxy", "L7OK"),
        (True, "option httpchk", "send-proxy check-ssl verify none", "L7OK"),
        (True, "", "send-proxy-v2 check-ssl verify none", "L6OK"),
        (True, "option httpchk", "send-proxy-v2 check-ssl verify none", "L7OK"),
    ],
)
def test_g6_the_checks_of_a_real_haproxy_succeed_and_are_no_refusals(
    behind: Callable[..., Hookward],
    upstream: RecordingUpstream,
    tmp_path: Path,
    *,
    tls: bool,
    option: str,
    check: str,
    status: str,
) -> None:
    hookward = behind(tls=tls)
    stats = free_port()
    config = tmp_path / "haproxy.cfg"
    values = {"folder": tmp_path, "stats": stats, "hookward": hookward.port, "mode": "tcp"}
    config.write_text(HAPROXY.format(option=option, check=check, **values))
    with served([program("haproxy"), "-db", "-f", str(config)], stats, tmp_path):
        deadline = monotonic() + PATIENCE_S
        while (seen := checked(stats)) != status:
            assert not seen or seen.startswith("*"), f"the check says {seen}"
            assert monotonic() < deadline
    assert not any(refusals(hookward).values())
    assert upstream.connections == 0
    assert not hookward.log()


def checked(stats: int) -> str:
    """What HAProxy's last check of hookward came to."""
    answer = once(("127.0.0.1", stats), request("GET", "/stats;csv"), method="GET")
    rows = csv.DictReader(io.StringIO(answer.content.decode().removeprefix("# ")))
    return next(row["check_status"] for row in rows if row["svname"] == "one")
