"""What docs/in-front.md shows, as it stands there: real HAProxy and nginx before hookward, and the bytes of the others.

Addresses and ports of the page are replaced by those of the test. The sender is 127.0.0.7, the stranger 127.0.0.8; what
stands in front is 127.0.0.1.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from bench.load.process import free_port
from tests.pages import block
from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import nginx, program, served
from tests.whole.wire import Client, github, once, request

PAGE = "in-front.md"
SENDER, STRANGER = "127.0.0.7", "127.0.0.8"
BODY = b'{"zen":"Design for failure."}'
VERSION_2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
SIGNED = github(SECRET, BODY)


@pytest.fixture
def behind(
    start: Callable[..., Hookward],
    upstream: RecordingUpstream,
    certificates: Certificates,
    secret_file: Path,
    tmp_path: Path,
) -> Callable[[str], Hookward]:
    """Start hookward with one of the page's configurations."""

    def begin(mark: str) -> Hookward:
        text = block(PAGE, "toml", mark)
        for shown, ours in (
            ("http://127.0.0.1:8000", upstream.url),
            ("10.0.0.0/24", "127.0.0.1"),
            ("192.0.2.0/24", SENDER),
            ("/etc/hookward/fullchain.pem", str(certificates.cert)),
            ("/etc/hookward/key.pem", str(certificates.key)),
            ("/etc/hookward/github.secret", str(secret_file)),
        ):
            text = text.replace(shown, ours)
        path = tmp_path / "hookward.toml"
        path.write_text(re.sub(r'^(listen += )\["[^"]+"\]', r'\1["127.0.0.1:0"]', text, flags=re.MULTILINE))
        return start("--config", path, secrets=[SECRET])

    return begin


def statuses(address: tuple[str, int], tls: ssl.SSLContext | None = None, **fields: str) -> list[int]:
    """What the sender gets, and what the stranger gets who signs as well."""
    asked = request("POST", "/hooks/github", {**SIGNED, **fields}, BODY)
    found = []
    for source in (SENDER, STRANGER):
        with Client(address, source=source, tls=tls) as client:
            found.append(client.ask(asked).status)
    return found


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """Start HAProxy with one of the page's configurations."""
    running = []

    def begin(mark: str, hookward: Hookward, version: str = "v2") -> tuple[str, int]:
        port = free_port()
        text = block(PAGE, "haproxy", mark).replace("bind :443", f"bind 127.0.0.1:{port}")
        text = text.replace("send-proxy-v2", {"v1": "send-proxy", "v2": "send-proxy-v2"}[version])
        text = re.sub(r"^ *server two .*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r"10\.0\.0\.11:\d+", f"127.0.0.1:{hookward.port}", text)
        text = text.replace("/etc/haproxy/hooks.pem", str(tmp_path / "hooks.pem"))
        path = tmp_path / "haproxy.cfg"
        path.write_text(f"defaults\n  timeout connect 5s\n  timeout client 9s\n  timeout server 9s\n{text}")
        server = served([program("haproxy"), "-f", str(path), "-db"], port, tmp_path)
        running.append(server)
        return ("127.0.0.1", server.__enter__())

    yield begin
    for server in running:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_haproxy_with_the_proxy_protocol(
    behind: Callable[[str], Hookward], haproxy: Callable[..., tuple[str, int]], certificates: Certificates, version: str
) -> None:
    hookward = behind("proxy")
    address = haproxy("proxy", hookward, version)
    asked = request("POST", "/hooks/github", SIGNED, BODY)
    with Client(address, source=SENDER, tls=certificates.client) as client:
        assert client.ask(asked).status == 200
    with pytest.raises(OSError), Client(address, source=STRANGER, tls=certificates.client):  # noqa: PT011
        pass
    assert hookward.logged({"webhook.reason": "delivered", "client.address": SENDER, "network.peer.address": SENDER})


def test_haproxy_with_fields(
    behind: Callable[[str], Hookward],
    haproxy: Callable[..., tuple[str, int]],
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    (tmp_path / "hooks.pem").write_bytes(certificates.cert.read_bytes() + certificates.key.read_bytes())
    hookward = behind("fields")
    address = haproxy("fields", hookward)
    lies = {"X-Forwarded-For": STRANGER, "Forwarded": f"for={STRANGER}"}
    assert statuses(address, certificates.client, **lies) == [200, 403]
    assert hookward.logged({"client.address": SENDER, "network.peer.address": "127.0.0.1"})
    lies = {"X-Forwarded-For": SENDER, "Forwarded": f"for={SENDER}"}
    assert statuses(address, certificates.client, **lies) == [200, 403]


def test_nginx(behind: Callable[[str], Hookward], upstream: RecordingUpstream, tmp_path: Path) -> None:
    hookward = behind("fields")
    location = block(PAGE, "nginx", "fields").replace("10.0.0.11:8080", f"127.0.0.1:{hookward.port}")
    with nginx(tmp_path, location) as port:
        lies = {"X-Forwarded-For": SENDER, "Forwarded": f"for={SENDER}"}
        assert statuses(("127.0.0.1", port), **lies) == [200, 403]
    assert upstream.wait_complete()[0].get(b"x-forwarded-proto") == b"http"


def test_a_network_load_balancer(behind: Callable[[str], Hookward], certificates: Certificates) -> None:
    """Its header has a field of its own (the endpoint's id, 0xEA); its health checks name nobody, or say nothing."""
    hookward = behind("proxy")
    endpoint = b"\xea\x00\x17\x01vpce-08d2bf15fac5001c9"
    block_bytes = bytes([127, 0, 0, 7, 10, 0, 0, 9]) + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big") + endpoint
    header = VERSION_2_SIGNATURE + b"\x21\x11" + len(block_bytes).to_bytes(2, "big") + block_bytes
    for check in (b"", VERSION_2_SIGNATURE + b"\x20\x00\x00\x00"):
        with Client(hookward.address) as client:
            client.send(check)
    raw = Client(hookward.address)
    with raw, _wrapped(raw, header, certificates.client) as client:
        assert client.ask(request("POST", "/hooks/github", SIGNED, BODY)).status == 200
    assert hookward.logged({"client.address": SENDER, "webhook.reason": "delivered"})


def _wrapped(raw: Client, header: bytes, tls: ssl.SSLContext) -> Client:
    """The connection with TLS behind the header."""
    raw.send(header)
    raw.sock = raw.reader.sock = tls.wrap_socket(raw.sock, server_hostname="hooks.example.com")
    return raw


TOLD = [
    ({"X-Forwarded-For": SENDER, "CF-Connecting-IP": SENDER, "X-Forwarded-Proto": "https"}, 200),
    ({"X-Forwarded-For": f"{STRANGER}, {SENDER}", "CF-Connecting-IP": SENDER}, 200),  # both append
    ({"X-Forwarded-For": f"{SENDER}, {STRANGER}", "CF-Connecting-IP": STRANGER}, 403),
    ({"X-Forwarded-For": STRANGER, "CF-Connecting-IP": SENDER}, 403),  # which is not believed
    ({"X-Forwarded-For": f"{SENDER}, {STRANGER}", "X-Forwarded-Host": "hooks.example.ngrok.app"}, 403),
    ({}, 403),  # this host itself is no sender
]


def test_tunnels_that_append_to_x_forwarded_for(behind: Callable[[str], Hookward]) -> None:
    hookward = behind("tunnel")
    for fields, status in TOLD:
        asked = request("POST", "/hooks/github", {**SIGNED, **fields}, BODY)
        assert once(hookward.address, asked).status == status, fields


def test_tunnels_lead_to_where_hookward_listens() -> None:
    def port(mark: str) -> int:
        [address] = tomllib.loads(block(PAGE, "toml", mark))["listen"]
        return int(address.rpartition(":")[2])

    ingress = yaml.safe_load(block(PAGE, "yaml", "cloudflared"))["ingress"]
    assert ingress[0]["service"] == f"http://127.0.0.1:{port('tunnel')}"
    assert "hostname" not in ingress[-1]  # cloudflared asks for a last rule that takes all
    [proxy] = tomllib.loads(block(PAGE, "toml", "frpc"))["proxies"]
    assert (proxy["localIP"], proxy["localPort"]) == ("127.0.0.1", port("frp"))
    assert proxy["transport"]["proxyProtocolVersion"] == "v2"


def test_frp(behind: Callable[[str], Hookward], certificates: Certificates) -> None:
    hookward = behind("frp")
    header = VERSION_2_SIGNATURE + b"\x21\x11\x00\x0c" + bytes([127, 0, 0, 7, 127, 0, 0, 1, 156, 64, 1, 187])
    raw = Client(hookward.address)
    with raw, _wrapped(raw, header, certificates.client) as client:
        assert client.ask(request("POST", "/hooks/github", SIGNED, BODY)).status == 200


def test_a_tunnel_opens_nothing_by_omission(start: Callable[..., Hookward], upstream: RecordingUpstream) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url)
    asked = request("POST", "/", {"X-Forwarded-For": SENDER}, BODY, host="localhost")
    assert once(hookward.address, asked).status == 403
    assert upstream.connections == 0
