"""Threats to a hookward with nothing configured: what stands in front opens nothing by omission."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.load.process import free_port
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import nginx, program, served
from tests.whole.wire import Answer, Client, once, request


@pytest.fixture
def upstream(lasting_upstream: RecordingUpstream) -> RecordingUpstream:
    lasting_upstream.renew()
    return lasting_upstream


@pytest.fixture
def hookward(start_once: Callable[..., Hookward], upstream: RecordingUpstream) -> Hookward:
    return start_once("--listen", "127.0.0.1:0", "--upstream", upstream.url)


def refused(hookward: Hookward, upstream: RecordingUpstream, answer: Answer) -> str:
    """The detail that is logged; the sender hears one word, and the application nothing."""
    assert (answer.status, answer.word) == (403, "address_refused")
    assert once(hookward.address, request(host="localhost", target="/fence", content=b"")).status == 200
    assert [one.target for one in upstream.complete] == [b"/fence"]
    assert upstream.connections == 1
    return str(hookward.line_of(answer.get(b"X-Request-Id"))["webhook.detail"])


def test_g3_nginx_with_proxy_pass_alone_opens_nothing(
    hookward: Hookward, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    with nginx(tmp_path, f"location / {{ proxy_pass http://127.0.0.1:{hookward.port}; }}") as port:
        for host in ("hooks.example.com", "localhost", "127.0.0.1"):
            upstream.renew()
            answer = once(("127.0.0.1", port), request(host=host, content=b"{}"))
            assert refused(hookward, upstream, answer) == "http_1_0"


@pytest.mark.parametrize(
    ("directives", "detail"),
    [
        ("proxy_http_version 1.1; proxy_set_header Host $host;", "public_host"),
        ("proxy_http_version 1.1; proxy_set_header X-Real-IP $remote_addr;", "forwarding_field"),
        ("proxy_http_version 1.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "forwarding_field"),
    ],
)
def test_g3_haproxy_and_nginx_as_they_are_mostly_set_open_nothing(
    hookward: Hookward, upstream: RecordingUpstream, tmp_path: Path, directives: str, detail: str
) -> None:
    location = f"location / {{ {directives} proxy_pass http://127.0.0.1:{hookward.port}; }}"
    with nginx(tmp_path, location) as port:
        answer = once(("127.0.0.1", port), request(content=b"{}"))
        assert refused(hookward, upstream, answer) == detail
    upstream.renew()
    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 9s\n  timeout server 9s\n"
        f"listen f\n  bind 127.0.0.1:{port}\n  option forwardfor\n  server s 127.0.0.1:{hookward.port}\n"
    )
    with served([program("haproxy"), "-db", "-f", str(config)], port, tmp_path):
        answer = once(("127.0.0.1", port), request(host="localhost", content=b"{}"))
        assert refused(hookward, upstream, answer) == "forwarding_field"


@pytest.mark.parametrize(
    "line",
    [
        *("X-Forwarded-User: a", "x_forwarded_for: 1", "X.Forwarded.For: 1", "X-Forwarded_Host: a", "_Via: 1.1 a"),
        *("CDN-Loop: a", "CF-Ray: 1", "Fly-Client-IP: 1", "X-Azure-ClientIP: 1", "Tailscale-User-Login: a"),
        *("Ngrok-Auth-User-Id: a", "X-Amzn-Trace-Id: 1", "True-Client-IP: 1", "Fastly-FF: a", "X-Envoy-Internal: true"),
        *("X-Vercel-Id: 1", "X-Appengine-Country: ZZ", "X-Forwarded-For: "),
    ],
)
def test_g3_a_field_of_a_tunnel_however_it_is_spelled(
    hookward: Hookward, upstream: RecordingUpstream, line: str
) -> None:
    name, _, value = line.partition(": ")
    answer = once(hookward.address, request(host="localhost", fields={name: value}, content=b"{}"))
    assert refused(hookward, upstream, answer) == "forwarding_field"


def test_g3_http_1_0_is_not_of_this_host(hookward: Hookward, upstream: RecordingUpstream) -> None:
    data = request(host="localhost", content=b"{}").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert refused(hookward, upstream, once(hookward.address, data)) == "http_1_0"


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Origin": "null"},
        {"Origin": "http://rebound.evil.example:8080", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_g4_a_web_page_of_another_site(hookward: Hookward, upstream: RecordingUpstream, fields: dict[str, str]) -> None:
    for method in ("POST", "GET", "OPTIONS"):
        upstream.renew()
        with Client(hookward.address) as browser:
            answer = browser.ask(request(method, host="localhost", fields=fields, content=b""))
        assert refused(hookward, upstream, answer) == "foreign_origin"


def test_a_page_of_this_host_may(hookward: Hookward, upstream: RecordingUpstream) -> None:
    fields = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}
    assert once(hookward.address, request(host="localhost:8080", fields=fields, content=b"{}")).status == 200
    assert len(upstream.wait_complete()) == 1
