"""What a worker of a relay has for its agents: their sessions, and the gate at which they and clients part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from proxy.agent.arrival import AgentOrClient, Gate
from proxy.agent.keys import KeyShelf
from proxy.agent.pulse import PING_S
from proxy.agent.roster import AgentRoster
from proxy.config.settings import Loaded
from proxy.core.addresses import Peer
from proxy.core.metric_families import AGENT_CONNECTIONS, AGENTS_ALIVE
from proxy.core.metrics import Metrics
from proxy.net.admission import AcceptCounters
from proxy.net.http_server import JSON, Answer, Request
from proxy.net.listener import ConnectionFactory
from proxy.net.site import Site

#: Of more certificates the agents are told the first ones: a line has an end.
MOST_TOLD = 7


class AgentRelay:
    """The agents of one worker. ``place`` is its number, how many workers there are, and a word of its own;
    ``fingerprints`` gives those of the certificates in force.
    """

    def __init__(
        self,
        site: Site,
        counters: AcceptCounters,
        place: tuple[int, int, str],
        fingerprints: Callable[[], Sequence[bytes]],
    ) -> None:
        self._site = site
        self._counters = counters
        self._fingerprints = fingerprints
        self._told: tuple[bytes, ...] = ()
        self.roster = AgentRoster(site, KeyShelf(site.clock.wall))
        self._gate = Gate(site, self.roster, place)
        self.deadline = 0.0
        site.pool.agents = self.roster

    def use(self, loaded: Loaded) -> None:
        """A load of the configuration is in force."""
        self._gate.settings = loaded.settings.agents
        self.roster.use(loaded)
        self._tell()  # before the first agent comes: it may stay for less than a ping
        self.deadline = self._site.clock.after(PING_S)
        self._site.clock.watch(self)

    def deadline_passed(self, now: float) -> None:
        """The clock's call: tell of certificates that were renewed."""
        del now
        self.deadline = self._site.clock.after(PING_S)
        self._tell()

    def _tell(self) -> None:
        shown = tuple(self._fingerprints()[:MOST_TOLD])
        if shown and shown != self._told:
            self._told = shown
            self.roster.tell_certificates(shown)

    def parting(self, client: ConnectionFactory) -> ConnectionFactory:
        """What a listener makes connections by: an agent's is taken here, any other is made by ``client``."""

        def make(peer: Peer, *, secure: bool, on_close: Callable[[], None]) -> asyncio.BaseProtocol:
            del secure  # always: agents have no other way in
            return AgentOrClient(self._gate, peer, self._counters, on_close, client)

        return make

    def drain(self) -> None:
        """Tell the agents that this worker leaves."""
        self.roster.drain()

    async def close(self) -> None:
        """End all sessions."""
        self._site.clock.unwatch(self)
        await self.roster.close()

    def measure(self, metrics: Metrics) -> None:
        """Set the gauges."""
        metrics.replace(AGENTS_ALIVE, {(name,): alive for name, alive in self.roster.alive().items()})
        metrics.replace(AGENT_CONNECTIONS, {(name,): count for name, count in self.roster.connections().items()})

    def answer(self, _request: Request) -> Answer:
        """`hookward agents` asks over the private socket."""
        return Answer(200, JSON, json.dumps(self.describe()).encode("ascii") + b"\n")

    def describe(self) -> list[dict[str, object]]:
        """Every agent that is configured, and the processes of it that are here."""
        rows = self.roster.describe()
        shelf = self.roster.shelf
        return [
            {
                "name": name,
                "routes": sorted(rule.routes),
                "joined": shelf.key(name) is not None,
                "processes": [row for row in rows if row["name"] == name],
            }
            for name, rule in sorted(self._gate.settings.rules.items())
        ]
