"""SIGKILL at random moments of three hookwards behind a real HAProxy, and of the one real Redis that they keep in.

As in ``bench.queue.crash`` a sender and an application each have a ledger, and a third program judges: nothing that was
told 2xx may be missing. Redis has ``appendonly yes`` and ``appendfsync always``, as the documents ask for. It is killed
while it serves, while it starts and while it rewrites its log; behind some of these kills lies a record that was being
written when it died: the log ends in the midst of a command, and Redis reads it with ``aof-load-truncated yes``.

    python -m bench.queue.hosts --kills 100
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

from bench.load.delivery import SECRET
from bench.load.process import family, free_port
from bench.queue.checker import Findings, judge
from bench.queue.crash import first_traceback, running, tell

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("hook1", "hook2", "hook3")
START_S = 60.0
#: So long at most until all is delivered that waits at the end; a lease of a dead hookward ends in that time.
DRAIN_S = 180.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
upstream = "http://127.0.0.1:{application}"
proxy_protocol = "require"
trusted_proxies = ["127.0.0.1"]
access_log = "off"
state_dir = "{folder}/{name}"
[queue]
store = "redis"
url = "redis://127.0.0.1:{redis}/0"
[limits]
max_connections_per_address = 100000
"""
ROUTE = """
[route.{name}]
path = "/{name}"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "{name}"
retry = {{ first = "100ms", most = "1s" }}
concurrency = 16
"""
PATHS = ("queue", "fallback")
#: What a Redis that dies while it writes leaves: a transaction without its end, and a command without its last bytes.
TORN = (
    b"*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nINCRBY\r\n$21\r\n{hookward}:queue:used\r\n$4\r\n9000\r\n",
    b"*3\r\n$3\r\nSET\r\n$24\r\n{hookward}:queue:number",
    b"*",
)


class Hosts:
    """All that runs, on the ports of this machine, in ``folder``."""

    def __init__(self, folder: Path, application: int, generator: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self.front, self._redis_port = free_port(), free_port()
        self._ports = {name: (free_port(), free_port()) for name in NAMES}
        self._folder, self._application, self._generator = folder, application, generator
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)

    # -- starts

    def start(self) -> None:
        self.start_redis()
        for name in NAMES:
            self.start_hookward(name)
        self._begin("haproxy", ["haproxy", "-db", "-f", str(self._haproxy())], self.front)

    def start_redis(self, *, wait: bool = True) -> None:
        options = {"appendonly": "yes", "appendfsync": "always", "aof-load-truncated": "yes", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port), *words]
        self._begin("redis", [*command, "--dir", str(self._folder)], self._redis_port if wait else None)

    def start_hookward(self, name: str, *, wait: bool = True) -> None:
        port, admin = self._ports[name]
        values = {"port": port, "admin": admin, "application": self._application, "redis": self._redis_port}
        text = CONFIG.format(**values, folder=self._folder, name=name)
        path = self._folder / f"{name}.toml"
        path.write_text(text + "".join(ROUTE.format(name=one, folder=self._folder) for one in PATHS))
        self._begin(name, [sys.executable, "-m", "proxy", "--config", str(path)], port if wait else None)

    def _begin(self, name: str, command: Sequence[str], port: int | None) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )
        self._running[name] = process
        deadline = monotonic() + START_S
        while port is not None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if process.poll() is not None or monotonic() > deadline:
                raise SystemExit(f"{name} does not start:\n{self.log_of(name)[-3000:]}")
            sleep(0.01)

    def _haproxy(self) -> Path:
        """The recipe of the documents, with places of this machine."""
        text = (ROOT / "docs" / "fleet" / "haproxy.cfg").read_text()
        for name, (port, admin) in self._ports.items():
            text, count = re.subn(rf"server {name} \S+", f"server {name} 127.0.0.1:{port} port {admin}", text)
            if count != 1:
                raise SystemExit(f"docs/fleet/haproxy.cfg has no server {name}")
        path = self._folder / "haproxy.cfg"
        text = text.replace("log /dev/log local0", "log stderr format raw local0")
        path.write_text(text.replace("bind :443", f"bind 127.0.0.1:{self.front}"))
        return path

    # -- kills

    def round(self) -> None:
        """One kill, or two, and what was killed is started again."""
        chance = self._generator.random
        sleep(chance() * 1.5)
        if chance() < 0.4:
            self._kill_redis()
        else:
            name = self._generator.choice(NAMES)
            self._kill(name, "hookward")
            if chance() < 0.3:
                self._kill_redis()
            if chance() < 0.2:
                self.start_hookward(name, wait=False)
                sleep(chance())
                self._kill(name, "hookward while starting")
            sleep(chance())
            self.start_hookward(name)

    def _kill_redis(self) -> None:
        chance, kind = self._generator.random, "redis"
        if chance() < 0.3:
            self._ask(b"BGREWRITEAOF\r\n")
            sleep(chance() / 20)
            kind = "redis while it rewrites"
        self._kill("redis", kind)
        if chance() < 0.5:
            self._tear()
        if chance() < 0.2:
            self.start_redis(wait=False)
            sleep(chance() / 5)
            self._kill("redis", "redis while starting")
        sleep(chance())
        self.start_redis()

    def _tear(self) -> None:
        """Have the log end in a command that was being written."""
        # The last by its number: while the log is rewritten there are two, and only the last is written to.
        logs = {int(path.name.split(".")[2]): path for path in (self._folder / "appendonlydir").glob("*.incr.aof")}
        if logs:
            self.kills["of them with a torn log"] += 1
            with logs[max(logs)].open("ab") as log:
                log.write(self._generator.choice(TORN))

    def _kill(self, name: str, kind: str) -> None:
        self.kills[kind] += 1
        process = self._running[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session
        process.wait()

    # -- what there is

    def _ask(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self._redis_port), START_S) as sock:
                sock.sendall(command)
                return sock.recv(4096)
        except OSError:
            return b""

    def kept(self) -> int:
        """Deliveries that the store holds still."""
        answer = self._ask(b"ZCARD {hookward}:queue:all\r\n")
        return int(answer[1:]) if answer.startswith(b":") else -1

    def log_of(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for name in reversed(list(self._running)):
            process = self._running[name]
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            for left in family(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    if os.getsid(left) == process.pid:
                        os.kill(left, signal.SIGKILL)


def play(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> tuple[Findings, dict[str, object]]:
    """Kill as often as asked; what was found."""
    generator = random.Random(options.seed)
    application = free_port()
    told, got = folder / "sender.ledger", folder / "application.ledger"
    hosts, began = Hosts(folder, application, generator), monotonic()
    server = ["bench.queue.application", "--port", str(application), "--ledger", str(got), "--faults", "0.03"]
    sender = ["bench.queue.sender", "--port", str(hosts.front), "--ledger", str(told), "--rate", str(options.rate)]
    sender += ["--paths", *(f"/{name}" for name in PATHS)]
    try:
        with running(*server) as served:
            hosts.start()
            with running(*sender, "--seed", str(options.seed)):
                while killed(hosts) < options.kills and monotonic() - began < options.seconds:
                    hosts.round()
            served.send_signal(signal.SIGUSR1)
            deadline = monotonic() + DRAIN_S
            while (judge(told, got).missing or hosts.kept()) and monotonic() < deadline:
                sleep(0.25)
            found, kept = judge(told, got), hosts.kept()
    finally:
        hosts.stop()
    for name in NAMES:
        say(first_traceback(hosts.log_of(name)))
    tracebacks = sum(hosts.log_of(name).count("Traceback") for name in NAMES)
    about = {"kills": killed(hosts), "of": dict(hosts.kills), "kept_at_the_end": kept, "tracebacks": tracebacks}
    say(f"{killed(hosts)} kills in {monotonic() - began:.0f} s")
    return found, {**about, "seconds": round(monotonic() - began, 1), "seed": options.seed}


def killed(hosts: Hosts) -> int:
    return sum(count for kind, count in hosts.kills.items() if not kind.startswith("of them"))


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Kill, tell; the exit code."""
    with tempfile.TemporaryDirectory(prefix="hookward-hosts-") as name:
        found, about = play(options, Path(name), say)
        logs = {one: (Path(name) / f"{one}.log").read_text(errors="replace")[-2000:] for one in (*NAMES, "redis")}
    return tell(found, about, "\n".join(f"-- {name}\n{text}" for name, text in logs.items()), say)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.hosts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="kill no longer than this")
    parser.add_argument("--rate", type=float, default=60.0, help="deliveries per second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
