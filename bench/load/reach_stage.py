"""A relay on one host, an agent and its application on another, an impaired link between them, and a sender.

The relay and the agent are programs of their own, in a network namespace each; sender and application are loops of this
process in those namespaces. Both keep ledgers, by which ``bench.queue.checker`` judges what became of each delivery.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from socket import inet_aton
from time import monotonic, sleep
from typing import Self, TextIO

import trustme

from bench.load.closed import unverified
from bench.load.delivery import SECRET
from bench.queue.application import Application
from bench.queue.checker import Findings, judge
from bench.queue.sender import Sender
from tests.whole.impaired import FAR, NEAR, ImpairedLink

ROOT = Path(__file__).resolve().parents[2]
RELAY = "relay.test"
PORT, ADMIN, UPSTREAM = 8443, 9900, 8000
PATIENCE_S = 60.0
#: What is kept has so long to arrive once all is well.
EMPTY_S = 60.0
#: Of a round that was not good, so many lines of each log are shown.
TOLD_LINES = 20
CONFIG = """
listen = ["0.0.0.0:{port}"]
admin = "127.0.0.1:{admin}"
state_dir = "{folder}/state"
access_log = "off"
[tls]
cert = "{folder}/relay.pem"
key = "{folder}/relay.pem"
[agent.ci]
key = "file:{folder}/ci.key"
routes = ["direct", "queue"]
[route.direct]
path = "/direct"
provider = "github"
secrets = ["file:{folder}/secret"]
upstream = "agent:ci"
[route.queue]
path = "/queue"
provider = "github"
secrets = ["file:{folder}/secret"]
upstream = "agent:ci"
deliver = "queue"
retry = {{ first = "100ms", most = "2s" }}
"""


class Program:
    """One hookward in a namespace, and when it said what."""

    def __init__(self, namespace: str, *words: str) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "proxy", *words]
        # A session of its own: the kernel shares processors by sessions (sched(7), autogroup), and what is measured is
        # the network's work, not that of a processor which the whole bench has to share.
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
        self.said: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append((monotonic(), line))

    def when(self, pattern: str, since: float) -> float | None:
        """When it first said so after ``since``."""
        return next((at for at, line in list(self.said) if at >= since and re.search(pattern, line)), None)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()


class Names(asyncio.DatagramProtocol):
    """The DNS of the agent's host: one address for every name, to be asked for again each time (RFC 1035)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # of its kind
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        question, is_v4 = data[12:end], data[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + inet_aton(self.address) if is_v4 else b""
        assert self._transport is not None
        head = data[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_v4 else b"\0\0") + bytes(4)
        self._transport.sendto(head + question + answer, addr)


class Stage:
    """Both hosts. ``rate`` is how many deliveries come in a second, to the route that keeps and to the other."""

    def __init__(self, folder: Path, word: str = "", *, rate: float = 2.0, seed: int = 1) -> None:
        self.folder = folder
        self.link = ImpairedLink(word, seed=seed)
        self.near_address, self.far_address = f"{NEAR}/16", f"{FAR}/24"
        self.names = Names(NEAR)
        self._etc = Path("/etc/netns", self.link.far_name)
        self._rate = rate
        self._seed = seed
        self._probes = 0

    def __enter__(self) -> Self:
        self.link.__enter__()
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        folder = self.folder
        self._etc.mkdir(parents=True)
        (self._etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1\n")
        trustme.CA().issue_cert(RELAY).private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        (folder / "secret").write_bytes(SECRET)
        (folder / "state").mkdir(mode=0o700)
        for name in ("relay.pem", "secret"):
            (folder / name).chmod(0o600)
        self.config = folder / "relay.toml"
        self.config.write_text(CONFIG.format(folder=folder, port=PORT, admin=ADMIN))
        self.link.far.run(self._serve())
        self.sender = self.link.near.call(
            lambda: Sender(PORT, folder / "sent", ["/direct", "/queue"], self._seed, unverified())
        )
        self.relay = self.start_relay()
        enrol = [sys.executable, "-m", "proxy", "enrol", "ci", "--config", str(self.config)]
        done = subprocess.run(
            [*enrol, "--relay", f"{RELAY}:{PORT}"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        self.agent = self.start_agent("--join", done.stdout.splitlines()[-1])
        until(self.works)
        self._sending = asyncio.run_coroutine_threadsafe(self.sender.run(self._rate, -1), self.link.near.loop)

    async def _serve(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self.names, ("127.0.0.1", 53))
        application = Application(self.folder / "arrived", 0.0)
        await asyncio.start_server(application.serve, "127.0.0.1", UPSTREAM, limit=1 << 22)

    def start_relay(self) -> Program:
        one = Program(self.link.near_name, "--config", str(self.config))
        until(lambda: one.when("listening on", 0.0))
        return one

    def start_agent(self, *words: str) -> Program:
        state = ("--state-dir", str(self.folder / "agent"), "--access-log", "off")
        one = Program(self.link.far_name, "agent", *words, *state, "--upstream", f"127.0.0.1:{UPSTREAM}")
        until(lambda: one.when("^agent: ", 0.0))
        return one

    # -- what is asked of it

    def deliver(self, patience_s: float = 15.0) -> int:
        """The status of one delivery; 0 where there was no answer."""
        self._probes += 1
        name = f"p-{self._probes}"
        return self.link.near.run(self.sender.deliver(name, "/direct", b'{"name":"%b"}' % name.encode(), patience_s))

    def works(self) -> bool:
        return self.deliver(3.0) == 200

    def ready(self) -> bool:
        """Whether the relay says that it can serve."""
        return self.link.near.run(_ready())

    def missing(self) -> Findings:
        """What the ledgers say once what was kept has had its time. The sender is to have ended."""
        deadline = monotonic() + EMPTY_S
        while (found := judge(self.folder / "sent", self.folder / "arrived")).missing and monotonic() < deadline:
            sleep(0.2)
        return found

    def finish(self) -> Findings:
        """End the sender, and say what became of all that it sent."""
        self.link.near.call(self.sender.stop)
        self._sending.result()
        return self.missing()

    def tell(self, file: TextIO) -> None:
        """What both have said lately."""
        for name, program in (("relay", self.relay), ("agent", self.agent)):
            for at, line in program.said[-TOLD_LINES:]:
                print(f"  {monotonic() - at:6.1f} s ago {name}: {line.rstrip()}", file=file, flush=True)

    def __exit__(self, *_: object) -> None:
        for program in (getattr(self, "agent", None), getattr(self, "relay", None)):
            if program is not None:
                program.end()
        self.link.__exit__()
        shutil.rmtree(self._etc, ignore_errors=True)


async def _ready() -> bool:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", ADMIN)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def until(condition: object, patience_s: float = PATIENCE_S) -> float:
    """Seconds until it holds; of one that never does, ``patience_s``."""
    assert callable(condition)
    begun = monotonic()
    while not condition() and monotonic() - begun < patience_s:
        sleep(0.05)
    return monotonic() - begun
