"""A host with a hookward on it, an administrator who does what docs/operations.md says, and a provider who delivers.

``/etc/hookward`` and ``/var/log/hookward`` are folders of the test, ports are free ones. ``systemctl`` is a stand-in
that does to the process what systemd does by the printed units; those run under a real one in ``make systemd-test``.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from bench.load.process import free_port
from tests.pages import ROOT, block, blocks
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, github, once, request

PAGE = "operations.md"
NAME = "hooks.example.com"
BODY = b'{"zen":"Approachable is better than simple."}'
SYSTEMCTL = """#!/bin/sh
set -eu
[ "$1" != --quiet ] || shift
case $1 in
    is-active) exec kill -0 "$MAINPID" ;;
    reload) exec hookward reload "$MAINPID" ;;
    stop) exec kill -TERM "$MAINPID" ;;
    kill) for word; do [ "${word#--signal=}" = "$word" ] || exec kill "-${word#--signal=}" "$MAINPID"; done ;;
esac
exit 1
"""


class Host:
    """A host with a hookward on it, and the shell of its administrator."""

    def __init__(self, folder: Path, upstream: RecordingUpstream, start: Callable[..., Hookward]) -> None:
        self.etc, self.log, self._bin = folder / "etc", folder / "log", folder / "bin"
        for place in (self.etc, self.log, self._bin):
            place.mkdir()
        self.page, self.cwd = PAGE, ROOT
        self.config, self.access_log = self.etc / "hookward.toml", self.log / "access.log"
        self.command("systemctl", SYSTEMCTL)
        self.command("hookward", f'#!/bin/sh\nexec {sys.executable} -m proxy "$@"\n')
        self.port, self.admin_port = free_port(), free_port()
        self._start = start
        self._env = {"HOOKWARD_RELOAD_SOCKET": str(folder / "reload")}
        self._here = {
            "/etc/hookward": str(self.etc),
            "/var/log/hookward": str(self.log),
            "/usr/local/sbin/hookward-deploy": str(self._bin / "hookward-deploy"),
            "/etc/prometheus/alerts.yml": str(ROOT / "docs" / "monitoring" / "alerts.yml"),
            "http://127.0.0.1:8000": upstream.url,
            "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            "127.0.0.1:4040": f"127.0.0.1:{self.admin_port}",
            "-g hookward ": "",  # the group of the package
        }

    def command(self, name: str, script: str) -> Path:
        """Put a command into the administrator's PATH."""
        path = self._bin / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def here(self, text: str) -> str:
        # In one pass: a free port may begin with the digits of the next one that is looked for.
        return re.sub("|".join(map(re.escape, self._here)), lambda shown: self._here[shown[0]], text)

    def text(self, language: str, mark: str) -> str:
        [one] = blocks(language, mark, [ROOT / "docs" / page for page in {PAGE, self.page}])
        return self.here(one.text)

    def set_up(self) -> None:
        """What the first procedure leaves, without waiting for its commands."""
        text = self.here(block(PAGE, "sh", "first"))
        self.config.write_text(text.partition("<< 'END'\n")[2].partition("END\n")[0])
        (self.etc / "github.secret").write_bytes(b"a secret of the first route")

    def boot(self) -> Hookward:
        self.hookward = self._start(
            "--config", self.config, env=self._env, listeners=2 if "admin" in self.config.read_text() else 1
        )
        self._env["MAINPID"] = str(self.hookward.pid)
        return self.hookward

    def run(self, mark: str, *, code: int = 0, **env: str) -> str:
        """What a block of the page prints."""
        return self.shell(self.text("sh", mark), code=code, **env)

    def shell(self, script: str, *, code: int = 0, **env: str) -> str:
        path = f"{self._bin}:{os.environ['PATH']}:/usr/sbin:/sbin"
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=self.cwd,
            env=environment({"PATH": path, **self._env, **env}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


class Provider(threading.Thread):
    """Delivers some hundred times a second at most, in turns over a new connection and a kept one; counts answers."""

    def __init__(self, port: int, secret: bytes, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.secret = secret
        self.told: Counter[object] = Counter()
        self._address, self._tls = ("127.0.0.1", port), tls
        self._stopped = threading.Event()
        self._changed = threading.Condition()

    def run(self) -> None:
        kept: Client | None = None
        while not self._stopped.is_set():
            with self._changed:
                asked = request("POST", "/hooks/github", github(self.secret, BODY), BODY, host=NAME)
            try:
                once(self._address, asked, tls=self._tls)
                kept = kept or Client(self._address, tls=self._tls)
                answer = kept.ask(asked)
                told: object = answer.status
                if answer.get(b"Connection") == b"close":
                    kept.sock.close()
                    kept = None
            except OSError as error:
                told, kept = repr(error), None
            with self._changed:
                self.told[told] += 1
                self._changed.notify_all()
            self._stopped.wait(0.005)
        if kept is not None:
            kept.sock.close()

    def go_on(self, times: int = 5) -> None:
        """Wait until it has delivered so often again."""
        deadline = monotonic() + PATIENCE_S
        with self._changed:
            wanted = self.told.total() + times
            while self.told.total() < wanted:
                assert self._changed.wait(deadline - monotonic()), self.told

    def change(self, secret: bytes) -> None:
        with self._changed:
            self.secret = secret

    def finish(self) -> None:
        self._stopped.set()
        self.join(PATIENCE_S)


@contextmanager
def load(host: Host, secret: Path, tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """Deliveries for as long as the block lasts; not one of them may be refused or lost."""
    provider = Provider(host.port, secret.read_bytes(), tls)
    provider.start()
    try:
        provider.go_on()
        yield provider
        provider.go_on()
    finally:
        provider.finish()
    assert set(provider.told) == {200}, provider.told


def waited(condition: Callable[[], object]) -> object:
    """The first true result of ``condition()``."""
    deadline = monotonic() + PATIENCE_S
    while not (result := condition()):
        assert monotonic() < deadline
        os.sched_yield()
    return result
