"""An application that nothing can connect to: a relay, agents that dial it, and deliveries that come through."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
import trustme

from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import Hookward
from tests.whole.reach import AgentProcess, HostileRelay, Reach, run_command
from tests.whole.recorder import Manner, RecordingUpstream
from tests.whole.wire import MIB, PATIENCE_S, Client, ClosedError, github, once, request

Make = Callable[..., Reach]


@pytest.fixture
def reach(start: Callable[..., Hookward], tmp_path: Path, certificates: Certificates) -> Iterator[Make]:
    made: list[Reach] = []

    def make(**parts: str) -> Reach:
        made.append(Reach(start, tmp_path, certificates, **parts))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def relay(
    start_once: Callable[..., Hookward], tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Reach:
    return Reach(start_once, tmp_path_factory.mktemp("relay"), certificates)


@pytest.fixture
def standing(relay: Reach) -> Iterator[Reach]:
    """A relay that is there already, and that no agent has joined."""
    yield relay
    relay.stop()
    relay.agents.clear()
    for name in ("agent", "other", "agents"):
        shutil.rmtree(relay.folder / name, ignore_errors=True)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline, what
        pause.wait(0.05)


def ready(one: Reach) -> int:
    return once(one.relay.addresses[1], request("GET", "/readyz", host="localhost"), method="GET").status


def test_a_delivery_comes_through(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach()
    assert ready(one) == 503
    agent = one.agent("--upstream", upstream.url)
    answer = one.deliver(b'{"a": 1}', X_Own="yes")
    assert (answer.status, answer.content) == (200, b"ok\n")
    [got] = upstream.wait_complete()
    assert (got.target, got.content) == (b"/github", b'{"a": 1}')
    assert got.get(b"X-Own") == b"yes"
    # What the relay has found out arrives as if the application stood behind it.
    assert got.get_all(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert got.get_all(b"X-Forwarded-Proto") == [b"https"]
    assert got.get_all(b"Webhook-Verified") == [b"github; secret=secret-1; id=d-1"]
    assert got.get_all(b"X-Hub-Signature-256") == [github(SECRET, b'{"a": 1}')["X-Hub-Signature-256"].encode()]
    [there] = one.relay.logged({"webhook.reason": "delivered"})
    assert there["hookward.upstream.address"].startswith("agent:ci/")
    assert got.get_all(b"X-Request-Id") == [there["http.request.id"].encode()]
    until(lambda: ready(one) == 200, "no probe came through")
    for path in (one.folder / "agents" / "ci.key", one.folder / "agent" / "agent.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [row] = one.rows()
    assert (row["name"], row["routes"], row["processes"][0]["alive"]) == ("ci", ["github"], True)
    assert agent.stop() == 0
    until(lambda: one.deliver().status == 503, "it is still used")


def test_the_agent_listens_on_nothing_and_has_its_key_at_the_next_start(
    standing: Reach, upstream: RecordingUpstream
) -> None:
    standing.agent("--upstream", upstream.url).stop()
    agent = standing.again("--upstream", upstream.url)
    assert agent.said("is reached as")
    listening = [line.split() for line in Path(f"/proc/{agent.process.pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {link.readlink().name for link in Path(f"/proc/{agent.process.pid}/fd").iterdir()}
    assert [line for line in listening if line[3] == "0A" and f"socket:[{line[9]}]" in inodes] == []
    assert standing.deliver().status == 200


def test_the_same_command_again_goes_on_with_the_key(standing: Reach, upstream: RecordingUpstream) -> None:
    """A container is started again with the arguments that it had."""
    code = standing.enrol()
    standing.agent("--upstream", upstream.url, code=code).stop()
    standing.agent("--upstream", upstream.url, code=code)
    assert standing.deliver().status == 200


def test_a_code_is_good_once(standing: Reach, upstream: RecordingUpstream) -> None:
    code = standing.enrol()
    standing.agent("--upstream", upstream.url, code=code)
    done = run_command("agent", "--join", code, "--state-dir", standing.folder / "other", "--upstream", upstream.url)
    assert done.returncode == 78
    assert "it does not accept the code" in done.stderr
    assert code not in done.stderr
    assert not (standing.folder / "other" / "agent.json").exists()
    assert standing.deliver().status == 200, "the first one is still good"


def test_an_old_code_is_over_with_a_new_one(standing: Reach, upstream: RecordingUpstream) -> None:
    first, second = standing.enrol(), standing.enrol()
    done = run_command("agent", "--join", first, "--state-dir", standing.folder / "other", "--upstream", upstream.url)
    assert done.returncode == 78
    standing.agent("--upstream", upstream.url, code=second)


def test_away_is_said_with_the_time_to_come_back(reach: Make) -> None:
    one = reach()
    answer = one.deliver()
    assert (answer.status, answer.word, answer.get(b"Retry-After")) == (503, "agent_away", b"5")
    [line] = one.relay.logged({"webhook.reason": "agent_away"})
    assert (line["webhook.verdict"], line["webhook.ended_by"]) == ("admitted", "upstream")
    assert once(one.relay.address, request("POST", "/github", {}, b"{}"), tls=one.certificates.client).status == 403


def test_a_delivery_is_held_until_the_agent_comes(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach(route='hold = "9s"')
    one.agent("--upstream", upstream.url).stop()
    with Client(one.relay.address, tls=one.certificates.client) as client:
        client.send(request("POST", "/github", github(SECRET, b"{}"), b"{}"))
        one.again("--upstream", upstream.url)
        assert client.answer().status == 200


def test_to_remove_the_key_ends_it_at_once(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach()
    agent = one.agent("--upstream", upstream.url)
    upstream.manner = Manner(when="never")
    with Client(one.relay.address, tls=one.certificates.client) as client:
        client.send(request("POST", "/github", github(SECRET, b"{}"), b"{}"))
        upstream.wait_complete()
        (one.folder / "agents" / "ci.key").unlink()
        assert client.answer().status == 502, "what it had is cut"
    assert one.relay.said("its key is no longer good")
    assert agent.said("it does not know the key of agent 'ci'"), "said plainly, at both ends"
    assert one.relay.said("agent ci: no such key")
    answer = one.deliver()
    assert (answer.status, answer.word) == (503, "agent_away")
    upstream.manner = Manner()
    one.agent("--upstream", upstream.url, state="new")
    assert one.deliver().status == 200


def test_a_reload_that_takes_the_agent_out_ends_it_at_once(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach()
    one.agent("--upstream", upstream.url)
    text = one.config.read_text().replace('upstream = "agent:ci"', f'upstream = "{upstream.url}"')
    one.config.write_text(text.replace("[agent.ci]", "[agent.other]").replace('routes = ["github"]', ""))
    one.relay.signal(signal.SIGHUP)
    assert one.relay.said("its key is no longer good")


def test_an_agent_that_leaves_loses_nothing(reach: Make, upstream: RecordingUpstream) -> None:
    """Two agents of a name, and one after the other is exchanged while deliveries come."""
    one = reach()
    first = one.agent("--upstream", upstream.url)
    statuses: list[int] = []
    stop = threading.Event()

    def send() -> None:
        with Client(one.relay.address, tls=one.certificates.client) as client:
            while not stop.is_set():
                statuses.append(client.ask(request("POST", "/github", github(SECRET, b"{}"), b"{}")).status)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    second = one.again("--upstream", upstream.url)
    assert second.said("is reached as")
    assert first.stop() == 0
    third = one.again("--upstream", upstream.url)
    assert third.said("is reached as")
    assert second.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_every_worker_has_its_own_connections(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach(top="workers = 3")
    agent = one.agent("--upstream", upstream.url)
    assert agent.said("is reached as", 3)
    assert {one.deliver().status for _ in range(20)} == {200}
    until(lambda: one.rows()[0]["processes"][0]["workers"] == 3, "a worker has none")


def test_what_is_not_admitted_never_enters(standing: Reach, upstream: RecordingUpstream) -> None:
    standing.agent("--upstream", upstream.url)
    forged = request("POST", "/github", github(b"guessed", b"{}"), b"{}")
    assert once(standing.relay.address, forged, tls=standing.certificates.client).status == 403
    assert (
        once(standing.relay.address, request("GET", "/admin"), tls=standing.certificates.client, method="GET").status
        == 404
    )
    content = b"x" * MIB
    big = request("POST", "/github", github(b"guessed", content), content)
    with suppress(ClosedError, OSError):
        assert once(standing.relay.address, big, tls=standing.certificates.client).status == 403
    assert standing.deliver(name="after").status == 200
    assert [got.get(b"X-GitHub-Delivery") for got in upstream.seen if got.complete] == [b"after"]


def test_large_bodies_go_through_both(standing: Reach, upstream: RecordingUpstream) -> None:
    standing.agent("--upstream", upstream.url)
    content = bytes(range(256)) * (8 * MIB // 256)
    upstream.manner = Manner(
        answer=lambda got: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    )
    answer = standing.deliver(content)
    assert (answer.status, answer.content == content) == (200, True)
    [got] = upstream.wait_complete()
    assert got.content == content


def test_the_secrets_stay_beside_the_application(reach: Make, upstream: RecordingUpstream, tmp_path: Path) -> None:
    """``verify = "agent"``: the relay has no secret, and an agent that does not judge gets nothing."""
    own = '[route.other]\npath = "/other"\nprovider = "github"\nverify = "agent"\nupstream = "agent:far"\n'
    one = reach(more=f'{own}[agent.far]\nkey = "file:{{folder}}/agents/far.key"\nroutes = ["other"]')
    plain = one.agent("--upstream", upstream.url, name="far")
    assert one.deliver(path="/other").word == "agent_away"
    plain.stop()
    secret = tmp_path / "github.secret"
    one.again("--upstream", upstream.url, "--path", "/other", "--provider", "github", "--secret-file", secret)
    until(lambda: one.deliver(path="/other").status == 200, "the agent does not judge")
    got = upstream.wait_complete()[-1]
    assert got.get(b"Webhook-Verified") == b"github; secret=secret-1; id=d-1", "the agent's word"
    assert got.get_all(b"X-Forwarded-For") == [b"127.0.0.1"]
    seen = len(upstream.seen)
    forged = request("POST", "/other", github(b"guessed", b"{}"), b"{}")
    answer = once(one.relay.address, forged, tls=one.certificates.client)
    assert (answer.status, answer.word) == (403, "signature_mismatch")
    assert len(upstream.seen) == seen


def test_where_only_agents_may_come_from_no_http_is_read(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach(route='allow = ["192.0.2.0/24"]')
    one.agent("--upstream", upstream.url)
    with pytest.raises((ClosedError, OSError)):
        one.deliver()
    assert one.relay.log() == []


def test_an_agent_comes_only_from_its_addresses(reach: Make, upstream: RecordingUpstream) -> None:
    one = reach()
    code = one.enrol()
    text = one.config.read_text().replace('routes = ["github"]', 'routes = ["github"]\nallow = ["192.0.2.0/24"]')
    one.config.write_text(text)
    one.relay.signal(signal.SIGHUP)
    assert one.relay.said("reloaded")
    done = run_command("agent", "--join", code, "--state-dir", one.folder / "x", "--upstream", upstream.url)
    assert done.returncode == 78
    assert "may not connect" in done.stderr


class MiddleMan:
    """Ends TLS with a certificate of its own, and passes on what is within."""

    def __init__(self, relay: tuple[str, int], folder: Path) -> None:
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "evil.pem"))
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(folder / "evil.pem")
        self._server.set_alpn_protocols(["hookward-agent/1"])
        self._client = ssl.create_default_context()
        self._client.check_hostname, self._client.verify_mode = False, ssl.CERT_NONE
        self._client.set_alpn_protocols(["hookward-agent/1"])
        self._relay = relay
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.seen = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._sock.accept()
                with raw, suppress(OSError):
                    self._pass_on(raw)

    def _pass_on(self, raw: socket.socket) -> None:
        with (
            self._server.wrap_socket(raw, server_side=True) as inner,
            self._client.wrap_socket(socket.create_connection(self._relay)) as outer,
        ):
            inner.settimeout(PATIENCE_S)
            while data := inner.recv(4096):
                self.seen += data
                outer.sendall(data)
                inner.sendall(outer.recv(4096))

    def close(self) -> None:
        self._sock.close()


def test_nobody_in_the_middle_can_pass_on_a_hello(reach: Make, upstream: RecordingUpstream) -> None:
    """Even where its certificate is taken for the relay's, the proofs are over another one."""
    one = reach()
    one.agent("--upstream", upstream.url).stop()
    man = MiddleMan(one.relay.address, one.folder)
    stranger = one.again("--upstream", upstream.url, "--relay", man.address)
    assert stranger.said("no authority vouches for it")
    assert man.seen == b""
    file = one.folder / "agent" / "agent.json"
    evil = ssl.get_server_certificate(tuple(man.address.split(":")))
    [member] = json.loads(file.read_text())
    member["certificates"] = [hashlib.sha256(ssl.PEM_cert_to_DER_cert(evil)).hexdigest()]
    member["relay"] = man.address
    file.write_text(json.dumps([member]))
    fooled = one.again("--upstream", upstream.url)
    assert fooled.said("it does not know the key of agent 'ci'")
    assert b"HELLO" in man.seen
    assert b"AGENT" not in man.seen, "our proof is not shown to who has not proved itself"
    man.close()


def test_a_hostile_relay_reaches_only_what_is_listed(upstream: RecordingUpstream, tmp_path: Path) -> None:
    """A relay of our own making, which has the key and asks for everything: other hosts, other paths, other words."""
    with HostileRelay(tmp_path) as relay:
        secret = tmp_path / "github.secret"
        secret.write_bytes(SECRET)
        guarded = ("--path", "/github", "--provider", "github", "--secret-file", secret)
        agent = AgentProcess("--state-dir", tmp_path, "--relay", relay.address, "--upstream", upstream.url, *guarded)
        with RecordingUpstream() as other:
            relay.say("PROBE 1 /admin/secret-page")
            port = other.url.rpartition(":")[2]
            for head in (
                f"GET {other.url}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}",
                f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}",
                f"POST /github HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0",
                "GET /admin HTTP/1.1\r\nHost: localhost",
            ):
                assert relay.ask(f"{head}\r\n\r\n".encode()) >= 400
            relay.say(f"PROBE 2 {other.url}/")
            assert agent.said("message_malformed"), "such a word ends it"
            relay.say("WANT 1000000000", anew=True)
            assert agent.said("number_malformed")
            assert other.seen == []
        assert upstream.seen == [], "nothing that has no signature"
        assert agent.stop() == 0


class ConnectProxy:
    """An HTTP proxy that knows CONNECT, and asks for a login."""

    def __init__(self, login: str) -> None:
        self._login = login
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.heads: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._sock.accept()
                threading.Thread(target=self._tunnel, args=(sock,), daemon=True).start()

    def _tunnel(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            self.heads.append(head)
            if f"Proxy-Authorization: Basic {self._login}\r\n".encode() not in head:
                sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                sock.sendall(b"HTTP/1.1 200 OK\r\nVia: 1.1 corp\r\n\r\n")
                back = threading.Thread(target=self._pump, args=(there, sock), daemon=True)
                back.start()
                self._pump(sock, there)
                back.join(PATIENCE_S)

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for sock in (one, other):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()


def test_a_proxy_on_the_way(reach: Make, upstream: RecordingUpstream, tmp_path: Path) -> None:
    one = reach()
    proxy = ConnectProxy("dXNlcjpwYXNz")  # user:pass
    login = tmp_path / "login"
    login.write_text("user:pass\n")
    login.chmod(0o600)
    agent = one.agent("--upstream", upstream.url, "--proxy", proxy.address, "--proxy-login", f"file:{login}")
    assert one.deliver().status == 200
    assert proxy.heads[0].startswith(f"CONNECT {one.address} HTTP/1.1\r\n".encode())
    agent.stop()
    assert "pass" not in agent.err.text
    other = one.again("--upstream", upstream.url, "--proxy", proxy.address)
    assert other.said("wants a login")
    proxy.close()


def test_a_relay_that_is_started_again_is_found_again(
    reach: Make, start: Callable[..., Hookward], upstream: RecordingUpstream
) -> None:
    one = reach()
    agent = one.agent("--upstream", upstream.url)
    port = one.relay.port
    assert one.relay.stop() == 0
    one.write()
    one.config.write_text(one.config.read_text().replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{port}"]'))
    one.relay = start("--config", one.config, listeners=2)
    assert agent.said("is reached as", 2)
    assert one.deliver().status == 200


def test_flags_of_a_listener_are_refused(tmp_path: Path) -> None:
    done = run_command("agent", "--state-dir", tmp_path, "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1")
    assert done.returncode == 78
    assert "an agent listens on nothing" in done.stderr


def test_an_agent_that_has_joined_nothing_says_what_to_do(tmp_path: Path) -> None:
    done = run_command("agent", "--state-dir", tmp_path, "--upstream", "127.0.0.1:1")
    assert done.returncode == 78
    assert "hookward enrol NAME" in done.stderr


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (("--join", "nonsense"), "this is not the code of an enrolment", 78),
        (("--relay", "no port:x"), "is not the address of a relay", 64),
        (("--proxy-login", "file:/nowhere"), "does not exist", 64),
        (("--health", "healthz"), "is not the path of a URL", 64),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, flags: tuple[str, ...], said: str, code: int) -> None:
    done = run_command("agent", "--state-dir", tmp_path, "--upstream", "127.0.0.1:1", *flags)
    assert done.returncode == code
    assert said in done.stderr


def test_enrol_says_what_is_missing(reach: Make) -> None:
    one = reach()
    done = run_command("enrol", "ci2", "--config", one.config)
    assert done.returncode == 78
    assert "did you mean 'ci'" in done.stderr
