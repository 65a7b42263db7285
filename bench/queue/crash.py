"""SIGKILL at random moments of a loaded hookward, again and again; at the end nothing that was told 2xx may be missing.

A sender and an application run all the time, each with a ledger of its own; a third program reads the two and judges
(``bench.queue.checker``). Killed are the whole process group, one worker, or the supervisor; while it serves, while it
starts, right after a reload, during an upgrade, and while it migrates a store of the version before. Some take the log
of the database in all the time, so that kills fall into that as well. Every process of hookward then goes through the
same recovery as any user's.

    python -m bench.queue.crash --kills 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from sqlite3 import OperationalError, connect
from time import monotonic, sleep

from bench.load.delivery import SECRET
from bench.load.process import family, free_port
from bench.queue.checker import Findings, judge
from proxy.queue.database import VERSION

START_S = 30.0
#: So long at most until all is delivered that waits at the end.
DRAIN_S = 120.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{application}"
workers = {workers}
state_dir = "{folder}/state"
access_log = "{folder}/access.log"
[limits]
hold_window = "128KiB"
max_body = "{megabytes}MiB"
max_connections_per_address = 100000
"""
ROUTE = """
[route.{name}]
path = "/{name}"
provider = "github"
secrets = ["file:{folder}/secret"]
retry = {{ first = "100ms", most = "1s" }}
concurrency = 16
{more}
"""
ROUTES = {
    "queue": 'deliver = "queue"',
    "fallback": 'deliver = "fallback"',
    "ambiguous": 'deliver = "fallback"\nambiguous = "keep"',
}


#: A hookward whose database takes its log in with nearly every transaction.
OFTEN = (
    "import proxy.queue.database as d; d.CHECKPOINT_PAGES = 20; "
    "from proxy.ops.cli import main; raise SystemExit(main())"
)
#: What makes a store of today one of the version before.
BACK = ("ALTER TABLE tries DROP COLUMN upstream", "PRAGMA user_version = 1")


class Operator:
    """Starts hookward and kills it, in ``folder``."""

    def __init__(
        self, folder: Path, port: int, application: int, workers: int, generator: random.Random, *, often: float = 0.0
    ) -> None:
        """``often`` is the part of the starts whose log is taken in ``OFTEN``."""
        self._often = often
        self.kills: Counter[str] = Counter()
        self._folder, self._port, self._application, self._workers = folder, port, application, workers
        self._generator = generator
        self._process: subprocess.Popen[bytes] | None = None
        self._generation = 0
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def write(self) -> None:
        """The configuration; each time another, and all mean the same for the load."""
        self._generation += 1
        values = {"port": self._port, "application": self._application, "folder": self._folder}
        text = CONFIG.format(**values, workers=self._workers, megabytes=2 + self._generation % 20)
        for name, more in ROUTES.items():
            text += ROUTE.format(name=name, folder=self._folder, more=more)
        draft = self._folder / "hookward.toml.new"
        draft.write_text(text)
        draft.replace(self._folder / "hookward.toml")

    def start(self, *, wait: bool = True) -> None:
        program = ["-c", OFTEN] if self._generator.random() < self._often else ["-m", "proxy"]
        command = [sys.executable, *program, "--config", str(self._folder / "hookward.toml")]
        with (self._folder / "hookward.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        if wait:
            self.await_port()

    def await_port(self) -> None:
        assert self._process is not None
        deadline = monotonic() + START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            if self._process.poll() is not None or monotonic() > deadline:
                raise SystemExit("hookward does not start:\n" + (self._folder / "hookward.log").read_text()[-3000:])
            sleep(0.005)

    def _await_answers(self) -> None:
        """Until the sender has been told something."""
        ledger = self._folder / "sender.ledger"
        before, deadline = ledger.stat().st_size if ledger.exists() else 0, monotonic() + START_S
        while (not ledger.exists() or ledger.stat().st_size == before) and monotonic() < deadline:
            sleep(0.005)

    def reload(self) -> None:
        assert self._process is not None
        self.write()
        self._process.send_signal(signal.SIGHUP)

    def upgrade(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2)

    def _set_back(self) -> bool:
        """Make the store one of the version before; False where it is one already, or there is none."""
        folder = self._folder / "state" / "queue"
        try:
            with closing(connect(f"file:{folder}/queue.sqlite3?mode=rw", uri=True)) as database:
                if database.execute("PRAGMA user_version").fetchone() != (VERSION,):
                    return False
                for statement in BACK:
                    database.execute(statement)
                database.commit()
        except OperationalError:
            return False
        (folder / "queue.sqlite3.v1").unlink(missing_ok=True)
        return True

    def kill(self, kind: str) -> None:
        """Kill what ``kind`` says. Where the supervisor lives, it mends the rest by itself."""
        assert self._process is not None
        self.kills[kind] += 1
        if kind == "worker":
            workers = family(self._process.pid)[1:]
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(self._generator.choice(workers), signal.SIGKILL)
            return
        if kind == "supervisor":
            self._process.kill()
            sleep(self._generator.random() / 20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session, which start() began
        self._process.wait()

    def round(self) -> None:
        """From a start to the end of all; up to four kills."""
        chance = self._generator.random
        if chance() < 0.15:
            self.start(wait=False)
            sleep(chance() * 0.8)
            self.kill("while starting")
            return
        if chance() < 0.1 and self._set_back():
            self.start(wait=False)
            sleep(0.2 + chance() * 0.8)
            self.kill("while migrating")
            return
        self.start()
        self._await_answers()
        if chance() < 0.15:
            self.upgrade()
            sleep(chance() * 1.5)
            self.kill("during an upgrade")
            return
        for _ in range(self._generator.choice((0, 0, 1, 3))):
            sleep(chance() * 0.6)
            self.kill("worker")
        if chance() < 0.3:
            self.reload()
            sleep(chance() * 0.3)
        sleep(chance() * 0.8)
        self.kill("supervisor" if chance() < 0.2 else "all")

    def stop(self) -> None:
        """The end: of the process that was started, by a SIGTERM, and of one that an upgrade has left."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    def kept(self) -> int:
        """Deliveries that the store holds still."""
        path = self._folder / "state" / "queue" / "queue.sqlite3"
        with closing(connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM deliveries").fetchone()[0])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of ours beside hookward; ended at the end."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def crash(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> tuple[Findings, dict[str, object]]:
    """Kill as often as asked; what was found."""
    generator = random.Random(options.seed)
    port, application_port = free_port(), free_port()
    told, got = folder / "sender.ledger", folder / "application.ledger"
    operator = Operator(folder, port, application_port, options.workers, generator, often=0.3)
    operator.write()
    began = monotonic()
    application = ["bench.queue.application", "--port", str(application_port), "--ledger", str(got), "--faults", "0.03"]
    sender = ["bench.queue.sender", "--port", str(port), "--ledger", str(told), "--rate", str(options.rate)]
    try:
        with running(*application) as server:
            with running(*sender, "--seed", str(options.seed)):
                while (done := operator.kills.total()) < options.kills and monotonic() - began < options.seconds:
                    operator.round()
                    if operator.kills.total() // 100 > done // 100:
                        say(f"{operator.kills.total()} kills in {monotonic() - began:.0f} s")
                operator.start()
            server.send_signal(signal.SIGUSR1)
            deadline = monotonic() + DRAIN_S
            while (judge(told, got).missing or operator.kept()) and monotonic() < deadline:
                sleep(0.25)
            operator.stop()
            found = judge(told, got)
    finally:
        operator.stop()
    log = (folder / "hookward.log").read_text()
    say(first_traceback(log))
    run: dict[str, object] = {
        "kills": operator.kills.total(),
        "of": dict(operator.kills),
        "seconds": round(monotonic() - began, 1),
        "kept_at_the_end": operator.kept(),
        "tracebacks": log.count("Traceback"),
        "seed": options.seed,
    }
    return found, run


def first_traceback(log: str) -> str:
    """The first one, with what led to it; "" where there is none."""
    at = log.find("Traceback")
    return log[max(0, at - 300) : at + 3000] if at >= 0 else ""


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Kill, tell; the exit code."""
    with tempfile.TemporaryDirectory(prefix="hookward-crash-") as name:
        found, about = crash(options, Path(name), say)
        log = (Path(name) / "hookward.log").read_text()
    return tell(found, about, log[-5000:], say)


def tell(found: Findings, about: Mapping[str, object], evidence: str, say: Callable[[str], None]) -> int:
    """Say what was found, with the evidence where it is not as promised; the exit code."""
    say(json.dumps({**about, **asdict(found)}, indent=1))
    wrong = [*found.wrong, *(name for name in ("kept_at_the_end", "tracebacks") if about[name])]
    for each in wrong:
        say(f"not as promised: {each}")
    if wrong:
        say(evidence)
    return 1 if wrong or not found.told_2xx else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.crash", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="kill no longer than this")
    parser.add_argument("--rate", type=float, default=150.0, help="deliveries per second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
