"""Two relays behind a real HAProxy, two agents, and each of the four restarted under load: no delivery may fail.

HAProxy runs the recipe of the documents (docs/fleet/relays.cfg). Deliveries come through it at a steady rate while the
relays are restarted one after the other, and then the agents. Ledgers of the sender and of the application say what
became of each.

    python -m bench.load.reach_restart --rate 200
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import trustme
import uvloop

from bench.load.closed import unverified
from bench.load.delivery import SECRET
from bench.load.process import Server, free_port
from bench.load.soak import until
from bench.queue.application import Application
from bench.queue.checker import Findings, judge
from bench.queue.sender import Sender

ROOT = Path(__file__).resolve().parents[2]
HOOKWARD = (sys.executable, "-m", "proxy")
RELAYS, AGENTS = ("relay1", "relay2"), ("agent1", "agent2")
#: Between two restarts, so that each has its own share of the load.
PAUSE_S = 2.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
state_dir = "{folder}/{name}"
access_log = "{folder}/{name}.access"
proxy_protocol = "require"
trusted_proxies = ["127.0.0.1"]
[tls]
cert = "{folder}/relay.pem"
key = "{folder}/relay.pem"
[agent.ci]
key = "file:{folder}/ci.key"
routes = ["hooks"]
[route.hooks]
path = "/hooks"
provider = "github"
secrets = ["file:{folder}/secret"]
upstream = "agent:ci"
hold = "9s"
"""


class Pair:
    """Both relays and both agents, HAProxy before them and an application behind."""

    def __init__(self, folder: Path) -> None:
        self.front, self.app = free_port(), free_port()
        self._stats = folder / "haproxy.sock"
        self._folder = folder
        self._ports = {name: (free_port(), free_port()) for name in RELAYS}
        self._doors = {"8441": free_port(), "8442": free_port()}  # of the recipe, for agents
        self._admins = {name: free_port() for name in AGENTS}
        self._running: dict[str, Server] = {}
        self._starts = itertools.count()
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        (folder / "secret").write_bytes(SECRET)
        for name in ("secret", "relay.pem"):
            (folder / name).chmod(0o600)

    def start(self, name: str) -> None:
        """Start a relay or an agent, and wait until it listens."""
        if name in RELAYS:
            command, port = ["--config", str(self._folder / f"{name}.toml")], self._ports[name][0]
        else:
            port = self._admins[name]
            state = ["--state-dir", str(self._folder / "agent"), "--access-log", str(self._folder / f"{name}.access")]
            relays = [word for door in self._doors.values() for word in ("--relay", f"127.0.0.1:{door}")]
            command = ["agent", *relays, *state, "--upstream", f"127.0.0.1:{self.app}", "--admin", f"127.0.0.1:{port}"]
        log = self._folder / f"{name}.{next(self._starts)}.log"
        self._running[name] = Server(name, [*HOOKWARD, *command], port, None, log, ROOT)

    @contextmanager
    def up(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self._end)
            for name, (port, admin) in self._ports.items():
                (self._folder / name).mkdir(mode=0o700)
                config = CONFIG.format(folder=self._folder, name=name, port=port, admin=admin)
                (self._folder / f"{name}.toml").write_text(config)
                self.start(name)
            haproxy = ["haproxy", "-db", "-f", str(self._haproxy())]
            stack.enter_context(Server("haproxy", haproxy, self.front, None, self._folder / "haproxy.log"))
            self._join()
            for name in AGENTS:
                self.start(name)
            yield

    def _end(self) -> None:
        for server in self._running.values():
            server.__exit__()

    def _join(self) -> None:
        """Once, for both relays: they share the key."""
        address = f"127.0.0.1:{self._doors['8441']}"
        enrol = ["enrol", "ci", "--config", str(self._folder / f"{RELAYS[0]}.toml"), "--relay", address]
        done = subprocess.run([*HOOKWARD, *enrol], capture_output=True, text=True, check=True, cwd=ROOT)
        code = done.stdout.splitlines()[-1]
        join = ["agent", "--join", code, "--state-dir", str(self._folder / "agent"), "--upstream", "127.0.0.1:1"]
        with (self._folder / "join.log").open("w") as log:
            process = subprocess.Popen([*HOOKWARD, *join], stderr=log, cwd=ROOT)
        uvloop.run(until(lambda: "is reached as" in (self._folder / "join.log").read_text(), "the agent to join"))
        process.terminate()
        process.wait()

    def _haproxy(self) -> Path:
        """The recipe of the documents, with places of this machine."""
        text = (ROOT / "docs" / "fleet" / "relays.cfg").read_text()
        for name, (port, admin) in self._ports.items():
            text = re.sub(
                rf"server {name} \S+$", f"server {name} 127.0.0.1:{port} port {admin}", text, flags=re.MULTILINE
            )
            text = re.sub(rf"server {name} 10\S+ send", f"server {name} 127.0.0.1:{port} send", text)
        text = text.replace("log /dev/log local0", f"log stderr format raw local0\n    stats socket {self._stats}")
        path = self._folder / "haproxy.cfg"
        for door, port in {"443": self.front, **self._doors}.items():
            text = text.replace(f"bind :{door}\n", f"bind 127.0.0.1:{port}\n")
        path.write_text(text)
        return path

    async def takes(self, relay: str) -> bool:
        """Whether HAProxy gives connections to that relay."""
        reader, writer = await asyncio.open_unix_connection(str(self._stats))
        try:
            writer.write(b"show stat\n")
            rows = (await reader.read()).decode().splitlines()
        finally:
            writer.close()
        return any(row.startswith(f"relays,{relay},") and ",UP," in row for row in rows)

    async def restart(self, name: str) -> None:
        """As an administrator does it: SIGTERM, start, and on only when it serves."""
        server, loop = self._running.pop(name), asyncio.get_running_loop()
        os.kill(server.pid, signal.SIGTERM)
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        await until(lambda: os.waitid(os.P_PID, server.pid, ended), f"{name} to end", 60.0)
        server.__exit__()
        await loop.run_in_executor(None, self.start, name)
        if name in RELAYS:
            await self._until_it_takes(name)
        await until(lambda: self.reached(name), f"{name} to be reached")

    async def _until_it_takes(self, relay: str) -> None:
        async with asyncio.timeout(60):
            while True:
                if await self.takes(relay):
                    return
                await asyncio.sleep(0.1)

    def reached(self, name: str) -> bool:
        """Whether the last start of it has every connection that it needs."""
        text = max(self._folder.glob(f"{name}.*.log"), key=lambda path: int(path.suffixes[-2][1:])).read_text()
        return text.count("has connected" if name in RELAYS else "is reached as") >= 2

    def words(self) -> str:
        """What they said, and what of their deliveries was not well."""
        said = [
            f"{path.name}: {line}"
            for path in sorted(self._folder.glob("*.log"))
            for line in path.read_text().splitlines(keepends=True)
        ]
        logged = [
            f"{path.name}: {line}"
            for path in sorted(self._folder.glob("*.access"))
            for line in path.read_text().splitlines(keepends=True)
        ]
        return "".join([line for line in said if "haproxy" not in line] + [x for x in logged if '"delivered"' not in x])


async def play(pair: Pair, folder: Path, rate: float, say: Callable[[str], None]) -> Findings:
    """The load, and one restart after the other."""
    application = Application(folder / "arrived", 0.0)
    server = await asyncio.start_server(application.serve, "127.0.0.1", pair.app, backlog=1024, limit=1 << 22)
    sender = Sender(pair.front, folder / "sent", ["/hooks"], 1, unverified())
    async with server, asyncio.TaskGroup() as group:
        await until(lambda: all(map(pair.reached, (*RELAYS, *AGENTS))), "all to be reached")
        group.create_task(sender.run(rate, -1))
        for name in (*RELAYS, *AGENTS):
            await asyncio.sleep(PAUSE_S)
            await pair.restart(name)
            say(f"{name} was restarted")
        await asyncio.sleep(PAUSE_S)
        sender.stop()
    return judge(folder / "sent", folder / "arrived")


def missing() -> str:
    """What it needs and is not there."""
    return "" if shutil.which("haproxy") else "haproxy is not installed"


def run(rate: float, say: Callable[[str], None] = print) -> int:
    """Start everything, restart each, tell; the exit code."""
    if missing():
        say(f"not run: {missing()}")
        return 1
    with tempfile.TemporaryDirectory(prefix="reach-restart-") as name:
        folder = Path(name)
        pair = Pair(folder)
        with pair.up():
            found = uvloop.run(play(pair, folder, rate, say))
        words = pair.words()
    say(json.dumps({key: value for key, value in asdict(found).items() if value}, indent=1))
    good = not found.told_else and not found.wrong and found.told_2xx > 0 and "Traceback" not in words
    if not good:
        say(words)
    return 0 if good else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load.reach_restart", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rate", type=float, default=200.0, help="deliveries per second")
    return run(parser.parse_args(argv).rate)


if __name__ == "__main__":
    sys.exit(main())
