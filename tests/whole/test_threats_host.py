"""Threats from the host itself: a user whom root serves, a reader that does not read, a worker that was taken over."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, ClosedError, Reader, github, once, request

Start = Callable[..., Hookward]
NOBODY = pwd.getpwnam("nobody")
SIGNED = request("POST", "/", github(SECRET, b"{}"), b"{}")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led by another user")


# -- root, and the folders of the user that it becomes


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of the user whom root becomes."""
    for folder in [tmp_path, *list(tmp_path.parents)[:-1]]:
        if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o711)
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    return folder


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A file that root alone may write."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "treasure"
    path.write_bytes(b"root's\n")
    path.chmod(0o600)
    return path


def as_nobody(*command: object) -> None:
    """What the user does: a process of that user's own."""
    ids = [f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    subprocess.run(["setpriv", *ids, *map(str, command)], check=True, timeout=PATIENCE_S)


def refused(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", *map(str, argv)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=PATIENCE_S, check=False
    )


@as_root
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("attack", ["link", "folder", "pipe"])
def test_o1_root_is_not_led_to_another_file_by_its_log(
    upstream: RecordingUpstream, theirs: Path, treasure: Path, attack: str, workers: int
) -> None:
    """The user puts a link, a link for a folder on the way, or a pipe where root is to open the log."""
    log = theirs / "logs" / "treasure"
    as_nobody("mkdir", theirs / "logs")
    if attack == "link":
        as_nobody("ln", "-s", treasure, log)
    elif attack == "folder":
        as_nobody("rmdir", theirs / "logs")
        as_nobody("ln", "-s", treasure.parent, theirs / "logs")
    else:
        as_nobody("mkfifo", log)
    flags = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--user", "nobody"]
    done = refused(*flags, "--access-log", log, "--workers", workers)
    assert done.returncode == 78
    assert f"{log} cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
    assert (treasure.read_bytes(), treasure.stat().st_uid) == (b"root's\n", 0)


@as_root
def test_o1_root_is_not_led_to_another_file_when_its_log_is_opened_again(
    start: Start, upstream: RecordingUpstream, theirs: Path, treasure: Path
) -> None:
    """Root that stays root, with a log in a user's folder: after the rotation there is a link."""
    log = theirs / "access.log"
    hookward = start("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--access-log", log)
    as_nobody("mv", log, theirs / "old")
    as_nobody("ln", "-s", treasure, log)
    hookward.signal(signal.SIGUSR1)
    assert hookward.said("cannot be opened again (a symbolic link that another user made)")
    assert once(hookward.address, SIGNED).status == 200
    hookward.signal(signal.SIGTERM)
    assert hookward.wait() == 0
    assert treasure.read_bytes() == b"root's\n"
    assert b"delivered" in (theirs / "old").read_bytes()


@as_root
@pytest.mark.parametrize("workers", [1, 2])
def test_o1_root_is_not_led_to_another_folder_by_its_socket(
    start: Start, upstream: RecordingUpstream, theirs: Path, treasure: Path, workers: int
) -> None:
    """The socket is made in the user's folder, given to the user, and removed there and nowhere else."""
    as_nobody("ln", "-s", treasure.parent, theirs / "run")
    flags = ["--upstream", upstream.url, "--open", "--user", "nobody", "--listen"]
    done = refused(*flags, f"unix:{theirs}/run/treasure")
    assert done.returncode in {77, 78}
    assert "a symbolic link that another user made" in done.stderr
    assert (treasure.read_bytes(), treasure.stat().st_uid) == (b"root's\n", 0)
    as_nobody("rm", theirs / "run")
    as_nobody("mkdir", theirs / "run")
    hookward = start(*flags, f"unix:{theirs}/run/sock", "--workers", workers)
    status = (theirs / "run" / "sock").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (NOBODY.pw_uid, 0o660)
    assert once(f"{theirs}/run/sock", SIGNED).status == 200
    hookward.signal(signal.SIGTERM)
    assert hookward.wait() == 0
    assert not (theirs / "run" / "sock").exists()


@as_root
def test_o1_root_reads_no_secret_through_another_users_link(
    upstream: RecordingUpstream, theirs: Path, treasure: Path
) -> None:
    as_nobody("ln", "-s", treasure.parent, theirs / "keys")
    flags = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--provider", "github", "--user", "nobody"]
    done = refused(*flags, "--secret-file", theirs / "keys" / "treasure")
    assert done.returncode == 78
    assert "a symbolic link in it that another user made" in done.stderr
    assert "root's" not in done.stdout + done.stderr


# -- a worker that was taken over by who sends to it

TAKEN_OVER = """
import os, signal, sys, time
from proxy.ops import supervised
from proxy.ops.cli import main
honest = supervised.main

def taken_over(*errand):
    channel = next(one for one in errand if hasattr(one, "sendall"))
    try:
        os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return honest(*errand)
    channel.sendall(b'{"kind":"serves"}\\n')
    channel.recv(65536)  # all serve, and are told to open their logs again
    try:
        for line in eval(sys.argv[2]):
            channel.sendall(line)
        while channel.recv(65536):
            pass
    except OSError:
        pass
    signal.pause()

supervised.main = taken_over
sys.exit(main(sys.argv[3:]))
"""

SAID = {
    "nonsense": [b"\xff\n"],
    "a list": [b"[]\n"],
    "no number": [b'{"kind":"ask"}\n'],
    "a list for a number": [b'{"kind":"counted","number":[],"metrics":{}}\n'],
    "metrics that do not add up": [
        b'{"kind":"metrics","metrics":{"hookward_exchange_duration_seconds":{"":[1]}}}\n',
        b'{"kind":"metrics","metrics":{"hookward_exchange_duration_seconds":{"":1}}}\n',
    ],
    "metrics that are none": [b'{"kind":"metrics","metrics":7}\n'],
    "infinity": [b'{"kind":"metrics","metrics":{"hookward_connections":{"":Infinity}}}\n'],
    "a number of 5,000 digits": [b'{"kind":"ask","number":' + b"9" * 5000 + b"}\n"],
    "brackets": [b"[" * 60_000 + b"\n"],
    "words that nobody knows": [b'{"kind":"reap"}\n'],
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_o2_what_a_worker_says_ends_that_worker_alone(
    upstream: RecordingUpstream, tmp_path: Path, said: list[bytes]
) -> None:
    """Another takes its place, its sibling serves, the supervisor reloads and ends as it should."""
    script = tmp_path / "taken_over.py"
    script.write_text(TAKEN_OVER)
    flags = ["--listen", "127.0.0.1:0", "--upstream", upstream.url, "--open", "--workers", "2"]
    program = [sys.executable, str(script), str(tmp_path / "once"), repr(said)]
    hookward = Hookward(*flags, program=program)
    try:
        hookward.signal(signal.SIGUSR1)
        assert hookward.said("is not understood, and is ended")
        assert hookward.said("another one is started")
        assert once(hookward.address, SIGNED).status == 200
        hookward.signal(signal.SIGHUP)
        assert hookward.said("reloaded")
    finally:
        assert hookward.stop() == 0


# -- a standard error that is not read


@pytest.mark.parametrize("workers", [1, 2])
def test_o3_a_standard_error_that_is_not_read_stops_nothing(
    upstream: RecordingUpstream, tmp_path: Path, workers: int
) -> None:
    """Its pipe is full: deliveries, reloads and the end go on as ever, and what was lost is counted."""
    config = tmp_path / "hookward.toml"
    admin = tmp_path / "admin"
    config.write_text(
        f'listen = ["unix:{tmp_path}/sock"]\nadmin = "unix:{admin}"\nupstream = "{upstream.url}"\n'
        f'access_log = "off"\nworkers = {workers}\n[route.r]\npath = "/"\nopen = true\n'
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "-c", str(config)], stderr=writing, env=environment(), cwd=ROOT
    )
    try:
        said = b""
        while b"listening on unix:" + str(admin).encode() not in said:
            said += os.read(reading, 65536)
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x")
        os.set_blocking(writing, True)
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGUSR1)
            assert once(f"{tmp_path}/sock", SIGNED).status == 200
        reloaded, lost = rb'reloads_total\{result="done"\} [1-9]', rb"journal_lines_dropped_total [1-9]"
        deadline, text = monotonic() + PATIENCE_S, b""
        while not (re.search(reloaded, text) and (workers > 1 or re.search(lost, text))):
            assert monotonic() < deadline, text
            with contextlib.suppress(ClosedError):  # it may have come to a worker that was about to leave
                text = once(str(admin), request("GET", "/metrics", host="localhost")).content
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


# -- a reload that asks for more

TLS = '[tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"\n'
STEPS = {
    "TLS": ("", "", TLS),
    "a certificate": (TLS, "", TLS + 'client_ca = "{certificates.ca}"\n'),
    "a PROXY header": ("", 'proxy_protocol = "require"\ntrusted_proxies = ["127.0.0.1"]\n', ""),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_o5_a_reload_that_asks_for_more_ends_connections_that_showed_less(
    start: Start,
    upstream: RecordingUpstream,
    certificates: Certificates,
    tmp_path: Path,
    step: tuple[str, str, str],
    workers: int,
) -> None:
    """Those that are idle at once, those with a delivery after it; one whose handshake has begun serves nothing."""
    config = tmp_path / "hookward.toml"
    base = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\nworkers = {workers}\n'

    def write(top: str, tls: str) -> None:
        config.write_text(base + top + '[route.r]\npath = "/"\nopen = true\n' + tls.format(certificates=certificates))

    before, top, after = step
    write("", before)
    hookward = start("-c", config)
    tls = certificates.client if before else None
    with (
        Client(hookward.address, tls=tls) as idle,
        Client(hookward.address, tls=tls) as busy,
        Client(hookward.address) as begun,
    ):
        assert idle.ask(SIGNED).status == 200
        busy.send(request("POST", "/", {"Expect": "100-continue"}, b"{}")[:-2])
        assert b"100 Continue" in busy.reader.until(b"\r\n\r\n")
        write(top, after)
        hookward.signal(signal.SIGHUP)
        assert hookward.said("reloaded")
        assert idle.ended() == b""
        assert busy.ask(b"{}").status == 200
        assert busy.ended() == b""
        if tls is not None:
            begun.sock = tls.wrap_socket(begun.sock, server_hostname="hooks.example.com")
            begun.reader = Reader(begun.sock)
        with contextlib.suppress(ClosedError, OSError):
            assert begun.ask(SIGNED).status == 503
    assert len(upstream.seen) == 2


# -- pipes that are idle


def test_o6_idle_pipes_leave_room_for_webhooks(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> None:
    """An open [tcp.NAME] beside a route with a list: whoever opens pipes from many addresses, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        config = tmp_path / "hookward.toml"
        config.write_text(
            f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n'
            "[limits]\nmax_connections = 20\nreserved_share = 20\n"
            '[route.r]\npath = "/"\nallow = ["127.0.0.1"]\n'
            f'[tcp.open]\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:{silent.getsockname()[1]}"\nallow = ["all"]\n'
        )
        hookward = start("-c", config, listeners=2)
        webhooks, pipes = hookward.addresses
        with contextlib.ExitStack() as stack:
            ends = []
            for number in range(40):
                # Those beyond the bound are reset, some before they have said anything.
                with contextlib.suppress(OSError):
                    client = stack.enter_context(Client(pipes, source=f"127.0.1.{number}"))
                    client.send(b"x")
                    if number < 16:
                        ends.append(stack.enter_context(silent.accept()[0]))
            assert len(ends) == 16
            listed = [stack.enter_context(Client(webhooks, source="127.0.0.1")) for _ in range(4)]
            assert [client.ask(SIGNED).status for client in listed] == [200] * 4
