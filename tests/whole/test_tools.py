"""The tools page: its scripts are run in order, and show what they print. And diagnoses over real sockets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S

PAGE = (ROOT / "docs" / "tools.md").read_text()
FENCE = re.compile(r"^```(sh|text) tools\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = b"a secret of the tests of tools"


def plain(text: str) -> str:
    """Without what differs from run to run: numbers, and spaces at line ends."""
    return re.sub(r"[0-9.]+ ms", "N ms", text).strip()


def test_the_examples_of_the_page(tmp_path: Path):
    subprocess.run([sys.executable, "-m", "proxy", "gen-secret", "--out", tmp_path / "s"], cwd=ROOT, check=True)
    secret = (tmp_path / "s").read_bytes()
    printed = ""
    with RecordingUpstream() as upstream:
        hookward = Hookward(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--path", "/hooks/github"),
            *("--provider", "github", "--secret-file", str(tmp_path / "s")),
            secrets=[secret],
        )
        try:
            for language, text in FENCE.findall(PAGE):
                if language == "text":
                    shown = plain(text.replace("127.0.0.1:8080", f"127.0.0.1:{hookward.port}"))
                    missing = [line for line in shown.splitlines() if line.strip() not in plain(printed)]
                    assert missing == [], printed
                    continue
                printed = run(text.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{hookward.port}"), tmp_path)
                if "gen-secret" in text:
                    (tmp_path / "github.secret").write_bytes(secret)  # the one that hookward was started with
                assert secret.decode() not in printed
            assert hookward.said("why secret_blank_there: ")
        finally:
            hookward.stop()
        assert len(upstream.complete) == 1


def block(mark: str) -> str:
    [found] = re.findall(rf"^```sh {mark}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_first_route_of_the_page(tmp_path: Path):
    """And its next commands do what they say: a check, a start, and a delivery that arrives."""
    printed = run(block("init"), tmp_path).replace(f"{sys.executable} -m proxy", "hookward")
    [shown] = re.findall(r"^```text init\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [line for line in shown.splitlines() if line not in printed] == []
    check, start, send = (line.strip() for line in printed.strip().splitlines()[-3:])
    readme = re.findall(r"^```sh first\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert "".join(readme).splitlines() == ["hookward init github", start, send]
    assert start.split() == ["hookward", "run", "hookward.toml"]
    config = tmp_path / "hookward.toml"
    with RecordingUpstream() as upstream:
        config.write_text(config.read_text().replace("http://127.0.0.1:8000", upstream.url).replace(":8080", ":0"))
        assert "signature of github" in run(check, tmp_path)
        hookward = Hookward("run", str(config), secrets=[(tmp_path / "github.secret").read_bytes()])
        try:
            config.write_text(config.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{hookward.port}"'))
            assert "200 OK" in run(send, tmp_path)
        finally:
            hookward.stop()
        assert len(upstream.complete) == 1


def test_routes_and_key_pairs_of_the_page(tmp_path: Path):
    """``--config`` calls the listener of the file; a key pair of one's own proves a delivery of Discord."""
    *openssl, send = block("keys").splitlines()
    run("\n".join(openssl), tmp_path)
    (tmp_path / "github.secret").write_bytes(SECRET)
    config = tmp_path / "hookward.toml"
    with RecordingUpstream() as upstream:
        text = f'upstream = "{upstream.url}"\n' + "".join(
            f'[route.{name}]\npath = "/hooks/{name}"\nprovider = "{name}"\nsecrets = ["file:{name}.{kind}"]\n'
            for name, kind in (("github", "secret"), ("discord", "public"))
        )
        config.write_text('listen = ["127.0.0.1:0"]\n' + text)
        hookward = Hookward("--config", str(config), secrets=[SECRET])
        try:
            config.write_text(f'listen = ["127.0.0.1:{hookward.port}"]\n' + text)
            printed = run(block("route").replace("/etc/hookward", str(tmp_path)), tmp_path)
            assert printed.count("200 OK") == 2
            assert "200 OK" in run(send.replace(":8080", f":{hookward.port}"), tmp_path)
        finally:
            hookward.stop()
        assert [one.target for one in upstream.complete] == [b"/hooks/github"] * 2 + [b"/hooks/discord"]


def run(script: str, folder: Path) -> str:
    command = f'hookward() {{ "{sys.executable}" -m proxy "$@"; }}\n{script}'
    done = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("tamper", "reason", "word"),
    [
        ("newline", "signature_mismatch", "secret_blank_there"),
        ("reencode", "signature_mismatch", "body_reencoded"),
        ("header", "signature_missing", "unsigned"),
        ("twice", "signature_malformed", "header_repeated"),
        ("secret", "signature_mismatch", "unknown"),
        ("timestamp", "timestamp_too_old", "timestamp_old"),
    ],
)
def test_a_refusal_is_explained_in_the_log_and_not_to_the_sender(tmp_path: Path, tamper: str, reason: str, word: str):
    provider = "slack" if tamper == "timestamp" else "github"
    (tmp_path / "s").write_bytes(SECRET)
    with RecordingUpstream() as upstream:
        hookward = Hookward(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--admin", "127.0.0.1:0"),
            *("--path", "/h", "--provider", provider, "--secret-file", str(tmp_path / "s")),
            secrets=[SECRET],
            listeners=2,
        )
        try:
            port = hookward.port
            answer = subprocess.run(
                [
                    *(sys.executable, "-m", "proxy", "send", provider, "--url", f"http://127.0.0.1:{port}/h"),
                    *("--secret-file", str(tmp_path / "s"), "--tamper", tamper),
                ],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=environment(),
                timeout=PATIENCE_S,
                check=False,
            )
            assert answer.returncode == 1
            assert reason in answer.stdout
            assert word not in answer.stdout.replace(reason, "")
            [exchange] = hookward.logged({"webhook.reason": reason, "event.name": "hookward.exchange"})
            assert hookward.said(f"why {word}: ")
            assert hookward.said(f" ({reason}, route default, request {exchange['http.request.id']})")
        finally:
            hookward.stop()
        assert upstream.complete == []
