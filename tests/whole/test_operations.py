"""What operators rely on: the demo, reloads that change listeners, a log that never blocks, probes while draining."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import ROOT, Hookward, Output, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program
from tests.whole.wire import PATIENCE_S, Client, github, once, request, turned_away

Start = Callable[..., Hookward]
BODY = b'{"zen":"Responsive is better than fast."}'
PLAIN = request("POST", "/", {}, BODY, host="localhost")
SIGNED = request("POST", "/", github(SECRET, BODY), BODY)


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *argv],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(env),
        cwd=ROOT,
        check=False,
    )


class TestDemo:
    def test_once_keeps_every_promise_and_ends(self, tmp_path: Path) -> None:
        done = run("demo", "--once", TMPDIR=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert "Every promise was kept." in done.stdout
        for word in ("200 OK", "signature_mismatch", "signature_missing", "path_not_matched", "reset at accept"):
            assert word in done.stdout
        assert list(tmp_path.iterdir()) == [], "the secret was left behind"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_stays_until_it_is_interrupted(self, tmp_path: Path, number: signal.Signals) -> None:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "demo"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            env=environment({"TMPDIR": str(tmp_path), "NO_COLOR": "1"}),
            cwd=ROOT,
        )
        os.close(theirs)
        out, err = Output(os.fdopen(ours, encoding="utf-8", errors="replace")), Output(process.stderr)
        found = out.wait(lambda lines: re.search(r"curl -i http://127\.0\.0\.1:(\d+)(\S+)", "\n".join(lines)))
        assert found, out.text + err.text
        assert out.wait(lambda lines: "Ctrl-C" in "\n".join(lines))
        address = ("127.0.0.1", int(found[1]))
        assert once(address, request("POST", found[2], {}, BODY)).word == "signature_missing"
        assert out.wait(lambda lines: [line for line in lines if line.startswith("403 POST")])
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        for stream in (out, err):
            stream.finish()
        assert "Traceback" not in err.text
        with pytest.raises(ConnectionRefusedError):
            Client(address)


class TestStart:
    def test_the_other_proxy_package_is_noticed(self, tmp_path: Path) -> None:
        info = tmp_path / "proxy.py-2.4.10.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: proxy.py\nVersion: 2.4.10\n")
        done = run("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", PYTHONPATH=f"{ROOT}:{tmp_path}")
        assert done.returncode == 78
        assert done.stderr.count("\n") == 1
        assert "proxy.py" in done.stderr

    @pytest.mark.parametrize(
        ("argv", "code", "mend"),
        [
            (["--listen", "unix:{folder}/in.sock"], 77, "write to that folder"),
            (["--listen", "127.0.0.1:443"], 77, "CAP_NET_BIND_SERVICE"),
            (["--listen", "127.0.0.1:0", "--access-log", "{folder}/log"], 78, "write there"),
            (["--listen", "127.0.0.1:0", "--access-log", "{folder}/log", "--workers", "2"], 78, "write there"),
            (["--config", "{folder}/hookward.toml"], 78, "name a readable file"),
            (["--listen", "127.0.0.1:0", "--provider", "github", "--secret-file", "{folder}/secret"], 78, "read it"),
        ],
        ids=["folder", "port", "log", "log of workers", "configuration", "secret"],
    )
    def test_not_permitted(self, tmp_path: Path, argv: list[str], code: int, mend: str) -> None:
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443 and "CAP" in mend:
            pytest.skip("here everybody may listen on low ports")
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in ("hookward.toml", "secret"):
            (folder / name).write_text("upstream = '127.0.0.1:1'")
            (folder / name).chmod(0o000)
        folder.chmod(0o500)
        words = [sys.executable, "-m", "proxy", "--upstream", "127.0.0.1:1"]
        if os.geteuid() == 0:  # who may do everything, unless this is taken away
            os.chown(folder, 65534, -1)
            words = [program("setpriv"), "--inh-caps=-all", "--bounding-set=-all", *words]
            folder.chmod(0o755)
        done = subprocess.run(
            [*words, *(word.format(folder=folder) for word in argv)],
            capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), cwd=ROOT, check=False,
        )  # fmt: skip
        folder.chmod(0o755)
        assert (done.returncode, mend in done.stderr) == (code, True), done.stderr

    def test_a_certificate_that_does_not_fit(self, certificates: Certificates, tmp_path: Path) -> None:
        (tmp_path / "key.pem").write_text("no key")
        done = run(
            *("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--open"),
            *("--tls-cert", str(certificates.cert), "--tls-key", str(tmp_path / "key.pem")),
        )
        assert done.returncode == 78
        assert "key.pem" in done.stderr

    def test_with_stdout_closed_it_serves_all_the_same(self, upstream: RecordingUpstream) -> None:
        process = subprocess.Popen(
            [
                *("sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "proxy"),
                *("--listen", "127.0.0.1:0", "--upstream", upstream.url),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=ROOT,
        )
        err = Output(process.stderr)
        found = err.wait(lambda lines: re.search(r"listening on 127\.0\.0\.1:(\d+)", "\n".join(lines)))
        assert found, err.text
        assert once(("127.0.0.1", int(found[1])), PLAIN).status == 200
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        err.finish()
        assert "Traceback" not in err.text


class TestReload:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "hookward.toml"

    def text(self, upstream: RecordingUpstream, more: str = "") -> str:
        return f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n{more}\n[route.a]\npath = "/"\nopen = true\n'

    def test_tls_is_switched_on_without_losing_the_port(
        self, start: Start, upstream: RecordingUpstream, certificates: Certificates, path: Path
    ) -> None:
        path.write_text(self.text(upstream))
        hookward = start("--config", path)
        assert once(hookward.address, PLAIN).status == 200
        tls = f'[tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"'
        path.write_text(self.text(upstream, tls))
        with Client(hookward.address) as old:
            assert old.ask(PLAIN).status == 200
            hookward.signal(signal.SIGHUP)
            assert hookward.said("reloaded")
            assert once(hookward.address, PLAIN, tls=certificates.client).status == 200
            assert old.ended() == b"", "what came in without TLS ends"

    def test_a_certificate_that_cannot_be_used_keeps_everything(
        self, start: Start, upstream: RecordingUpstream, path: Path
    ) -> None:
        path.write_text(self.text(upstream))
        hookward = start("--config", path)
        path.with_name("bad.pem").write_text("no certificate")
        path.write_text(self.text(upstream, '[tls]\ncert = "bad.pem"'))
        hookward.signal(signal.SIGHUP)
        assert hookward.said("the old configuration stays in force")
        assert once(hookward.address, PLAIN).status == 200

    def test_reloads_under_load_lose_nothing(self, start: Start, upstream: RecordingUpstream, path: Path) -> None:
        path.write_text(self.text(upstream))
        hookward = start("--config", path)
        statuses: list[int] = []

        def ask() -> None:
            statuses.extend(once(hookward.address, PLAIN).status for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            hookward.signal(signal.SIGHUP)
            threads[0].join(0.02)
            if not threads[0].is_alive():
                break
        for thread in threads:
            thread.join()
        assert statuses == [200] * 150


class TestLog:
    def test_a_reader_that_stalls_stops_nobody(self, upstream: RecordingUpstream) -> None:
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "--listen", "127.0.0.1:0", "--upstream", upstream.url],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=ROOT,
        )
        os.close(writing)
        err = Output(process.stderr)
        found = err.wait(lambda lines: re.search(r"listening on 127\.0\.0\.1:(\d+)", "\n".join(lines)))
        assert found, err.text
        line_bytes = 500  # a line is longer; a pipe of Linux holds 64 KiB
        with Client(("127.0.0.1", int(found[1]))) as client:
            assert all(client.ask(PLAIN).status == 200 for _ in range(2 * 65536 // line_bytes))
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        err.finish()
        os.close(reading)

    def test_the_last_line_is_there_when_the_process_has_ended(self, start: Start, upstream: RecordingUpstream) -> None:
        hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url)
        with Client(hookward.address) as client:
            for _ in range(20):
                client.ask(PLAIN)
            hookward.signal(signal.SIGTERM)
            assert hookward.wait() == 0
        assert len(hookward.log()) == 20

    def test_on_a_terminal_it_is_text_for_people(self, upstream: RecordingUpstream) -> None:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "--listen", "127.0.0.1:0", "--upstream", upstream.url],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment({"TERM": "xterm"}), "NO_COLOR": ""},
            cwd=ROOT,
        )
        os.close(theirs)
        err = Output(process.stderr)
        found = err.wait(lambda lines: re.search(r"listening on 127\.0\.0\.1:(\d+)", "\n".join(lines)))
        assert found, err.text
        once(("127.0.0.1", int(found[1])), PLAIN)
        seen, deadline = b"", monotonic() + PATIENCE_S
        while b"\n" not in seen and select.select([ours], [], [], max(0.0, deadline - monotonic()))[0]:
            seen += os.read(ours, 65536)
        process.terminate()
        process.wait(PATIENCE_S)
        err.finish()
        os.close(ours)
        assert b"\033[32m200\033[0m POST / \033[32mdelivered\033[0m" in seen


class TestAdmin:
    @pytest.fixture
    def hookward(self, start: Start, upstream: RecordingUpstream, secret_file: Path) -> Hookward:
        return start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--admin", "127.0.0.1:0"),
            *("--provider", "github", "--secret-file", secret_file, "--allow", "127.0.0.1"),
            secrets=[SECRET],
            listeners=2,
        )

    def get(self, hookward: Hookward, path: str) -> bytes:
        return once(hookward.addresses[1], request("GET", path, host="localhost")).content

    def test_prometheus_reads_every_line(self, hookward: Hookward) -> None:
        assert once(hookward.address, SIGNED).status == 200
        assert turned_away(hookward.address, source="127.0.0.2") == "reset"
        found = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.get(hookward, "/metrics").decode())
            for sample in family.samples
        }
        names = {name for name, _ in found}
        assert found[("hookward_accept_refused_total", (("cause", "address"),))] == 1
        assert found[("hookward_exchanges_in_flight", ())] == 0
        assert found[("hookward_policy_generation", ())] == 1
        assert {"hookward_build_info", "hookward_exchange_duration_seconds_bucket", "hookward_connections"} <= names
        [delivered] = [labels for (name, labels) in found if name == "hookward_exchanges_total"]
        assert dict(delivered) == {
            "route": "default",
            "provider": "github",
            "reason": "delivered",
            "status_class": "2xx",
        }

    def test_while_it_drains_it_lives_but_is_not_ready(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        upstream.manner.gate = gate = threading.Event()
        assert self.get(hookward, "/readyz") == b"ready\n"
        with Client(hookward.address) as busy:
            busy.send(SIGNED)
            upstream.wait_complete()
            assert b"hookward_exchanges_in_flight 1\n" in self.get(hookward, "/metrics")
            hookward.signal(signal.SIGTERM)
            assert hookward.said("draining")
            assert b"not ready: draining\n" in self.get(hookward, "/readyz")
            assert self.get(hookward, "/livez") == b"alive\n"
            gate.set()
            assert busy.answer().status == 200
        assert hookward.wait() == 0

    def test_an_upstream_that_is_gone_is_named(self, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        hookward = start(
            "--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", listeners=2
        )
        assert once(hookward.address, PLAIN).status == 502
        assert self.get(hookward, "/readyz") == b"not ready: no upstream accepts connections\n"
        assert self.get(hookward, "/readyz?exclude=upstream") == b"ready\n"

    def test_the_public_port_knows_nothing_of_it(self, hookward: Hookward, upstream: RecordingUpstream) -> None:
        for path in ("/livez", "/readyz", "/metrics"):
            assert once(hookward.address, request("GET", path, host="localhost")).status == 405
        assert upstream.connections == 0
