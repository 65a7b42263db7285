"""From start to end as the kernel and the operator see it: listeners, signals, exit codes, the admin address."""

from __future__ import annotations

import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Answer, Client, github, once, request, turned_away

Start = Callable[..., Hookward]
BODY = b'{"zen":"Anything added dilutes everything else."}'


def signed(secret: bytes = SECRET) -> bytes:
    return request("POST", "/", github(secret, BODY), BODY)


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A hookward that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *argv],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(env),
        cwd=ROOT,
        check=False,
    )


class TestListeners:
    def test_unix_socket_on_both_sides(self, start: Start, tmp_path: Path) -> None:
        with RecordingUpstream(tmp_path / "app.sock") as app:
            hookward = start("--listen", f"unix:{tmp_path}/in.sock", "--upstream", app.url, "--open")
            assert once(hookward.address, request("POST", "/x", {}, BODY)).status == 200
            assert app.wait_complete()[0].content == BODY
            hookward.stop()
        assert not (tmp_path / "in.sock").exists()

    def test_ipv6(self, start: Start, upstream: RecordingUpstream) -> None:
        if not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 loopback here")
        hookward = start("--listen", "[::1]:0", "--upstream", upstream.url)
        assert once(hookward.address, request("POST", "/", {}, BODY, host="[::1]")).status == 200
        [got] = upstream.wait_complete()
        assert got.get(b"X-Forwarded-For") == b"::1"

    def test_several(self, start: Start, upstream: RecordingUpstream) -> None:
        hookward = start(
            *("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"), "--upstream", upstream.url, "--open", listeners=2
        )
        assert len(set(hookward.addresses)) == 2
        assert [once(address, request("GET", "/")).status for address in hookward.addresses] == [200, 200]

    def test_plain_tcp(self, start: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as echo:
            text = f"""
            listen = ["127.0.0.1:0"]
            upstream = "{upstream.url}"
            [route.open]
            path = "/"
            allow = ["127.0.0.1"]
            [tcp.ssh]
            listen = "127.0.0.1:0"
            upstream = "127.0.0.1:{echo.getsockname()[1]}"
            allow = ["127.0.0.1"]
            """
            (tmp_path / "tcp.toml").write_text(text)
            hookward = start("--config", tmp_path / "tcp.toml", listeners=2)
            with Client(hookward.addresses[1]) as client:
                client.send(b"SSH-2.0-test\r\n")
                echo.settimeout(PATIENCE_S)
                inner, _ = echo.accept()
                with inner:
                    assert inner.recv(100) == b"SSH-2.0-test\r\n"
                    inner.sendall(b"SSH-2.0-peer\r\n")
                    assert client.reader.until(b"\n") == b"SSH-2.0-peer\r\n"
                assert client.ended() == b""
            assert turned_away(hookward.addresses[1], source="127.0.0.2") == "reset"


V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(source: str, destination: str = "203.0.113.1", command: int = 0x21) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", 40000, 443)
    return V2 + struct.pack("!BBH", command, 0x11, len(addresses)) + addresses


@pytest.fixture(scope="module")
def requiring(lasting_upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lifecycle") / "proxy.toml"
    path.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        upstream = "{lasting_upstream.url}"
        proxy_protocol = "require"
        trusted_proxies = ["127.0.0.1"]
        [route.hooks]
        path = "/"
        allow = ["198.51.100.0/24"]
        """
    )
    return path


class TestProxyProtocol:
    @pytest.fixture
    def upstream(self, lasting_upstream: RecordingUpstream) -> RecordingUpstream:
        lasting_upstream.renew()
        return lasting_upstream

    @pytest.fixture
    def hookward(self, start_once: Start, upstream: RecordingUpstream, requiring: Path) -> Hookward:
        return start_once("--config", requiring)

    @pytest.mark.parametrize(
        "header", [b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 443\r\n", version_2("198.51.100.7")], ids=["v1", "v2"]
    )
    def test_the_address_inside_is_judged_and_told(
        self, hookward: Hookward, upstream: RecordingUpstream, header: bytes
    ) -> None:
        assert once(hookward.address, header + request("POST", "/", {}, BODY)).status == 200
        [got] = upstream.wait_complete()
        assert got.get(b"X-Forwarded-For") == b"198.51.100.7"

    @pytest.mark.parametrize(
        "header",
        [
            b"PROXY TCP4 192.0.2.7 203.0.113.1 40000 443\r\n",
            version_2("192.0.2.7"),
            b"PROXY TCP4 198.51.100.7\r\n",
            b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
            b"",
            V2 + b"\x21\x11\xff\xff",
        ],
        ids=["v1_stranger", "v2_stranger", "v1_cut", "v1_long", "none", "v2_long"],
    )
    def test_anything_else_is_reset(self, hookward: Hookward, upstream: RecordingUpstream, header: bytes) -> None:
        assert turned_away(hookward.address, header + request("POST", "/", {}, BODY)) == "reset"
        assert upstream.connections == 0

    def test_an_untrusted_peer_may_not_speak_it(self, hookward: Hookward) -> None:
        assert turned_away(hookward.address, source="127.0.0.2") == "reset"


class TestTrustedProxy:
    def test_x_forwarded_for_is_walked_from_the_right(self, configured: Start, upstream: RecordingUpstream) -> None:
        hookward = configured(
            f"""
            listen = ["127.0.0.1:0"]
            upstream = "{upstream.url}"
            trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
            [route.hooks]
            path = "/"
            allow = ["198.51.100.0/24"]
            """
        )

        def ask(forwarded_for: str) -> Answer:
            return once(hookward.address, request("POST", "/", {"X-Forwarded-For": forwarded_for}, BODY))

        assert ask("203.0.113.9, 198.51.100.7, 10.1.2.3").status == 200
        assert ask("198.51.100.7, 203.0.113.9, 10.1.2.3").word == "address_refused"
        assert ask("198.51.100.7, junk").word == "address_refused"
        [line] = hookward.logged({"webhook.verdict": "admitted"})
        assert (line["client.address"], line["network.peer.address"]) == ("198.51.100.7", "127.0.0.1")


class TestSignals:
    @pytest.fixture
    def config(self, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path) -> Path:
        path = tmp_path / "hookward.toml"
        path.write_text(
            f"""
            listen = ["127.0.0.1:0"]
            upstream = "{upstream.url}"
            [route.github]
            path = "/"
            provider = "github"
            secrets = ["file:{secret_file}"]
            """
        )
        return path

    def test_hup_takes_a_new_secret(self, start: Start, config: Path, secret_file: Path) -> None:
        hookward = start("--config", config, secrets=[SECRET, b"rotated-secret-11"])
        assert once(hookward.address, signed()).status == 200
        secret_file.write_bytes(b"rotated-secret-11")
        hookward.signal(signal.SIGHUP)
        assert hookward.said("reloaded")
        assert once(hookward.address, signed()).word == "signature_mismatch"
        assert once(hookward.address, signed(b"rotated-secret-11")).status == 200

    def test_hup_with_a_bad_file_keeps_the_old_one(self, start: Start, config: Path) -> None:
        hookward = start("--config", config)
        config.write_text(config.read_text() + "\nno_such_key = 1\n")
        hookward.signal(signal.SIGHUP)
        assert hookward.said("no_such_key")
        assert once(hookward.address, signed()).status == 200

    def test_hup_under_way_changes_nothing_for_the_exchange(
        self, start: Start, config: Path, secret_file: Path, upstream: RecordingUpstream
    ) -> None:
        hookward = start("--config", config)
        with Client(hookward.address) as client:
            client.send(signed()[:-5])
            once(hookward.address, signed())
            secret_file.write_bytes(b"another one")
            hookward.signal(signal.SIGHUP)
            assert hookward.said("reloaded")
            client.send(signed()[-5:])
            assert client.answer().status == 200
        assert len(upstream.complete) == 2

    def test_term_drains(self, start: Start, config: Path, upstream: RecordingUpstream) -> None:
        upstream.manner.gate = gate = threading.Event()
        hookward = start("--config", config)
        with Client(hookward.address) as idle, Client(hookward.address) as busy:
            busy.send(signed())
            upstream.wait_complete()
            hookward.signal(signal.SIGTERM)
            assert idle.ended() == b""
            with pytest.raises(OSError, match=r"refused|reset"), Client(hookward.address) as late:
                late.ask(signed())
            gate.set()
            answer = busy.answer()
            assert (answer.status, answer.get(b"Connection")) == (200, b"close")
        assert hookward.wait() == 0

    def test_a_second_term_stops_now(self, start: Start, config: Path, upstream: RecordingUpstream) -> None:
        upstream.manner.when = "never"
        hookward = start("--config", config)
        with Client(hookward.address) as busy:
            busy.send(signed())
            upstream.wait_complete()
            hookward.signal(signal.SIGTERM)
            assert hookward.said("drain")
            hookward.signal(signal.SIGTERM)
            hookward.wait()
            with pytest.raises((OSError, Exception)):
                busy.answer()

    def test_drain_ends_at_its_deadline(self, start: Start, config: Path, upstream: RecordingUpstream) -> None:
        upstream.manner.when = "never"
        hookward = start("--config", config, "--drain", "1s")
        with Client(hookward.address) as busy:
            busy.send(signed())
            upstream.wait_complete()
            hookward.signal(signal.SIGTERM)
            assert hookward.said("draining: 1 connection(s) open, at most 1 s")
            assert hookward.wait() == 0
            assert hookward.said("1 connection(s) were cut")
            [line] = hookward.logged({"webhook.reason": "drained"})
            assert "http.response.status_code" not in line
            assert busy.ended() == b""

    def test_usr1_reopens_the_log(self, start: Start, config: Path, tmp_path: Path) -> None:
        log = tmp_path / "access.log"
        hookward = start("--config", config, "--access-log", log, "--log-format", "json")
        once(hookward.address, signed())
        log.rename(tmp_path / "access.log.1")
        hookward.signal(signal.SIGUSR1)
        assert hookward.said("reopened")
        once(hookward.address, signed())
        hookward.stop()
        lines = [(tmp_path / name).read_text().count("\n") for name in ("access.log.1", "access.log")]
        assert lines == [1, 1]

    def test_workers_share_the_port(self, start: Start, config: Path) -> None:
        hookward = start("--config", config, "--workers", "2")
        assert [once(hookward.address, signed()).status for _ in range(8)] == [200] * 8
        hookward.signal(signal.SIGTERM)
        assert hookward.wait() == 0


class TestExits:
    def test_bad_flag(self) -> None:
        done = run("--no-such-flag")
        assert done.returncode == 64
        assert "--no-such-flag" in done.stderr

    def test_bad_configuration_names_everything_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.toml"
        path.write_text('upstrem = "http://127.0.0.1:1"\n[route.a]\npath = "a"\nprovider = "githob"\n')
        done = run("--config", str(path))
        assert done.returncode == 78
        for word in ("upstrem", "upstream", "githob", "github", "path"):
            assert word in done.stderr

    def test_a_provider_without_a_secret_does_not_start(self) -> None:
        done = run("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--provider", "github")
        assert done.returncode == 78
        assert "secret" in done.stderr

    def test_an_empty_secret_does_not_start(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_bytes(b"\n")
        done = run(
            *("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"),
            *("--provider", "github", "--secret-file", str(tmp_path / "empty")),
        )
        assert done.returncode == 78

    def test_address_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = run("--listen", f"127.0.0.1:{port}", "--upstream", "127.0.0.1:1", "--open")
        assert done.returncode == 69
        assert str(port) in done.stderr

    def test_check_config(self, secret_file: Path) -> None:
        flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--provider", "github"]
        assert run("--check-config", *flags, "--secret-file", str(secret_file)).returncode == 0
        assert run("--check-config", *flags, "--secret-file", str(secret_file) + ".no").returncode == 78

    def test_no_secret_on_the_command_line(self, start: Start, upstream: RecordingUpstream, secret_file: Path) -> None:
        hookward = start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url),
            *("--provider", "github", "--secret-file", secret_file),
            secrets=[SECRET],
        )
        proc = Path(f"/proc/{hookward.pid}/cmdline")
        if not proc.exists():
            pytest.skip("no /proc here")
        assert SECRET not in proc.read_bytes()


class TestAdmin:
    def test_health_and_metrics_are_on_their_own_address(
        self, start: Start, upstream: RecordingUpstream, secret_file: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        hookward = start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--admin", f"127.0.0.1:{port}"),
            *("--provider", "github", "--secret-file", secret_file),
            secrets=[SECRET],
        )
        admin = ("127.0.0.1", port)
        once(hookward.address, signed())
        once(hookward.address, signed(b"wrong"))
        assert once(admin, request("GET", "/livez", host="localhost")).status == 200
        assert once(admin, request("GET", "/readyz", host="localhost")).status == 200
        metrics = once(admin, request("GET", "/metrics", host="localhost")).content.decode()
        assert re.search(r'hookward_\w+_total\{[^}]*reason="signature_mismatch"[^}]*\} 1', metrics)
        assert re.search(r'hookward_\w+_total\{[^}]*reason="delivered"[^}]*\} 1', metrics)

    def test_it_is_off_unless_set(self, start: Start, upstream: RecordingUpstream) -> None:
        hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open")
        once(hookward.address, request("GET", "/metrics"))
        assert upstream.wait_complete()[0].target == b"/metrics"
        sockets = Path(f"/proc/{hookward.pid}/fd")
        if sockets.exists():
            links = [str(link.readlink()) for link in sockets.iterdir() if link.is_symlink()]
            listening = listening_inodes()
            assert sum(link.removeprefix("socket:[").rstrip("]") in listening for link in links) == 1


def listening_inodes() -> set[str]:
    """The inodes of the TCP sockets that listen, as the kernel tells."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"}


class TestTls:
    def test_https_only(self, start: Start, upstream: RecordingUpstream, certificates: Certificates) -> None:
        hookward = start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open"),
            *("--tls-cert", certificates.cert, "--tls-key", certificates.key),
        )
        answer = once(hookward.address, request("POST", "/", {}, BODY), tls=certificates.client)
        assert answer.status == 200
        assert upstream.wait_complete()[0].get(b"X-Forwarded-Proto") == b"https"
        with Client(hookward.address) as plain:
            assert not plain.send(request("POST", "/", {}, BODY)).ended().startswith(b"HTTP/1.1 2")

    def test_https_upstream_is_verified(self, configured: Start, certificates: Certificates) -> None:
        with RecordingUpstream(tls=certificates.server) as app:
            text = f'listen = ["127.0.0.1:0"]\nupstream = "{app.url}"\n[route.a]\npath = "/"\nallow = ["127.0.0.1"]\n'
            hookward = configured(text, env={"SSL_CERT_FILE": str(certificates.ca)})
            assert once(hookward.address, request("POST", "/", {}, BODY)).status == 200
            hookward = configured(text, env={"SSL_CERT_FILE": "/dev/null"})
            assert once(hookward.address, request("POST", "/", {}, BODY)).word == "upstream_unreachable"
