"""Whatever ``run`` refuses at its start, ``check`` refuses with the same code: one table of broken starts, for both."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from proxy.ops.cli import main
from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
UPSTREAM = ("--upstream", "127.0.0.1:1")
OPEN = (*UPSTREAM, "--listen", "127.0.0.1:0")
GITHUB = (*OPEN, "--path", "/g", "--provider", "github")
SIGNED = (*GITHUB, "--secret-file", "{place}/good")
STORE = (*SIGNED, "--duplicates", "refuse-delivered", "--duplicates-store", "sqlite", "--duplicates-path")
LOG = (*OPEN, "--open", "--access-log")
TAKEN = "cannot listen on 127.0.0.1:{taken}"
TLS = (*OPEN, "--open", "--tls-cert", "{place}/cert.pem", "--tls-key")

SLIPS = (*GITHUB, "--user", "no-such-user", "--access-log", "/none/access.log")

TOP = "listen = '127.0.0.1:0'\nupstream = 'http://127.0.0.1:1'\n"

#: name -> the command line, the exit code, and a word of the message
BROKEN: dict[str, tuple[tuple[str, ...], int, str]] = {
    "flag that is unknown": (("--listn", "127.0.0.1:0"), 64, "--listen"),
    "flag that comes twice": ((*OPEN, "--admin", "127.0.0.1:1", "--admin", "127.0.0.1:2"), 64, "twice"),
    "two routes": ((*GITHUB, "--path", "/s"), 64, "several routes need a file"),
    "nothing to listen on": (UPSTREAM, 78, "nothing listens"),
    "file that is missing": (("--config", "{place}/none.toml"), 78, "none.toml"),
    "file with a slip": (("{place}/slip.toml",), 78, "did you mean 'listen'?"),
    "secret that is missing": ((*GITHUB, "--secret-file", "{place}/none.secret"), 78, "gen-secret github --out"),
    "secret that is empty": ((*GITHUB, "--secret-file", "{place}/empty"), 78, "{place}/empty, is empty"),
    "secret that is a folder": ((*GITHUB, "--secret-file", "{place}"), 78, "is a folder"),
    "variable that is not set": ((*GITHUB, "--secret-env", "NO_SUCH_SECRET"), 78, "NO_SUCH_SECRET"),
    "credential without systemd": (("{place}/credential.toml",), 78, "no credentials directory"),
    "list of addresses": ((*OPEN, "--path", "/a", "--allow", "file:{place}/none.txt"), 78, "none.txt"),
    "certificate that is missing": ((*TLS, "{place}/none.pem"), 78, "none.pem"),
    "key of another certificate": ((*TLS, "{place}/other.pem"), 78, "other.pem"),
    "log folder that is missing": ((*LOG, "{place}/none/access.log"), 78, "create its folder"),
    "log that is a folder": ((*LOG, "{place}"), 78, "cannot be opened"),
    "store in no folder": ((*STORE, "{place}/none/d.sqlite3"), 78, "d.sqlite3"),
    "store that is none": ((*STORE, "{place}/slip.toml"), 78, "not a database"),
    "queue in no folder": (("{place}/queue.toml",), 78, "{place}/good/below"),
    "queue where nothing can be made": (("{place}/proc.toml",), 78, "queue: /proc/kept: No such file or directory\n"),
    "console's port in use": (("{place}/console.toml",), 69, TAKEN),
    "user that is unknown": ((*OPEN, "--open", "--user", "no-such-user"), 78, "no user 'no-such-user'"),
    "group that is unknown": ((*OPEN, "--open", "--group", "no-such-group"), 78, "no group 'no-such-group'"),
    "user, log and secret": ((*SLIPS, "--secret-file", "{place}/empty"), 78, "no user 'no-such-user'"),
    "log, with a bad secret": ((*SLIPS, "--secret-file", "{place}/empty"), 78, "create its folder: mkdir -p /none"),
    "secret, with a bad user": ((*SLIPS, "--secret-file", "{place}/empty"), 78, "{place}/empty, is empty"),
    "log, with a bad user": ((*SLIPS, "--secret-file", "{place}/good"), 78, "create its folder: mkdir -p /none"),
    "port in use": ((*UPSTREAM, "--open", "--listen", "127.0.0.1:{taken}"), 69, TAKEN),
    "port in use, for workers": ((*UPSTREAM, "--open", "--workers", "2", "--listen", "127.0.0.1:{taken}"), 69, TAKEN),
    "admin's port in use": ((*OPEN, "--open", "--admin", "127.0.0.1:{taken}"), 69, TAKEN),
    "forward's port in use": ((*OPEN, "--open", "--tcp", "127.0.0.1:{taken}=127.0.0.1:1"), 69, "cannot listen"),
    "address of another host": ((*UPSTREAM, "--open", "--listen", "192.0.2.1:0"), 78, "`ip address`"),
    "socket where a file is": ((*UPSTREAM, "--open", "--listen", "unix:{place}/good"), 69, "is no socket"),
    "socket in no folder": ((*UPSTREAM, "--open", "--listen", "unix:{place}/none/s"), 78, "create its folder"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, taken: int) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "slip.toml").write_text("listn = '127.0.0.1:0'\nupstream = 'http://127.0.0.1:1'\n")
    route = "[route.a]\npath = '/a'\nprovider = 'github'\nsecrets = ['cred:a']\n"
    (folder / "credential.toml").write_text(f"{TOP}{route}")
    for name, text in (("empty", ""), ("good", "0123456789abcdef")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    kept = route.replace("['cred:a']", f"['file:{folder}/good']\ndeliver = 'fallback'")
    (folder / "queue.toml").write_text(f"{TOP}[queue]\npath = '{folder}/good/below'\n{kept}")
    (folder / "proc.toml").write_text(f"{TOP}[queue]\npath = '/proc/kept'\n{kept}")
    (folder / "console.toml").write_text(f"{TOP}open = true\n[console]\nlisten = '127.0.0.1:{taken}'\n")
    authority = trustme.CA()
    for name in ("cert", "other"):
        issued = authority.issue_cert("hooks.example.com")
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        if name == "other":
            issued.private_key_pem.write_to_path(str(folder / "other.pem"))
    return folder


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def run(*argv: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*words, sys.executable, "-m", "proxy", *argv],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), cwd=ROOT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_run_and_check_refuse_alike(name: str, place: Path, taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    argv, code, word = BROKEN[name]
    filled = [text.format(place=place, taken=taken) for text in argv]
    word = word.format(place=place, taken=taken)
    started = run("run", *filled)
    assert (started.returncode, word in started.stderr) == (code, True), started.stderr
    assert "stopped" not in started.stderr, "it never ran"
    assert main(["check", *filled]) == code
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said


@as_root
@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        ((*OPEN, "--open", "--user", "nobody"), 77, "only root can become another user"),
        ((*UPSTREAM, "--open", "--listen", "127.0.0.1:443"), 77, "CAP_NET_BIND_SERVICE"),
        ((*UPSTREAM, "--open", "--listen", "unix:/s"), 77, "write to that folder"),
        ((*OPEN, "--open", "--access-log", "/log"), 78, "write there"),
        (SIGNED, 78, "may not be read by the user"),
    ],
    ids=["user", "port", "socket", "log", "secret"],
)
def test_so_do_they_as_a_user_of_few_rights(place: Path, argv: tuple[str, ...], code: int, word: str) -> None:
    if "443" in " ".join(argv) and int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443:
        pytest.skip("here everybody may listen on low ports")
    daemon = pwd.getpwnam("daemon")
    for folder in (place, *place.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    words = ("setpriv", f"--reuid={daemon.pw_uid}", f"--regid={daemon.pw_gid}", "--clear-groups")
    for command in ("run", "check"):
        done = run(command, *(text.format(place=place) for text in argv), words=words)
        assert (done.returncode, word in done.stderr) == (code, True), (command, done.stderr)


def test_a_port_that_hookward_itself_has_is_as_it_should_be(
    upstream: RecordingUpstream, start: Callable[..., Hookward], capsys: pytest.CaptureFixture[str]
) -> None:
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open")
    host, port = hookward.address
    assert main(["check", "--upstream", upstream.url, "--open", "--listen", f"{host}:{port}"]) == 0
    assert f"{host}:{port}" in capsys.readouterr().out


def test_for_another_host_this_one_is_left_out(taken: int) -> None:
    argv = [*UPSTREAM, "--open", "--listen", f"127.0.0.1:{taken}", "--user", "no-such-user", "--access-log", "/no/log"]
    assert main(["check", *argv]) == 78
    assert main(["check", "--elsewhere", *argv]) == 0


@as_root
def test_it_judges_as_the_user_that_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (place, *place.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    argv = ["check", *GITHUB, "--secret-file", f"{place}/good"]
    assert main(argv) == 0
    capsys.readouterr()
    assert main([*argv, "--user", "daemon"]) == 78
    assert "may not be read by the user daemon" in (said := capsys.readouterr().err)
    assert f"chown root:daemon {place}/good && chmod 640 {place}/good" in said
    assert os.geteuid() == 0
    # A supervisor stays root, and reads for its workers.
    assert main([*argv, "--user", "daemon", "--workers", "2"]) == 0
