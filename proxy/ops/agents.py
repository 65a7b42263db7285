"""What a worker has of agents: nothing where none is configured, else a relay's part or that of an agent.

Their wing is imported here, when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.host import worker_count
from proxy.config.settings import Loaded
from proxy.core.metric_families import RELAY_REACHED
from proxy.core.metrics import Metrics
from proxy.core.policy import Endpoint
from proxy.net.admission import ConnectionSlots
from proxy.net.http_server import Paths
from proxy.net.listener import ConnectionFactory
from proxy.net.site import Site
from proxy.ops.renewals import Certificates

if TYPE_CHECKING:
    from proxy.agent.relay import AgentRelay
    from proxy.agent.serve import Agent


class AgentParts:
    """The parts of one worker. ``number`` is the worker's among those of its process, from 0."""

    def __init__(
        self, site: Site, slots: ConnectionSlots, certificates: Certificates, paths: Paths, number: int
    ) -> None:
        self._site = site
        self._slots = slots
        self._certificates = certificates
        self._paths = paths
        self._number = number
        self._relay: AgentRelay | None = None
        self._agent: Agent | None = None

    def factory(self, loaded: Loaded, client: ConnectionFactory) -> ConnectionFactory:
        """What makes the connections of a listener: ``client``, unless agents may come in as well."""
        if not loaded.settings.agents.rules:
            return client
        if self._relay is None:
            from proxy.agent import relay

            place = (self._number, worker_count(loaded.settings.workers), self._site.instance)
            served = self._certificates
            self._relay = relay.AgentRelay(
                self._site, self._slots.counters, place, lambda: [one.certificate.fingerprint for one in served.served]
            )
            self._paths.add("GET /agents", self._relay.answer)
        return self._relay.parting(client)

    def use(self, loaded: Loaded) -> None:
        """A load of the configuration is in force."""
        for part in self._open:
            part.use(loaded)

    def start(self, loaded: Loaded) -> None:
        """Dial the relays, where we are an agent. Raises ConfigError where it has joined none."""
        dials = loaded.settings.dials
        if dials is None:
            return
        from proxy.agent import serve

        self._agent = serve.Agent(self._site, self._slots, dials)
        self._agent.use(loaded)
        self._agent.start()

    def drain(self) -> None:
        """Tell the other ends that we leave."""
        for part in self._open:
            part.drain()

    async def close(self) -> None:
        """End all of it."""
        for part in self._open:
            await part.close()

    def measure(self, metrics: Metrics) -> None:
        """Set the gauges."""
        if self._relay is not None:
            self._relay.measure(metrics)
        if self._agent is not None:
            metrics.replace(RELAY_REACHED, {(link.relay,): link.is_reached for link in self._agent.links})

    def not_ready(self) -> str:
        """Why no delivery can come from a relay; "" where all is well, or we are no agent."""
        return "" if self._agent is None else "; ".join(self._agent.unreached())

    def reachable(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether one of ``endpoints`` is well: of an agent, whether a probe of its application came through lately."""
        alive = {} if self._relay is None else self._relay.alive()
        others = tuple(endpoint for endpoint in endpoints if not endpoint.agent)
        return any(alive.get(one.agent) for one in endpoints) or self._site.pool.endpoints.reachable(others)

    def describe(self) -> dict[str, object]:
        """For the status page."""
        found: dict[str, object] = {}
        if self._relay is not None:
            found["agents"] = self._relay.describe()
        if self._agent is not None:
            found["relays"] = self._agent.describe()
        return found

    @property
    def _open(self) -> list[AgentRelay | Agent]:
        return [part for part in (self._relay, self._agent) if part is not None]
