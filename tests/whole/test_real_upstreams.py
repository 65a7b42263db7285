"""Servers that are not ours behind us: a Flask application under gunicorn that verifies each signature again, nginx in
front of it, and nginx and HAProxy in front of *us*.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from bench.load.process import free_port
from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import nginx, program, served
from tests.whole.wire import MIB, PATIENCE_S, Client, github, once, request

Start = Callable[..., Hookward]
PUSH = b'{"ref":"refs/heads/main"}'

APPLICATION = """
import hashlib, hmac, os
from flask import Flask, Response, request

app = Flask(__name__)
SECRET = os.environ["APP_SECRET"].encode()


@app.post("/hooks/github")
def delivery():
    content = request.get_data()
    expected = "sha256=" + hmac.new(SECRET, content, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        return Response("signature differs behind the proxy", 500)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "event": request.headers["X-GitHub-Event"],
        "agent": request.headers["User-Agent"],
        "verified": request.headers.get("Webhook-Verified"),
        "forwarded": request.headers.get("X-Forwarded-For"),
        "query": request.query_string.decode(),
    }
"""


@pytest.fixture(scope="module")
def flask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("flask")
    (folder / "application.py").write_text(APPLICATION)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--threads", "2", "application:app"]
    with served(command, port, folder, APP_SECRET=SECRET.decode(), PYTHONWARNINGS="default"):
        yield port


@pytest.fixture
def guarded(start: Start, secret_file: Path) -> Start:
    def begin(port: int, *argv: str) -> Hookward:
        return start(
            *("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{port}"),
            *("--path", "/hooks", "--provider", "github", "--secret-file", secret_file, *argv),
            secrets=[SECRET],
        )

    return begin


def delivered(hookward: Hookward, content: bytes, chunk_size: int = 0) -> dict[str, str]:
    target = "/hooks/github?a=%20b"
    answer = once(hookward.address, request("POST", target, github(SECRET, content), content, chunk_size=chunk_size))
    assert answer.status == 200, answer
    told = json.loads(answer.content)
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    return dict(told)


@pytest.mark.parametrize("chunk_size", [0, 10_000], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [25, 8 * 1024, 3 * MIB])
def test_flask_verifies_again(guarded: Start, flask: int, size: int, chunk_size: int) -> None:
    hookward = guarded(flask)
    content = (PUSH * (size // len(PUSH) + 1))[:size]
    told = delivered(hookward, content, chunk_size)
    # A body beyond the window streams before its verdict, and so without a claim of one.
    assert told["verified"] == (None if size > MIB else "github; secret=secret-1; id=d-1")
    assert (told["event"], told["agent"], told["query"]) == ("push", "GitHub-Hookshot/044aadd", "a=%20b")
    forged = request("POST", "/hooks/github", github(b"guess", content), content)
    assert once(hookward.address, forged).word == "signature_mismatch"


def test_flask_over_one_connection(guarded: Start, flask: int) -> None:
    hookward = guarded(flask)
    data = request("POST", "/hooks/github", github(SECRET, PUSH), PUSH)
    with Client(hookward.address) as client:
        assert [client.ask(data).status for _ in range(20)] == [200] * 20


def test_nginx_before_flask(guarded: Start, flask: int, tmp_path: Path) -> None:
    with nginx(tmp_path, f"location / {{ proxy_pass http://127.0.0.1:{flask}; proxy_http_version 1.1; }}") as port:
        hookward = guarded(port)
        for size in (25, 8 * 1024, 3 * MIB):
            delivered(hookward, (PUSH * (size // len(PUSH) + 1))[:size])


def test_nginx_that_answers_at_once(guarded: Start, tmp_path: Path) -> None:
    with nginx(tmp_path, "location / { return 204; }") as port:
        hookward = guarded(port)
        data = request("POST", "/hooks/github", github(SECRET, PUSH), PUSH)
        with Client(hookward.address) as client:
            assert [client.ask(data).status for _ in range(50)] == [204] * 50


def test_nginx_refuses_a_large_body_itself(guarded: Start, tmp_path: Path) -> None:
    content = PUSH * 100_000
    with nginx(tmp_path, "client_max_body_size 1k; location / { return 204; }") as port:
        hookward = guarded(port)
        answer = once(hookward.address, request("POST", "/hooks", github(SECRET, content), content))
        assert answer.status in {413, 502}


LIGHTTPD = """
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_cgi")
cgi.assign = ("hooks" => "/bin/sh")
"""


def test_what_an_application_sees_of_odd_names(guarded: Start, tmp_path: Path) -> None:
    """lighttpd makes HTTP_X_REAL_IP of "X.Real.IP": to an application behind it that would be the real field."""
    binary = program("lighttpd")
    port = free_port()
    (tmp_path / "hooks").write_text("printf 'Content-Type: text/plain\\r\\n\\r\\n'; env\n")
    (tmp_path / "lighttpd.conf").write_text(LIGHTTPD.format(folder=tmp_path, port=port))
    names = ("X.Real.IP", "X!Hub!Signature!256", "Webhook~Verified", "Content.Type", "X'Forwarded'For", "X_Real_IP")
    odd = [(name, "spoofed") for name in names]
    with served([binary, "-D", "-f", str(tmp_path / "lighttpd.conf")], port, tmp_path):
        bare = once(("127.0.0.1", port), request("POST", "/hooks", odd, PUSH))
        assert b"HTTP_X_REAL_IP=spoofed" in bare.content, "what this test is about"
        hookward = guarded(port)
        answer = once(hookward.address, request("POST", "/hooks", [*github(SECRET, PUSH).items(), *odd], PUSH))
    assert answer.status == 200
    assert b"spoofed" not in answer.content
    seen = dict(line.split("=", 1) for line in answer.content.decode().splitlines())
    assert seen["HTTP_WEBHOOK_VERIFIED"] == "github; secret=secret-1; id=d-1"
    assert seen["HTTP_X_HUB_SIGNATURE_256"] == github(SECRET, PUSH)["X-Hub-Signature-256"]


def test_nginx_in_front_terminates_for_us(guarded: Start, flask: int, tmp_path: Path) -> None:
    hookward = guarded(flask, "--trusted-proxy", "127.0.0.1")
    server = (
        f"location / {{ proxy_pass http://127.0.0.1:{hookward.port}; proxy_http_version 1.1;"
        " proxy_set_header Host $host; proxy_set_header X-Forwarded-For 198.51.100.7; }"
    )
    with nginx(tmp_path, server) as port:
        answer = once(("127.0.0.1", port), request("POST", "/hooks/github", github(SECRET, PUSH), PUSH))
    assert answer.status == 200
    [line] = hookward.logged({"webhook.verdict": "admitted"})
    assert line["client.address"] == "198.51.100.7"


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_in_front_speaks_the_proxy_protocol(
    start: Start, upstream: RecordingUpstream, tmp_path: Path, version: str
) -> None:
    binary = program("haproxy")
    (tmp_path / "hookward.toml").write_text(
        f"""
        listen = ["127.0.0.1:0"]
        upstream = "{upstream.url}"
        proxy_protocol = "require"
        trusted_proxies = ["127.0.0.1"]
        [route.a]
        path = "/"
        allow = ["127.0.0.3"]
        """
    )
    hookward = start("--config", tmp_path / "hookward.toml")
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        f"""
        defaults
            mode tcp
            timeout connect 5s
            timeout client 15s
            timeout server 15s
        listen front
            bind 127.0.0.1:{port}
            server hookward 127.0.0.1:{hookward.port} {version}
\n"""
    )
    with served([binary, "-db", "-f", str(tmp_path / "haproxy.cfg")], port, tmp_path):
        with Client(("127.0.0.1", port), source="127.0.0.3") as client:
            assert client.ask(request("POST", "/", {}, PUSH)).status == 200
        with Client(("127.0.0.1", port), source="127.0.0.4") as client:
            assert client.send(request("POST", "/", {}, PUSH)).ended() == b""
    [got] = upstream.wait_complete()
    assert got.get(b"X-Forwarded-For") == b"127.0.0.3"
    assert got.content == PUSH


STARTS_SLOWLY = """
import os, threading

ready = threading.Event()


def warm_up():
    with open(os.environ["APP_WARM"]):  # a FIFO: until the test has opened it, too
        ready.set()


with open(os.environ["APP_LOAD"]):
    threading.Thread(target=warm_up, daemon=True).start()


def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"].read(length)
    if environ["PATH_INFO"] != "/healthz":
        with open(os.environ["APP_SEEN"], "a") as seen:
            print("ready" if ready.is_set() else "too early", environ["HTTP_X_GITHUB_DELIVERY"], file=seen)
    content = b"well " * 10_000
    status = "200 OK" if ready.is_set() else "503 Service Unavailable"
    start_response(status, [("Content-Length", str(len(content)))])
    return [content]
"""


def test_deliveries_wait_for_a_gunicorn_that_starts_slowly(start: Start, secret_file: Path, tmp_path: Path) -> None:
    """First its workers load, so that nobody answers; then they answer, and are not ready. Nothing is sent until they
    are, and each delivery arrives once. The checks leave nothing in its log.
    """
    (tmp_path / "application.py").write_text(STARTS_SLOWLY)
    port = free_port()
    environ = {f"APP_{name}": str(tmp_path / name.lower()) for name in ("LOAD", "WARM", "SEEN")}
    os.mkfifo(environ["APP_LOAD"])
    os.mkfifo(environ["APP_WARM"])
    config = tmp_path / "hookward.toml"
    config.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        [[upstream]]
        url = "http://127.0.0.1:{port}"
        health = {{ path = "/healthz", interval = "1h", timeout = "500ms" }}
        [route.hooks]
        path = "/hooks"
        token = {{ header = "X-Token", secrets = ["file:{secret_file}"] }}
        body = "hold"
        hold = "60s"
        """
    )
    hookward = start("--config", config, secrets=[SECRET])
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--threads", "2", "--access-logfile", "-"]
    with served([*command, "application:application"], port, tmp_path, **environ), ExitStack() as stack:
        clients = [stack.enter_context(Client(hookward.address)) for _ in range(3)]
        for number, client in enumerate(clients):
            fields = {"X-Token": SECRET.decode(), "X-GitHub-Delivery": f"d-{number}"}
            client.send(request("POST", "/hooks/github", fields, PUSH))
        Path(environ["APP_LOAD"]).write_bytes(b"")
        log = tmp_path / f"{port}.log"
        deadline = monotonic() + PATIENCE_S
        while log.read_text().count('"GET /healthz HTTP/1.1" 503') < 2:
            assert monotonic() < deadline, log.read_text()
        assert not Path(environ["APP_SEEN"]).exists()
        Path(environ["APP_WARM"]).write_bytes(b"")
        assert [client.answer().status for client in clients] == [200] * 3
        seen = Path(environ["APP_SEEN"]).read_text().split("\n")
        assert sorted(seen) == ["", *(f"ready d-{number}" for number in range(3))]
        assert "Traceback" not in log.read_text()
        assert "rror" not in log.read_text()
