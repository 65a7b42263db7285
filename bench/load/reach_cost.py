"""What a relay and its agent cost beside the direct way and beside ``ssh -R``: latency, CPU, large bodies.

All of it on this host: the application, hookward with TLS before it, and what stands between the two. ``ssh -R`` is
left out where openssh-server is missing. At last a second agent is stopped in the middle of large deliveries, in every
other round, and what that does to the first one's p99.

    python -m bench.load.reach_cost --seconds 4
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from time import monotonic, sleep

import trustme

from bench.load import delivery
from bench.load.closed import closed_loop, unverified
from bench.load.process import FailedError, Server, free_port
from bench.load.stage import post

ROOT = Path(__file__).resolve().parents[2]
LARGE_BYTES = 25 << 20
#: Deliveries side by side where the rate counts.
CROWD = 16
READY_S = 15.0
#: Deliveries side by side while another agent is stopped, and what waits for that one.
CROWD_BESIDE = 4
STALLED, STALLED_BYTES = 16, 64 << 10
#: What one that has nothing to do uses in half a second: a tick of its clock, a probe.
STILL_CPU_S = 0.01
OTHER_PATH = "/hooks/other"
OTHER = """[agent.other]
key = "file:{folder}/other.key"
routes = ["other"]
[route.other]
path = "{path}"
provider = "github"
secrets = ["file:{folder}/secret"]
upstream = "agent:other"
"""
SSHD = which("sshd") or "/usr/sbin/sshd"
HOOKWARD = (sys.executable, "-m", "proxy")


class Costs:
    """The files of one run, and the port of its application."""

    def __init__(self, folder: Path, origin: int) -> None:
        self.folder = folder
        self.origin = origin
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        (folder / "secret").write_bytes(delivery.SECRET)
        (folder / "state").mkdir(mode=0o700)
        for name in ("relay.pem", "secret"):
            (folder / name).chmod(0o600)

    def hookward(self, name: str, upstream: str) -> Server:
        """One that guards the way to ``upstream``."""
        port, agent = free_port(), ""
        if upstream.startswith("agent:"):
            agent = f'[agent.ci]\nkey = "file:{self.folder}/ci.key"\nroutes = ["github"]\n' + OTHER.format(
                folder=self.folder, path=OTHER_PATH
            )
        config = self.folder / f"{name}.toml"
        config.write_text(
            f'listen = ["127.0.0.1:{port}"]\nstate_dir = "{self.folder}/state"\naccess_log = "off"\n'
            f'[tls]\ncert = "{self.folder}/relay.pem"\nkey = "{self.folder}/relay.pem"\n{agent}'
            f'[route.github]\npath = "{delivery.PATH}"\nprovider = "github"\n'
            f'secrets = ["file:{self.folder}/secret"]\nupstream = "{upstream}"\n'
        )
        return self.server(name, [*HOOKWARD, "--config", str(config)], port)

    def server(self, name: str, command: list[str], port: int) -> Server:
        return Server(name, command, port, None, self.folder / f"{name}.log", ROOT)

    @contextlib.contextmanager
    def direct(self) -> Iterator[list[Server]]:
        with self.hookward("direct", f"http://127.0.0.1:{self.origin}") as one:
            yield [one]

    @contextlib.contextmanager
    def agent(self) -> Iterator[list[Server]]:
        with self.hookward("relay", "agent:ci") as relay, self.joined(relay, "ci") as agent:
            yield [relay, agent]

    @contextlib.contextmanager
    def joined(self, relay: Server, name: str) -> Iterator[Server]:
        """An agent of that name."""
        address = f"127.0.0.1:{relay.port}"
        enrol = [*HOOKWARD, "enrol", name, "--config", str(self.folder / "relay.toml"), "--relay", address]
        code = subprocess.run(enrol, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()[-1]
        admin = free_port()
        command = [*HOOKWARD, "agent", "--join", code, "--state-dir", str(self.folder / f"agent-{name}")]
        command += ["--upstream", f"127.0.0.1:{self.origin}", "--access-log", "off", "--admin", f"127.0.0.1:{admin}"]
        with self.server(f"agent-{name}", command, admin) as agent:
            yield agent

    def isolation(self, rounds: int, seconds: float) -> dict[str, float]:
        """p99 of one agent's deliveries, in turns with another agent idle and with it stopped under load."""
        free: list[float] = []
        beside: list[float] = []
        with (
            self.hookward("relay", "agent:ci") as relay,
            self.joined(relay, "ci"),
            self.joined(relay, "other") as other,
        ):
            self.await_way(relay.port)
            self.await_way(relay.port, OTHER_PATH)
            closed_loop(relay.port, CROWD_BESIDE, seconds, self.folder, tls=True)
            for _ in range(rounds):
                free.append(closed_loop(relay.port, CROWD_BESIDE, seconds, self.folder, tls=True)["p99_us"])
                with self.stalled(relay, other):
                    beside.append(closed_loop(relay.port, CROWD_BESIDE, seconds, self.folder, tls=True)["p99_us"])
        ratios = [one / two for one, two in zip(beside, free, strict=True)]
        return {
            "p99_us": statistics.median(free),
            "p99_us_beside": statistics.median(beside),
            "ratio": statistics.median(ratios),
        }

    @contextlib.contextmanager
    def stalled(self, relay: Server, other: Server) -> Iterator[None]:
        """Deliveries that wait for an agent that stands still. No thread does: it would cost the load its turns."""
        data, context = delivery.request(delivery.body(STALLED_BYTES), path=OTHER_PATH), unverified()
        os.kill(other.pid, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            stack.callback(os.kill, other.pid, signal.SIGCONT)
            for _ in range(STALLED):
                sock = stack.enter_context(
                    context.wrap_socket(socket.create_connection(("127.0.0.1", relay.port), READY_S))
                )
                sock.sendall(data)
            still(relay)  # what can be taken of them has been
            yield
        self.await_way(relay.port, OTHER_PATH)

    @contextlib.contextmanager
    def ssh(self) -> Iterator[list[Server]]:
        """An sshd and a client of this run alone, with keys of their own."""
        folder, port, forwarded = self.folder, free_port(), free_port()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        (folder / "sshd.conf").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n"
        )
        client = ["ssh", "-N", "-F", "none", "-i", str(folder / "user"), "-p", str(port)]
        client += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
        client += ["-R", f"127.0.0.1:{forwarded}:127.0.0.1:{self.origin}", "root@127.0.0.1"]
        with (
            self.server("sshd", [SSHD, "-D", "-e", "-f", str(folder / "sshd.conf")], port),
            self.server("ssh", client, forwarded),
            self.hookward("before-ssh", f"http://127.0.0.1:{forwarded}") as one,
        ):
            yield [one]

    def measure(self, servers: list[Server], seconds: float) -> dict[str, float]:
        """The figures of one way; the first of ``servers`` is what providers reach."""
        port = servers[0].port
        self.await_way(port)
        before = [one.usage().cpu_s for one in servers]
        alone = closed_loop(port, 1, seconds, self.folder, tls=True)
        crowd = closed_loop(port, CROWD, seconds, self.folder, tls=True)
        count = alone["requests"] + crowd["requests"]
        cpu_us = [(one.usage().cpu_s - at) / count * 1e6 for one, at in zip(servers, before, strict=True)]
        found = {
            "p50_us": alone["p50_us"],
            "per_s": crowd["requests"] / crowd["duration_us"] * 1e6,
            "failed": alone["refused"] + crowd["refused"] + alone["socket_errors"] + crowd["socket_errors"],
            "relay_cpu_us": cpu_us[0],
            "large_mib_per_s": large(port, seconds),
        }
        return {name: round(value, 1) for name, value in found.items()}

    def await_way(self, port: int, path: str = delivery.PATH) -> None:
        """Until a delivery comes through. FailedError where none does."""
        deadline, data = monotonic() + READY_S, delivery.request(delivery.body(), path=path)
        while post(port, data, tls=True) != 200:
            if monotonic() > deadline:
                raise FailedError("no delivery comes through")
            sleep(0.1)


def still(server: Server) -> None:
    """Wait until it has nothing to do."""
    before = -1.0
    while (now := server.usage().cpu_s) - before > STILL_CPU_S:
        before = now
        sleep(0.5)


def large(port: int, seconds: float) -> float:
    """MiB per second of large deliveries, one after the other."""
    data, count, begun = delivery.request(delivery.body(LARGE_BYTES)), 0, monotonic()
    with unverified().wrap_socket(socket.create_connection(("127.0.0.1", port))) as sock:
        while monotonic() - begun < seconds:
            sock.sendall(data)
            answer = b""
            while b"}" not in answer:  # the end of the origin's answer
                piece = sock.recv(65536)
                answer += piece
                if not piece or not answer.startswith(b"HTTP/1.1 200"):
                    raise FailedError(f"a large delivery ended with {answer[:40]!r}")
            count += 1
    return count * LARGE_BYTES / (1 << 20) / (monotonic() - begun)


def main() -> int:
    """Print a line of JSON for each way."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load.reach_cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of rounds beside an agent that is stopped")
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="reach-cost-") as name:
        costs = Costs(Path(name), port)
        ways = {"direct": costs.direct, "agent": costs.agent}
        if Path(SSHD).exists() and which("ssh"):
            ways["ssh -R"] = costs.ssh
        with costs.server("origin", [sys.executable, "-m", "bench.load.origin", "--port", str(port)], port):
            for way, open_way in ways.items():
                with open_way() as servers:
                    print(json.dumps({"way": way, **costs.measure(servers, options.seconds)}), flush=True)
            if options.rounds:
                print(json.dumps({"beside": "a stopped agent", **costs.isolation(options.rounds, options.seconds)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
