"""Whose address counts and is passed on: PROXY headers out, ``Forwarded``, a real HAProxy and nginx on both sides."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from bench.load.process import free_port
from proxy.core.proxy_protocol import Header, parse
from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Answer, Client, once, request

HAPROXY, NGINX = shutil.which("haproxy"), shutil.which("nginx")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
SENDER = "127.0.0.7"


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A server in the foreground, from its first accepted connection on."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert monotonic() < deadline
                sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()


def haproxy(folder: Path, text: str) -> list[str]:
    path = folder / "haproxy.cfg"
    path.write_text(f"defaults\n  mode http\n  timeout connect 5s\n  timeout client 9s\n  timeout server 9s\n{text}")
    return [str(HAPROXY), "-f", str(path), "-db"]


def nginx(folder: Path, text: str) -> list[str]:
    path = folder / "nginx.conf"
    path.write_text(f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{text} }}""")
    return [str(NGINX), "-c", str(path), "-p", str(folder)]


def ask_from(source: str, address: tuple[str, int]) -> Answer:
    """A request from an address of loopback."""
    with Client(address, source=source) as client:
        return client.ask(request(content=b"hello"))


class Accepting:
    """An upstream of plain sockets: takes the PROXY header off each connection, answers, and remembers both."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.rest: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                data = b""
                while b"hello" not in data:
                    data += sock.recv(65536)
                header = parse(data)
                assert isinstance(header, Header)
                self.headers.append(header)
                self.rest.append(data[header.length :])
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                sock.recv(1)  # it is the other side that ends the connection

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def accepting() -> Iterator[Accepting]:
    one = Accepting()
    yield one
    one.close()


def test_each_upstream_connection_belongs_to_one_client(start: Callable[..., Hookward], accepting: Accepting) -> None:
    upstream = f"http://127.0.0.1:{accepting.port}"
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream, "--open", "--send-proxy")
    for source in (SENDER, "127.0.0.8", SENDER):
        assert ask_from(source, hookward.address).status == 200
    assert [header.peer.text for header in accepting.headers if header.peer] == [SENDER, "127.0.0.8", SENDER]
    assert all(header.peer and header.peer.port for header in accepting.headers)
    assert all(rest.startswith(b"POST / HTTP/1.1\r\n") for rest in accepting.rest)


def test_plain_tcp_can_name_its_client_too(
    start: Callable[..., Hookward], accepting: Accepting, tmp_path: Path
) -> None:
    config = tmp_path / "hookward.toml"
    config.write_text(f"""[tcp.app]
listen = "127.0.0.1:0"
upstream = "127.0.0.1:{accepting.port}"
send_proxy = true
allow = ["127.0.0.0/8"]
""")
    hookward = start("--config", config)
    with socket.create_connection(hookward.address, source_address=(SENDER, 0)) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100).endswith(b"ok")
    [header] = accepting.headers
    assert header.peer is not None
    assert header.peer.text == SENDER
    assert accepting.rest == [b"hello"]


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ({"Forwarded": "for=192.0.2.9;proto=https"}, "192.0.2.9"),
        ({"Forwarded": 'for="[2001:db8::7]:4711", for=127.0.0.5'}, "2001:db8::7"),
        ({"Forwarded": "for=192.0.2.9", "X-Forwarded-For": "192.0.2.9"}, "192.0.2.9"),
        ({"Forwarded": "for=192.0.2.9", "X-Forwarded-For": "192.0.2.10"}, None),
        ({"Forwarded": "for=broken, for", "X-Forwarded-For": "192.0.2.10"}, None),
    ],
)
def test_what_a_trusted_proxy_says_of_its_client(
    start: Callable[..., Hookward], upstream: RecordingUpstream, fields: dict[str, str], client: str | None
) -> None:
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--trusted-proxy", "127.0.0.0/8"]
    hookward = start(*argv)
    answer = once(hookward.address, request(content=b"hello", fields=fields))
    assert answer.status == (200 if client else 400)
    if client:
        assert hookward.logged({"client.address": client})
    else:
        assert hookward.logged({"webhook.detail": "forwarded_conflict"})
        assert upstream.complete == []


@needs_haproxy
def test_behind_haproxy_with_proxy_v2(
    start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path
) -> None:
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--proxy-protocol", "require"]
    hookward = start(*argv, "--trusted-proxy", "127.0.0.1")
    port = free_port()
    text = f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n"
    with running(haproxy(tmp_path, f"{text}  server s 127.0.0.1:{hookward.port} send-proxy-v2\n"), port):
        assert ask_from(SENDER, ("127.0.0.1", port)).status == 200
    assert hookward.logged({"client.address": SENDER})
    assert upstream.wait_complete()[0].get(b"x-forwarded-for") == SENDER.encode()


@needs_haproxy
def test_before_haproxy_with_proxy_v2(
    start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path
) -> None:
    port = free_port()
    text = (
        f"frontend f\n  bind 127.0.0.1:{port} accept-proxy\n  http-request set-header X-Seen %[src]\n"
        f"  default_backend b\nbackend b\n  server s {upstream.address[0]}:{upstream.address[1]}\n"
    )
    path = haproxy(tmp_path, text)
    hookward = start("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{port}", "--open", "--send-proxy")
    with running(path, port):
        for source in (SENDER, "127.0.0.8"):
            assert ask_from(source, hookward.address).status == 200
    assert [one.get(b"x-seen") for one in upstream.complete] == [SENDER.encode(), b"127.0.0.8"]


@needs_nginx
@pytest.mark.parametrize(
    "field", ["X-Forwarded-For $proxy_add_x_forwarded_for", 'Forwarded "for=$remote_addr"'], ids=["xff", "forwarded"]
)
def test_behind_nginx(start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path, field: str) -> None:
    argv = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--trusted-proxy", "127.0.0.1"]
    hookward = start(*argv)
    port = free_port()
    text = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{hookward.port};"
    with running(nginx(tmp_path, f"{text} proxy_set_header {field}; }} }}"), port):
        assert ask_from(SENDER, ("127.0.0.1", port)).status == 200
    assert hookward.logged({"client.address": SENDER, "network.peer.address": "127.0.0.1"})


@needs_nginx
def test_before_nginx_with_proxy_v2(
    start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path
) -> None:
    port = free_port()
    text = f"""server {{ listen 127.0.0.1:{port} proxy_protocol; location / {{ proxy_pass {upstream.url};
    proxy_set_header X-Seen $proxy_protocol_addr; }} }}"""
    hookward = start("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{port}", "--open", "--send-proxy")
    with running(nginx(tmp_path, text), port):
        assert ask_from(SENDER, hookward.address).status == 200
    assert [one.get(b"x-seen") for one in upstream.complete] == [SENDER.encode()]


@needs_nginx
def test_before_nginx_with_proxy_v2_and_tls(
    start: Callable[..., Hookward], upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path
) -> None:
    """The header stands before the handshake, in health checks too (which speak for nobody)."""
    port = free_port()
    text = f"""server {{ listen 127.0.0.1:{port} ssl proxy_protocol; ssl_certificate {certificates.cert};
    ssl_certificate_key {certificates.key}; location / {{ proxy_pass {upstream.url};
    proxy_set_header X-Seen $proxy_protocol_addr; }} }}"""
    config = tmp_path / "hookward.toml"
    config.write_text(f"""listen = ["127.0.0.1:0"]
upstream = {{ url = "https://localhost:{port}", send_proxy = true, health = {{ path = "/healthz", interval = "1s" }} }}
upstream_tls = {{ ca = "{certificates.ca}" }}
open = true
""")
    with running(nginx(tmp_path, text), port):
        hookward = start("--config", config)
        assert ask_from(SENDER, hookward.address).status == 200
        upstream.wait_complete(2)
    seen = {one.target: one.get(b"x-seen") for one in upstream.complete}
    assert seen[b"/"] == SENDER.encode()
    assert seen[b"/healthz"] is None
