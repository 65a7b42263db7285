"""A relay and an agent on two hosts, and what networks do to them: how soon the dead are noticed, how soon all is well.

Two network namespaces with a wire between them: the relay on one, the agent and its application on the other. Each
round breaks something for a while and counts, from the logs of both ends and the application's own list, (1) within
how many seconds each end has noticed, (2) how many seconds after the end of the fault a delivery came through, and (3)
whether a delivery that was answered 2xx is missing. As root, with iproute2.

    python -m bench.load.reach --rounds 1 --faults black-hole,relay-killed
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TextIO

import trustme

from tests.whole.namespaces import Wire

SECRET = b"It's a Secret to Everybody"
ROOT = Path(__file__).resolve().parents[2]
#: What is promised: dead within so many seconds of its last word, working within so many of the network's return.
NOTICED_S = 10.5  # the fault may begin at any moment between two pings
WORKS_S = 5.0
PATIENCE_S = 60.0
#: Of a round that was not good, so many lines of each log are shown.
TOLD_LINES = 20
CONFIG = """
listen = ["10.99.0.1:8443"]
state_dir = "{folder}/state"
access_log = "off"
[tls]
cert = "{folder}/relay.pem"
key = "{folder}/relay.pem"
[agent.ci]
key = "file:{folder}/ci.key"
routes = ["github"]
[route.github]
path = "/"
provider = "github"
secrets = ["file:{folder}/secret"]
upstream = "agent:ci"
"""


class Application(http.server.BaseHTTPRequestHandler):
    """Remembers what it has answered."""

    protocol_version = "HTTP/1.1"
    seen: set[str] = set()  # noqa: RUF012 - one application

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Application.seen.add(self.headers["X-GitHub-Delivery"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class Program:
    """One hookward in a namespace, and when it said what."""

    def __init__(self, namespace: str, *words: str) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "proxy", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
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


class Stage:
    """Both hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wire = Wire()
        self.wire.build(["10.99.0.1/24"], ["10.99.0.2/24"])
        self.near, self.far = self.wire.names["near"], self.wire.names["far"]
        trustme.CA().issue_cert("10.99.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        (folder / "secret").write_bytes(SECRET)
        (folder / "state").mkdir(mode=0o700)
        for name in ("relay.pem", "secret"):
            (folder / name).chmod(0o600)
        (folder / "relay.toml").write_text(CONFIG.format(folder=folder))
        server = self.wire.inside("far", lambda: http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Application))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.relay = self.start_relay()
        self.number = 0
        self.told: set[str] = set()
        enrol = [sys.executable, "-m", "proxy", "enrol", "ci", "--config", str(folder / "relay.toml")]
        done = subprocess.run(enrol, capture_output=True, text=True, check=True, cwd=ROOT)
        self.agent = self.start_agent("--join", done.stdout.splitlines()[-1])

    def start_relay(self) -> Program:
        one = Program(self.near, "--config", str(self.folder / "relay.toml"))
        until(lambda: one.when("listening on", 0.0))
        return one

    def start_agent(self, *words: str) -> Program:
        state = ("--state-dir", str(self.folder / "agent"), "--access-log", "off")
        return Program(self.far, "agent", *words, *state, "--upstream", "127.0.0.1:8000")

    def deliver(self, timeout_s: float = 15.0) -> int:
        """The status of one delivery; 0 where there was no answer."""
        self.number += 1
        name, body = f"d-{self.number}", b"{}"
        mac = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def send() -> int:
            client = http.client.HTTPSConnection("10.99.0.1", 8443, timeout=timeout_s, context=context)
            try:
                fields = {"X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Delivery": name}
                client.request("POST", "/", body, fields)
                return client.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0
            finally:
                client.close()

        status = self.wire.inside("near", send)
        if 200 <= status < 300:
            self.told.add(name)
        return status

    def silent(self, *ends: str) -> Callable[[], None]:
        """Let what these hosts send vanish on the way, with nothing said: it goes to an address of nobody's card."""
        for end in ends:
            self.neighbour(end, "replace", "lladdr", "02:00:00:00:00:99", "nud", "permanent")

        def mend() -> None:
            for end in ends:
                self.neighbour(end, "del")

        return mend

    def neighbour(self, end: str, what: str, *words: str) -> None:
        other = "10.99.0.2" if end == "near" else "10.99.0.1"
        command = ["ip", "-n", self.wire.names[end], "neigh", what, other, *words, "dev", "wire"]
        subprocess.run(command, check=True)

    def tell(self, file: TextIO) -> None:
        """What both have said lately."""
        for name, program in (("relay", self.relay), ("agent", self.agent)):
            for _, line in program.said[-TOLD_LINES:]:
                print(f"  {name}: {line.rstrip()}", file=file, flush=True)

    def close(self) -> None:
        for program in (self.agent, self.relay):
            program.process.send_signal(signal.SIGCONT)
            program.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                program.process.wait(10)
            program.process.kill()
        self.wire.remove()


def until(condition: Callable[[], object]) -> float:
    """Seconds until it holds; of one that never does, PATIENCE_S."""
    begun = monotonic()
    while not condition() and monotonic() - begun < PATIENCE_S:
        sleep(0.05)
    return monotonic() - begun


def stopped(stage: Stage) -> Callable[[], None]:
    stage.agent.process.send_signal(signal.SIGSTOP)
    return lambda: stage.agent.process.send_signal(signal.SIGCONT)


def agent_killed(stage: Stage) -> Callable[[], None]:
    stage.agent.process.kill()

    def again() -> None:
        stage.agent = stage.start_agent()

    return again


def relay_killed(stage: Stage) -> Callable[[], None]:
    stage.relay.process.kill()

    def again() -> None:
        stage.relay = stage.start_relay()

    return again


#: What is broken, and which ends must notice.
FAULTS: dict[str, tuple[Callable[[Stage], Callable[[], None]], str]] = {
    "black-hole": (lambda stage: stage.silent("near", "far"), "both"),
    "to-the-agent": (lambda stage: stage.silent("near"), "both"),
    "to-the-relay": (lambda stage: stage.silent("far"), "both"),
    "agent-stopped": (stopped, "relay"),
    "agent-killed": (agent_killed, "relay"),
    "relay-killed": (relay_killed, "agent"),
}


def one_round(stage: Stage, fault: str) -> dict[str, object]:
    """What came of one fault."""
    until(lambda: stage.deliver() == 200)
    break_it, notices = FAULTS[fault]
    begun = monotonic()
    mend = break_it(stage)
    found: dict[str, object] = {"fault": fault}
    relay, agent = stage.relay, stage.agent
    if notices in ("both", "relay"):
        until(lambda: relay.when("agent ci has gone", begun))
        found["relay_noticed_s"] = since(relay.when("agent ci has gone", begun), begun)
    if notices in ("both", "agent"):
        until(lambda: agent.when("a worker is lost", begun))
        found["agent_noticed_s"] = since(agent.when("a worker is lost", begun), begun)
    if notices != "agent":
        found["while_away"] = stage.deliver()
    mend()
    found["works_again_s"] = round(until(lambda: stage.deliver(3.0) == 200), 2)
    found["missing"] = len(stage.told - Application.seen)
    return found


def since(at: float | None, begun: float) -> float:
    return PATIENCE_S if at is None else round(at - begun, 2)


def judge(found: dict[str, object]) -> bool:
    """Whether it is as promised. A process that is started again has the time of its start besides."""
    late = [found.get(key, 0.0) for key in ("relay_noticed_s", "agent_noticed_s")]
    works_s = WORKS_S + (2.0 if "killed" in str(found["fault"]) else 0.0)
    well = all(isinstance(one, float) and one <= NOTICED_S for one in late)
    return well and found["missing"] == 0 and float(str(found["works_again_s"])) <= works_s


def main() -> int:
    """Break things, and print a line of JSON for each round."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.reach", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault happens")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which, with commas between them")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("network namespaces need root", file=sys.stderr)
        return 1
    bad = 0
    with tempfile.TemporaryDirectory(prefix="reach-") as folder:
        stage = Stage(Path(folder))
        try:
            for fault in options.faults.split(",") * options.rounds:
                found = one_round(stage, fault)
                found["good"] = judge(found)
                bad += not found["good"]
                print(json.dumps(found), flush=True)
                if not found["good"]:
                    stage.tell(sys.stderr)
        finally:
            stage.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
