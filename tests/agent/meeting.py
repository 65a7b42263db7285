"""A relay's part and agents on real sockets, in one loop: TLS, hello, sessions and pool, and no process around them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import trustme

from proxy.agent.keys import CODE_S, SECRET_BYTES, JoinCode, Membership, MembershipFile, join_key, offer_code
from proxy.agent.relay import AgentRelay
from proxy.agent.serve import Agent
from proxy.agent.talk import to_text
from proxy.config.settings import AgentRule, AgentSettings, Dials, Loaded
from proxy.core.addresses import AddressSet, Peer
from proxy.core.metrics import Metrics
from proxy.core.policy import Endpoint, Policy
from proxy.net.admission import ConnectionSlots
from proxy.net.listener import ConnectionFactory, Listener
from proxy.net.site import Site
from proxy.net.tls import KeyPair, TlsContexts
from tests import policies

CI = Endpoint("", 0, agent="ci")
KEY = bytes(range(32))


class Refusing(asyncio.Protocol):
    """In the place of a client's connection."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        self._on_close = on_close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"a client\n")  # type: ignore[attr-defined] # of a transport that is one
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_close()


def refusing(peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> asyncio.BaseProtocol:
    return Refusing(on_close)


def site_of(policy: Policy, name: str) -> Site:
    class Log:
        def write(self, record: object) -> None:
            """Nothing is kept."""

    return Site(loop=asyncio.get_running_loop(), policy=policy, log=Log(), metrics=Metrics(), instance=name)


class Meeting:
    """One relay's worker, and what joins it."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.folder = folder
        self.key_path = str(folder / "agents" / "ci.key")
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
        self.contexts = TlsContexts([KeyPair(str(folder / "cert.pem"), str(folder / "cert.pem"), agents=True)])
        self.fingerprint = self.contexts.loaded[0].certificate.fingerprint
        self.route = policies.route(upstream=(CI,))
        server = policies.server_limits(max_connections_per_address=100)
        self.policy = policies.policy(self.route, doors=(None,), server=server, **changed)
        self.site = site_of(self.policy, "0000beef")
        self.slots = ConnectionSlots()
        self.noted: list[str] = []
        self.site.note = lambda fault, _address: self.noted.append(fault.said)
        self.rules = {"ci": AgentRule("ci", self.key_path, b"", frozenset({"hook"}))}
        self.relay = AgentRelay(self.site, self.slots.counters, (0, 1, "0000beef"), lambda: [self.fingerprint])
        self.roster = self.relay
        self.closed = 0
        self.address = ""
        self._listener: Listener | None = None
        self._agents: list[tuple[Agent, Site]] = []

    def use(self, **options: int) -> None:
        """These are the relay's agents from now on."""
        settings: Any = type("Settings", (), {"agents": AgentSettings(rules=self.rules, **options)})
        self.relay.use(Loaded(self.policy, settings))

    async def open(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self.address = f"127.0.0.1:{sock.getsockname()[1]}"
        factory = self.relay.parting(refusing)
        self._listener = Listener(
            sock, site=self.site, slots=self.slots, factory=self._counted(factory), tls=self.contexts
        )
        self._listener.start()

    def _counted(self, make: ConnectionFactory) -> ConnectionFactory:
        def counted(peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> asyncio.BaseProtocol:
            def closed() -> None:
                self.closed += 1
                on_close()

            return make(peer, secure=secure, on_close=closed)

        return counted

    def keep_key(self, key: bytes = KEY) -> None:
        """As if the agent had joined."""
        path = Path(self.key_path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(to_text(key))

    def dials(self, state: str = "agent", **options: Any) -> Dials:
        return Dials(str(self.folder / state), **options)

    def member(self, key: bytes = KEY, state: str = "agent", name: str = "ci") -> None:
        """Let an agent have joined."""
        one = Membership(self.address, name, key, (self.fingerprint.hex(),))
        MembershipFile(str(self.folder / state)).keep(one, 0.0)

    def code(self, until: float | None = None) -> JoinCode:
        """An open one-time code."""
        now = self.site.clock.wall()
        offer_code(self.key_path, join_key(bytes(SECRET_BYTES), "ci"), now + CODE_S if until is None else until, now)
        return JoinCode("ci", bytes(SECRET_BYTES), self.fingerprint, self.address)

    def agent(self, state: str = "agent", **options: Any) -> Agent:
        """An agent in this loop, which dials from now on. Its application is not there."""
        policy = policies.policy(
            policies.route(path=b"/", relayed=True, upstream=(Endpoint("127.0.0.1", 1),)),
            trusted_proxies=AddressSet.parse(["unix:"]),
            limits=policies.limits(head_timeout_s=1e9, keepalive_timeout_s=1e9),
        )
        site = site_of(policy, "0000cafe")
        one = Agent(site, ConnectionSlots(), self.dials(state, **options))
        one.start()
        self._agents.append((one, site))
        return one

    async def close(self) -> None:
        for agent, site in self._agents:
            await agent.close()
            await site.pool.close()
            site.clock.close()
        await self.relay.close()
        await self.site.pool.close()
        self.site.clock.close()
        if self._listener is not None:
            await self._listener.abandon()
        await until(lambda: len(asyncio.all_tasks()) == 1, "tasks are left")


@asynccontextmanager
async def meeting(folder: Path, **changed: Any) -> AsyncIterator[Meeting]:
    """A relay that listens, and all that joined it ended afterwards."""
    one = Meeting(folder, **changed)
    one.use()
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that is about to happen."""
    deadline = monotonic() + 15
    while not condition():
        assert monotonic() < deadline, what
        await asyncio.sleep(0.01)
