"""A relay, and agents that have joined it, as a user starts them: the commands, and nothing else."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import trustme

from proxy.agent.keys import Membership, MembershipFile
from proxy.agent.talk import Challenge, Welcome, read_agent, read_hello, write_relay
from tests.whole.conftest import SECRET, Certificates
from tests.whole.process import ROOT, Hookward, Output, environment
from tests.whole.wire import PATIENCE_S, Answer, github, once, request

CONFIG = """
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
state_dir = "{folder}/state"
{top}

[tls]
cert = "{cert}"
key = "{key}"

[agent.ci]
key = "file:{folder}/agents/ci.key"
routes = ["github"]

[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/github.secret"]
upstream = "agent:ci"
{route}
{more}
"""


def run_command(*argv: object) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    command = [sys.executable, "-m", "proxy", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment(), cwd=ROOT)


class AgentProcess:
    """``hookward agent``."""

    def __init__(self, *argv: object, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "proxy", "agent", *map(str, argv)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=ROOT,
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def said(self, text: str, times: int = 1) -> bool:
        """Wait until standard error holds the text so often."""
        return bool(self.err.wait(lambda lines: "\n".join(lines).count(text) >= times))

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(PATIENCE_S)
        self.out.finish()
        self.err.finish()
        return code

    def stop(self) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise AssertionError(f"the agent did not stop:\n{self.err.text}") from None
        assert "Traceback" not in self.err.text, self.err.text
        return code


class Reach:
    """A relay with one route, ``github``, and what is needed to join it."""

    def __init__(
        self,
        start: Callable[..., Hookward],
        folder: Path,
        certificates: Certificates,
        *,
        top: str = "",
        route: str = "",
        more: str = "",
    ) -> None:
        self.folder = folder
        self.certificates = certificates
        self.agents: list[AgentProcess] = []
        (folder / "state").mkdir(mode=0o700)
        (folder / "github.secret").write_bytes(SECRET)
        (folder / "github.secret").chmod(0o600)
        self.config = folder / "relay.toml"
        self.write(top=top, route=route, more=more)
        self.relay = start("--config", self.config, listeners=2, secrets=(SECRET,))

    def write(self, *, top: str = "", route: str = "", more: str = "") -> None:
        """The relay's configuration."""
        cert, key = self.certificates.cert, self.certificates.key
        more = more.replace("{folder}", str(self.folder))
        self.config.write_text(CONFIG.format(folder=self.folder, cert=cert, key=key, top=top, route=route, more=more))

    @property
    def address(self) -> str:
        """Of the relay, for agents."""
        return f"127.0.0.1:{self.relay.port}"

    def enrol(self, name: str = "ci") -> str:
        """A code."""
        done = run_command("enrol", name, "--config", self.config, "--relay", self.address)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    def agent(self, *flags: object, code: str | None = None, state: str = "agent", name: str = "ci") -> AgentProcess:
        """An agent that has joined, and is reached by every worker."""
        join = ["--join", self.enrol(name) if code is None else code]
        one = AgentProcess(*join, "--state-dir", self.folder / state, *flags)
        self.agents.append(one)
        assert one.said("is reached as"), one.err.text
        return one

    def again(self, *flags: object, state: str = "agent") -> AgentProcess:
        """An agent that had joined before."""
        one = AgentProcess("--state-dir", self.folder / state, *flags)
        self.agents.append(one)
        return one

    def deliver(self, content: bytes = b"{}", name: str = "d-1", path: str = "/github", **fields: str) -> Answer:
        """A genuine delivery to the relay."""
        more = {field.replace("_", "-"): value for field, value in fields.items()}
        data = request("POST", path, github(SECRET, content, delivery=name) | more, content)
        return once(self.relay.address, data, tls=self.certificates.client)

    def rows(self) -> list[dict[str, Any]]:
        """What ``hookward agents`` says."""
        done = run_command("agents", "--config", self.config, "--json")
        return list(json.loads(done.stdout))

    def stop(self) -> None:
        """End the agents."""
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.stop()


class HostileRelay:
    """Speaks the relay's part with the right key, and then says what it likes. It has one worker."""

    def __init__(self, folder: Path) -> None:
        issued = trustme.CA().issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        pem = (folder / "relay.pem").read_text()
        start = pem.index("-----BEGIN CERTIFICATE-----")
        end = pem.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        self._certificate = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start:end])).digest()
        self._key = bytes(32)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "relay.pem")
        self._context.set_alpn_protocols(["hookward-agent/1"])
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._control: ssl.SSLSocket | None = None
        self._said_on: ssl.SSLSocket | None = None
        self._all: list[ssl.SSLSocket] = []
        self._idle: list[ssl.SSLSocket] = []
        self._changed = threading.Condition()
        self.data = 0
        member = Membership(self.address, "ci", self._key, (self._certificate.hex(),))
        MembershipFile(str(folder)).keep(member, 0.0)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        for sock in self._all:
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._sock.accept()
                raw.settimeout(PATIENCE_S)
                with suppress(OSError, ValueError):  # the other end is gone; or the test is over, and has closed it
                    sock = self._context.wrap_socket(raw, server_side=True)
                    self._all.append(sock)
                    self._greet(sock)

    def _greet(self, sock: ssl.SSLSocket) -> None:
        challenge = Challenge(read_hello(self._line(sock)), bytes(32), self._certificate, self._key)
        sock.sendall(write_relay(challenge.relay_nonce, challenge.relay_proof()))
        assert read_agent(self._line(sock)) == challenge.agent_proof()
        sock.sendall(Welcome(0, 1, "00000bad", 4).write())
        role = self._line(sock)[0]
        with self._changed:
            if role == "CONTROL":
                self._control = sock
            else:
                self._idle.append(sock)
                self.data += 1
            self._changed.notify_all()

    @staticmethod
    def _line(sock: ssl.SSLSocket) -> list[str]:
        data = b""
        while not data.endswith(b"\n"):
            more = sock.recv(1)
            if not more:
                raise ConnectionAbortedError
            data += more
        return data.decode().split()

    def say(self, *lines: str, anew: bool = False) -> None:
        """Say this on the control connection, once there is one; ``anew``: on another one than before."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._control is not None and not (anew and self._control is self._said_on), PATIENCE_S
            )
            control = self._said_on = self._control
        assert control is not None
        control.sendall("".join(f"{line}\n" for line in lines).encode())

    def ask(self, data: bytes) -> int:
        """The status of the answer to a request on a connection of the agent's."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._idle, PATIENCE_S)
            sock = self._idle.pop()
        with sock:
            sock.sendall(data)
            return int(sock.recv(65536).split(b" ")[1])
