"""Started by root with ``--user``: who serves is that user, and what follows for reloads and files. Only as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import ROOT, Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, github, once, request

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
Start = Callable[..., Hookward]
NOBODY = pwd.getpwnam("nobody")
SIGNED = request("POST", "/", github(SECRET, b"{}"), b"{}")


def ids(pid: int) -> dict[str, set[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = [line.split(":", 1) for line in lines]
    return {name: set(text.split()) for name, text in pairs if name in {"Uid", "Gid", "Groups", "CapEff", "CapPrm"}}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def flags(upstream: RecordingUpstream, secret: Path) -> list[str]:
    named = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github"]
    return [*named, "--secret-file", str(secret), "--user", "nobody"]


def is_nobody(pid: int) -> None:
    found = ids(pid)
    assert found["Uid"] == {str(NOBODY.pw_uid)}
    assert found["Gid"] == {str(NOBODY.pw_gid)}
    assert found["Groups"] <= {str(NOBODY.pw_gid)}
    assert found["CapEff"] == found["CapPrm"] == {"0" * 16}


def test_roots_keys_and_ports_and_nobodys_rights(
    start: Start, upstream: RecordingUpstream, secret_file: Path, certificates: Certificates, tmp_path: Path
) -> None:
    """A port below 1024, a key and a secret that root alone may read, a log that is opened again after a rotation."""
    logs = tmp_path / "logs"
    logs.mkdir()
    os.chown(logs, NOBODY.pw_uid, NOBODY.pw_gid)
    for folder in [tmp_path, *list(tmp_path.parents)[:-1]]:
        if folder.stat().st_uid == 0 and stat.S_IMODE(folder.stat().st_mode) == 0o700:
            folder.chmod(0o711)
    certificates.key.chmod(0o600)
    more = ["--tls-cert", certificates.cert, "--tls-key", certificates.key, "--access-log", logs / "access.log"]
    hookward = start(*flags(upstream, secret_file), *more, secrets=[SECRET])
    is_nobody(hookward.pid)
    assert "running as root" not in hookward.err.text
    assert once(hookward.address, SIGNED, tls=certificates.client).status == 200
    (logs / "access.log").rename(logs / "access.log.1")
    hookward.signal(signal.SIGUSR1)
    assert hookward.said("reopened")
    deadline = monotonic() + PATIENCE_S  # the log's own thread opens it, a moment after it was told to
    while not (logs / "access.log").exists() and monotonic() < deadline:
        Event().wait(0.01)
    assert (logs / "access.log").stat().st_uid == NOBODY.pw_uid
    # The keys are root's: a reload cannot read them, and says so; what is in force stays.
    hookward.signal(signal.SIGHUP)
    assert hookward.said("the old configuration stays in force")
    assert hookward.said("may not be read")
    assert once(hookward.address, SIGNED, tls=certificates.client).status == 200


def test_a_reload_works_where_the_user_may_read(
    start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path
) -> None:
    os.chown(secret_file, NOBODY.pw_uid, NOBODY.pw_gid)
    for folder in list(secret_file.parents)[:-1]:
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:
            folder.chmod(0o711)
    hookward = start(*flags(upstream, secret_file), secrets=[SECRET])
    secret_file.write_bytes(b"another secret")
    hookward.signal(signal.SIGHUP)
    assert hookward.said("reloaded")
    assert once(hookward.address, SIGNED).status == 403


def test_each_worker_is_the_user_and_their_supervisor_reads_for_them(
    start: Start, upstream: RecordingUpstream, secret_file: Path
) -> None:
    hookward = start(*flags(upstream, secret_file), "--workers", "2", secrets=[SECRET])
    workers = children(hookward.pid)
    assert len(workers) == 2
    for pid in workers:
        is_nobody(pid)
    assert once(hookward.address, SIGNED).status == 200
    secret_file.write_bytes(b"another secret")
    hookward.signal(signal.SIGHUP)
    assert hookward.said("reloaded")
    assert once(hookward.address, SIGNED).status == 403


def test_what_is_configured_is_imported_before_the_package_is_out_of_reach(
    start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path
) -> None:
    """As in an environment below /root: the user may read none of it."""
    home, data = tmp_path / "home", tmp_path / "data"
    shutil.copytree(ROOT / "proxy", home / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    home.chmod(0o700)
    data.mkdir()
    os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
    for folder in [tmp_path, *list(tmp_path.parents)[:-1]]:
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:
            folder.chmod(0o711)
    more = ["--allow", "127.0.0.1", "--kernel-filter", "auto", "--duplicates", "refuse-delivered"]
    store = ["--duplicates-store", "sqlite", "--duplicates-path", data / "deliveries.db"]
    hookward = start(*flags(upstream, secret_file), *more, *store, secrets=[SECRET], cwd=home)
    is_nobody(hookward.pid)
    assert "cannot be loaded" not in hookward.err.text
    assert once(hookward.address, SIGNED).status == 200


def test_without_a_user_root_is_told(start: Start, upstream: RecordingUpstream, secret_file: Path) -> None:
    hookward = start(*flags(upstream, secret_file)[:-2], secrets=[SECRET])
    assert "warning: running as root: --user NAME" in hookward.err.text


def test_files_of_sockets_and_bodies_are_not_for_everybody(
    start: Start, upstream: RecordingUpstream, secret_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hookward.sock"
    more = ["--listen", f"unix:{path}", "--hold-window", "1KiB", "--body", "hold"]
    hookward = start(*flags(upstream, secret_file), *more, listeners=2, secrets=[SECRET])
    status = path.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY.pw_uid, 0o660)
    content = b"x" * 100_000
    whole = request("POST", "/", github(SECRET, content), content)
    with Client(hookward.address) as client:
        client.send(whole[:-1])
        spilled: list[Any] = []
        while not spilled:
            links = [entry for entry in Path(f"/proc/{hookward.pid}/fd").iterdir() if entry.is_symlink()]
            spilled = [entry for entry in links if str(entry.readlink()).endswith("(deleted)")]
        status = spilled[0].stat()
        assert stat.S_ISREG(status.st_mode)
        assert (status.st_nlink, stat.S_IMODE(status.st_mode), status.st_uid) == (0, 0o600, NOBODY.pw_uid)
        client.send(whole[-1:])
        assert client.answer().status == 200
