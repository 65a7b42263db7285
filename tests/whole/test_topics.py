"""The pages on one topic each: their examples are played in order, and print what the page shows.

A block of TOML is the configuration from there on: hookward is started with it, or reloaded. A block of ``sh`` is run.
Each line of a block of ``text`` must be in what the block of ``sh`` before it has printed, but for times.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks
from tests.whole.administrator import Host, waited
from tests.whole.process import environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program
from tests.whole.wire import github, once, request

LENGTH = 10 + 1024 * 1024 + 2
WITHHELD = 16 * 1024
_DIFFERENT = [
    r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+0000)",  # a time
    r"\b[\d.]+ ?ms\b|\b0\.\d{5,}|\b\d\.\d+e-\d+",  # a duration
    r"\b[0-9a-z]{12}\d{4}\b|\bdemo-\w+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b",  # an id
    r'"server.port":\d+',
]


@pytest.fixture
def played(host: Host, tmp_path: Path) -> Host:
    host.cwd = tmp_path
    return host


def play(host: Host, page: str, mark: str) -> Iterator[tuple[str, str]]:
    """Each block of that mark, after it was obeyed: its text, and what it printed."""
    fences = re.compile(rf"^```(toml|sh|text|json) {mark}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = (ROOT / "docs" / page).read_text()
    printed, booted = "", host.config.exists()
    if booted:
        host.boot()
    for language, block in fences.findall(text):
        here = host.here(block)
        if language in {"text", "json"}:
            missing = [line for line in plain(here).splitlines() if line.strip() not in plain(printed)]
            assert missing == [], printed
            continue
        if language == "sh":
            printed = host.shell(here)
        else:
            host.config.write_text(here)
            if booted:
                host.shell("systemctl reload hookward")
        if not booted and host.config.exists() and secrets_exist(host):
            host.boot()
            booted = True
        yield block, printed


def secrets_exist(host: Host) -> bool:
    """Whether hookward can start."""
    return all(Path(name).exists() for name in re.findall(r"file:([^\"]+)", host.config.read_text()))


def plain(text: str) -> str:
    """Without what differs from run to run: durations, times and ids."""
    for what in _DIFFERENT:
        text = re.sub(what, "", text)
    return text


def test_body_modes(played: Host, upstream: RecordingUpstream) -> None:
    for block, _ in play(played, "body-modes.md", "modes"):
        if "--tamper" in block:
            waited(lambda: played.access_log.read_text().count("\n") == 4)
    assert sorted(one.target for one in upstream.complete) == [b"/hooks/hold", b"/hooks/stream"]
    upstream.wait(lambda me: any(one.broken_off for one in me.seen))
    [broken] = upstream.incomplete
    assert broken.target == b"/hooks/stream"
    assert 0 < broken.length <= LENGTH - WITHHELD


def test_own_scheme(played: Host, upstream: RecordingUpstream) -> None:
    for name in ("curl", "openssl"):
        program(name)
    outputs = [printed for block, printed in play(played, "own-scheme.md", "scheme") if "sh acme.sh" in block]
    assert outputs[0] == "ok\n"
    assert len(upstream.wait_complete(2)) == 2, "that of curl, and that of send"


def test_incident(played: Host, upstream: RecordingUpstream) -> None:
    for name in ("curl", "jq"):
        program(name)
    played.command("journalctl", f"#!/bin/sh\ncat {played.etc}/journal\n")
    secret = played.etc / "github.secret"
    secret.write_text("a secret that echo has written")
    for block, printed in play(played, "incident.md", "incident"):
        if block.startswith("listen"):
            for _ in range(3):
                fields = github(secret.read_bytes() + b"\n", b"{}")
                assert once(played.hookward.address, request("POST", "/hooks/github", fields, b"{}")).status == 403
            waited(lambda: played.hookward.err.text.count("why secret_blank_there") == 3)
            waited(lambda: played.access_log.read_text().count("\n") == 3)
            (played.etc / "journal").write_text(played.hookward.err.text)
        if "--tamper" in block:
            waited(lambda: played.access_log.read_text().count("\n") == 5)
        last = printed
    assert last.startswith("signature_mismatch\t-")


def test_what_one_gets_to_see(played: Host) -> None:
    program("curl")
    played.command("journalctl", f"#!/bin/sh\ncat {played.etc}/journal\n")
    played.set_up()
    played.config.write_text(f'access_log = "{played.access_log}"\n{played.config.read_text()}')
    (played.etc / "github.secret").write_bytes(b"a secret of the first page")
    for block, _ in play(played, "../README.md", "see"):
        if "send" in block:
            waited(lambda: played.access_log.read_text().count("\n") == 1)
            assert played.hookward.said("why secret_blank_there")
            (played.etc / "journal").write_text(played.hookward.err.text)


def test_the_demonstration() -> None:
    command = [sys.executable, "-m", "proxy", "demo", "--once"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    [shown] = blocks("text", "demo", [ROOT / "README.md"])
    assert plain(shown.text) in plain(done.stdout)


def test_adopting(played: Host, upstream: RecordingUpstream) -> None:
    program("jq")
    (played.etc / "github.secret").write_bytes(b"a secret of an application in use")
    lines = 0
    for block, _ in play(played, "adopting.md", "adopt"):
        lines += block.count("hookward send")
        waited(lambda: played.access_log.exists() and played.access_log.read_text().count("\n") == lines)  # noqa: B023
    assert len(upstream.complete) == 3


def test_recipes(played: Host, upstream: RecordingUpstream) -> None:
    page = ROOT / "docs" / "recipes.md"
    text = "".join(one.text for one in blocks("toml", "recipe", [page]))
    found = re.findall(r'path += "(.*)"\nprovider += "(.*)"\nsecrets +=.*/(.*)"\]', text)
    assert len(found) == text.count("[route.")
    played.shell("\n".join(f"hookward gen-secret {slug} --out {played.etc}/{name}" for _, slug, name in found))
    (played.etc / "whatsapp.verify").write_bytes(b"a token of the recipes")
    played.config.write_text(played.here(text))
    played.boot()
    base = f"http://127.0.0.1:{played.port}"
    for path, slug, name in found:
        public = f"--public-url https://hooks.example.com{path}" if slug == "twilio" else ""
        event = "push" if slug == "github" else ""
        told = played.shell(
            f"hookward send {slug} {event} --url {base}{path} --secret-file {played.etc}/{name} {public}"
        )
        assert "200 OK" in told
    [script] = blocks("sh", "recipe", [page])
    played.shell(played.here(script.text))
    assert len(upstream.complete) == len(found) + 2


def test_private_socket(played: Host) -> None:
    for name in ("curl", "jq"):
        program(name)
    (played.etc / "github.secret").write_bytes(b"a secret of the private socket")
    asked = [printed for block, printed in play(played, "private-socket.md", "socket") if "ask()" in block]
    assert asked == ["process\nversion\nworker\nnot_found\nnot_found\n405\n"]


def test_upgrading(played: Host) -> None:
    played.set_up()
    printed = [printed for block, printed in play(played, "upgrading.md", "upgrading") if "explain" in block]
    assert "  ok  proof" in printed[0]
