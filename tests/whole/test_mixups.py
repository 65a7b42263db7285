"""Connections that come to nothing leave a line that says why, and the mend: real clients and proxies, set up wrong.

curl, openssl and HAProxy are those of this host.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.load.process import free_port
from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program, served
from tests.whole.wire import Client, github, once, request

ROUTE = '[route.a]\npath = "/a"\nprovider = "github"\nsecrets = ["file:{secret}"]\n'
TLS = '[tls]\ncert = "{cert}"\nkey = "{key}"\n'
HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 9s
  timeout server 9s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server one 127.0.0.1:{to} {options}
"""
BODY = b'{"zen":"Design for failure."}'


@pytest.fixture
def begin(
    configured: Callable[..., Hookward], upstream: RecordingUpstream, certificates: Certificates, secret_file: Path
) -> Callable[..., Hookward]:
    """Start hookward with one route, ``lines`` before it and TLS where that is ``secure``."""

    def start(lines: str = "", *, secure: bool = False) -> Hookward:
        text = f'upstream = "{upstream.url}"\nadmin = "127.0.0.1:0"\n{lines}\n{TLS if secure else ""}{ROUTE}'
        files = {"secret": secret_file, "cert": certificates.cert, "key": certificates.key}
        return configured(text.format(**files), listeners=2, secrets=[SECRET])

    return start


def ran(name: str, *arguments: str) -> str:
    """What a program of this host says, to both of its ends."""
    done = subprocess.run(
        [program(name), *arguments], input="", capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def webhooks(hookward: Hookward) -> tuple[str, int]:
    """Where it listens for them, and not for the administrator."""
    [found] = [one for one in hookward.addresses if one != admin(hookward)]
    return str(found[0]), int(found[1])


def admin(hookward: Hookward) -> tuple[str, int]:
    [line] = [line for line in hookward.err.lines if "health and metrics" in line]
    [found] = [one for one in hookward.addresses if f":{one[1]} " in line]
    return str(found[0]), int(found[1])


def counted(hookward: Hookward, start: str) -> float:
    """The number in the metrics of one series, 0 where it is not there."""
    text = once(admin(hookward), request("GET", "/metrics", host="localhost")).content.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start))


@contextmanager
def haproxy(tmp_path: Path, to: int, options: str) -> Iterator[tuple[str, int]]:
    port = free_port()
    path = tmp_path / "haproxy.cfg"
    path.write_text(HAPROXY.format(port=port, to=to, options=options))
    with served([program("haproxy"), "-f", str(path), "-db"], port, tmp_path):
        yield ("127.0.0.1", port)


def test_an_address_that_is_refused_at_accept_is_told_at_once(
    begin: Callable[..., Hookward], upstream: RecordingUpstream
) -> None:
    hookward = begin('allow = ["127.0.0.2"]')
    to = webhooks(hookward)
    for _ in range(3):
        assert "curl: (" in ran("curl", "-sS", f"http://127.0.0.1:{to[1]}/a?token=secret")
    assert hookward.said("refused at accept: the address is in no `allow` (from 127.0.0.1): add it to `allow`")
    with Client(to, source="127.0.0.2") as client:
        assert client.ask(request("POST", "/a", github(SECRET, BODY), BODY)).status == 200
    assert upstream.wait_complete()
    hookward.stop()
    assert hookward.said("is in no `allow`: 2 more within a minute, from 127.0.0.1 (2)")


def test_plain_http_on_a_tls_port_is_answered_as_nginx_does(begin: Callable[..., Hookward]) -> None:
    hookward = begin(secure=True)
    said = ran("curl", "-sS", "-i", "-d", "{}", f"http://127.0.0.1:{webhooks(hookward)[1]}/a")
    assert said.startswith("HTTP/1.1 400 Bad Request")
    assert "write https:// instead of http://" in said
    assert hookward.said("plain HTTP came to a port that speaks TLS")
    assert counted(hookward, 'hookward_tls_failures_total{cause="http_on_tls_port"}') == 1


def test_tls_on_a_plain_port_is_said(begin: Callable[..., Hookward]) -> None:
    hookward = begin()
    for _ in range(2):
        assert "curl: (35)" in ran("curl", "-sSk", f"https://127.0.0.1:{webhooks(hookward)[1]}/a")
    assert hookward.said("TLS came to a port that speaks plain HTTP (from 127.0.0.1): add [tls]")
    assert len(hookward.logged({"webhook.detail": "tls_on_plain_port", "http.response.status_code": 400}, 2)) == 2
    assert hookward.err.text.count("TLS came to") == 1


@pytest.mark.parametrize(
    ("flags", "cause", "words"),
    [
        (["-verify_return_error"], "untrusted", "the client does not trust our certificate"),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "protocol", "let the client speak TLS 1.2 or 1.3"),
        (["-tls1_2", "-cipher", "AES128-SHA"], "cipher", "no cipher or curve in common"),
    ],
)
def test_a_failed_handshake_has_its_cause(
    begin: Callable[..., Hookward], flags: list[str], cause: str, words: str
) -> None:
    hookward = begin(secure=True)
    ran("openssl", "s_client", "-connect", f"127.0.0.1:{webhooks(hookward)[1]}", *flags)
    assert hookward.said(words)
    assert counted(hookward, f'hookward_tls_failures_total{{cause="{cause}"}}') == 1
    assert counted(hookward, "hookward_tls_failures_total") == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_haproxy_with_a_header_that_is_not_expected(
    begin: Callable[..., Hookward], tmp_path: Path, options: str, *, secure: bool
) -> None:
    hookward = begin(secure=secure)
    with haproxy(tmp_path, webhooks(hookward)[1], f"{options} check inter 200") as front, Client(front) as client:
        client.send(request("POST", "/a", github(SECRET, BODY), BODY)).ended()
        assert hookward.said("a connection begins with a PROXY header, and none is expected (from 127.0.0.1): write")
    if not secure:
        assert hookward.logged({"webhook.detail": "proxy_header_unexpected"})


def test_what_comes_directly_where_a_header_is_required(
    begin: Callable[..., Hookward], certificates: Certificates
) -> None:
    hookward = begin('proxy_protocol = "require"\ntrusted_proxies = ["127.0.0.1"]', secure=True)
    port = webhooks(hookward)[1]
    ran("curl", "-sS", "--cacert", str(certificates.ca), f"https://127.0.0.1:{port}/a")
    assert hookward.said("begins with TLS where a PROXY header is required")
    ran("curl", "-sS", f"http://127.0.0.1:{port}/a")
    assert hookward.said("begins with HTTP where a PROXY header is required")
    with suppress(ConnectionResetError), Client(("127.0.0.1", port), source="127.0.0.9") as client:
        client.ended()
    assert hookward.said("only trusted_proxies may connect where a PROXY header is required")
    assert counted(hookward, 'hookward_accept_refused_total{cause="proxy_header"}') == 2


@pytest.mark.parametrize("options", ["", "send-proxy-v2"])
def test_health_checks_of_haproxy_are_no_refusals(
    begin: Callable[..., Hookward], tmp_path: Path, certificates: Certificates, options: str
) -> None:
    """Which connect, say LOCAL or nothing, and close, on a port with TLS."""
    lines = 'proxy_protocol = "require"\ntrusted_proxies = ["127.0.0.1"]' if options else ""
    hookward = begin(lines, secure=True)
    with haproxy(tmp_path, webhooks(hookward)[1], f"check inter 50 {options}") as front:
        with Client(front, tls=certificates.client) as client:
            assert client.ask(request("POST", "/a", github(SECRET, BODY), BODY)).status == 200
        for _ in range(3):
            # HAProxy's own end before the kernel has shaken hands; those of others are seen.
            with Client(webhooks(hookward)):
                pass
    assert counted(hookward, "hookward_accept_refused_total") == 0
    assert counted(hookward, "hookward_tls_failures_total") == 0
    hookward.stop()
    assert "TLS failed" not in hookward.err.text
    assert "PROXY" not in hookward.err.text
