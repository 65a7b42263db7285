"""The pages on one topic each: their examples are played in order, and print what the page shows.

A block of TOML is the configuration from there on: hookward is started with it, or reloaded. A block of ``sh`` is run.
Each line of a block of ``text`` must be in what the block of ``sh`` before it has printed, but for times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.whole.administrator import Host, waited
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program
from tests.whole.wire import github, once, request

LENGTH = 10 + 1024 * 1024 + 2
WITHHELD = 16 * 1024


@pytest.fixture
def played(host: Host, tmp_path: Path) -> Host:
    host.cwd = tmp_path
    return host


def play(host: Host, page: str, mark: str) -> Iterator[tuple[str, str]]:
    """Each block of that mark, after it was obeyed: its text, and what it printed."""
    fences = re.compile(rf"^```(toml|sh|text) {mark}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = (ROOT / "docs" / page).read_text()
    printed, booted = "", False
    for language, block in fences.findall(text):
        here = host.here(block)
        if language == "text":
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
    """Without what differs from run to run."""
    return re.sub(r"[0-9.]+ ms", "N ms", text)


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
    assert len(upstream.wait_complete()) == 1


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
